//! Auth as it is while it is off: clients may ask whether it is on. The rest is not supported yet.

use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, auth_server};
use tonic::{Request, Response, Status};

use crate::store::Store;

/// The auth revision of a store whose users and roles never changed.
const AUTH_REVISION: u64 = 1;

/// The service.
pub struct Auth {
    store: Store,
}

impl Auth {
    pub fn new(store: Store) -> Auth {
        Auth { store }
    }
}

macro_rules! not_supported {
    ($($method:ident, $request:ident, $response:ident;)*) => {
        #[tonic::async_trait]
        impl auth_server::Auth for Auth {
            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = Some(self.store.header(0));
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: AUTH_REVISION }))
            }

            async fn authenticate(
                &self,
                _: Request<pb::AuthenticateRequest>,
            ) -> Result<Response<pb::AuthenticateResponse>, Status> {
                Err(Error::AuthNotEnabled.into())
            }

            $(async fn $method(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(Status::unimplemented(concat!(stringify!($request), " is not supported yet: this version has no users and roles")))
            })*
        }
    };
}

not_supported! {
    auth_enable, AuthEnableRequest, AuthEnableResponse;
    auth_disable, AuthDisableRequest, AuthDisableResponse;
    user_add, AuthUserAddRequest, AuthUserAddResponse;
    user_get, AuthUserGetRequest, AuthUserGetResponse;
    user_list, AuthUserListRequest, AuthUserListResponse;
    user_delete, AuthUserDeleteRequest, AuthUserDeleteResponse;
    user_change_password, AuthUserChangePasswordRequest, AuthUserChangePasswordResponse;
    user_grant_role, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse;
    user_revoke_role, AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse;
    role_add, AuthRoleAddRequest, AuthRoleAddResponse;
    role_get, AuthRoleGetRequest, AuthRoleGetResponse;
    role_list, AuthRoleListRequest, AuthRoleListResponse;
    role_delete, AuthRoleDeleteRequest, AuthRoleDeleteResponse;
    role_grant_permission, AuthRoleGrantPermissionRequest, AuthRoleGrantPermissionResponse;
    role_revoke_permission, AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse;
}
