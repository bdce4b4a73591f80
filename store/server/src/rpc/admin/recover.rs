//! `Admin.Recover`: the decision is `member/recovery.rs`, what it does is `member/recover.rs`.

use quorate_api::admin;
use tonic::Status;

use super::{AdminService, blocking, refused};
use crate::member::INCIDENT_BYTES_MAX;

impl AdminService {
    pub(super) async fn begin_recovery(
        &self,
        request: admin::RecoverRequest,
    ) -> Result<admin::RecoverResponse, Status> {
        let (member_id, bytes) = (request.member_id, request.incident.len());
        if bytes == 0 || bytes > INCIDENT_BYTES_MAX {
            return Err(Status::invalid_argument(format!("incident has {bytes} bytes, not 1 to {INCIDENT_BYTES_MAX}")));
        }
        // No fence is lifted meanwhile.
        let _one = self.changing.lock().await;
        let admission = self.admission.clone();
        let recovery = blocking(move || admission.recover(&request)).await?.map_err(refused)?;
        Ok(admin::RecoverResponse { cluster_id: recovery.cluster_id, member_id })
    }
}
