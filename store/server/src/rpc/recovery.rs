//! Repairs this member: `quorate.v1.Recovery`.

use quorate_api::admin::{RebuildRequest, RebuildResponse, recovery_server};
use tonic::{Request, Response, Status};

use crate::store::Store;

/// The service.
pub struct Recovery {
    store: Store,
}

impl Recovery {
    pub fn new(store: Store) -> Recovery {
        Recovery { store }
    }
}

#[tonic::async_trait]
impl recovery_server::Recovery for Recovery {
    async fn rebuild(&self, _: Request<RebuildRequest>) -> Result<Response<RebuildResponse>, Status> {
        let this = self.store.identity().member_id;
        let membership = self.store.membership();
        let is_voter = membership.get(this).is_some_and(|member| !member.learner);
        if is_voter && membership.voters() == 1 {
            let text = "this member is the only voter, nobody has another copy: restore it from a backup";
            return Err(Status::failed_precondition(text));
        }
        if membership.voter_ids().filter(|id| *id != this).all(|id| self.store.is_corrupt(id)) {
            let text = "the data of every other voter are known to be wrong too (alarm CORRUPT): restore a backup";
            return Err(Status::failed_precondition(text));
        }
        let rebuilt = self.store.rebuild().await?;
        Ok(Response::new(RebuildResponse { member_id: this, index: rebuilt.index, revision: rebuilt.revision }))
    }
}
