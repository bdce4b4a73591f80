//! What is pushed to a running member and outlives it: timers and the fence. Each is durable in the member-local file before it is in
//! force, with a generation that only rises; a member whose raft does not run keeps it for later.

use std::time::Duration;

use quorate_api::admin;
use tonic::Status;

use super::{AdminService, blocking, disk, refused};
use crate::config;
use crate::directory::{self, Member, Setting};
use crate::store::{Store, Timers};

/// How long a leader that is fenced waits for another to take over; the fence comes in any case.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);

impl AdminService {
    pub(super) async fn push_timers(&self, request: admin::SetTimersRequest) -> Result<(), Status> {
        let admin::SetTimersRequest { generation, timers } = request;
        let timers = timers.ok_or_else(|| Status::invalid_argument("timers are missing"))?;
        let admin::Timers { heartbeat_milliseconds, election_milliseconds } = timers;
        let (heartbeat, election) = config::check_timers(heartbeat_milliseconds, election_milliseconds)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let pushed = directory::Timers { heartbeat_milliseconds, election_milliseconds };
        let _one = self.changing.lock().await;
        self.keep(move |member| Setting::push(&mut member.timers, generation, pushed)).await?;
        if let Some(store) = self.admission.store() {
            store.set_timers(Timers { heartbeat, election }).await?;
        }
        Ok(())
    }

    pub(super) async fn push_fence(&self, request: admin::FenceRequest) -> Result<(), Status> {
        let admin::FenceRequest { generation, fenced } = request;
        let push = move |member: &mut Member| member.set_fence(generation, fenced);
        let _one = self.changing.lock().await;
        // A push that is refused must not cost the leadership.
        let mut member = self.admission.directory().map_err(refused)?.member();
        let was_fenced = member.is_fenced();
        push(&mut member).map_err(disk)?;
        let store = self.admission.store();
        if fenced && let Some(store) = &store {
            hand_over(store).await;
        }
        self.keep(push).await?;
        if let Some(store) = store {
            let leaderless = store.set_fenced(fenced).await?;
            if fenced && !was_fenced && leaderless {
                self.keep(|member| {
                    member.fenced_leaderless = true;
                    Ok(())
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Changes the member-local file, durably.
    pub(super) async fn keep(
        &self,
        change: impl FnOnce(&mut Member) -> Result<(), directory::Error> + Send + 'static,
    ) -> Result<(), Status> {
        let directory = self.admission.directory().map_err(refused)?.clone();
        blocking(move || directory.update(change)).await?.map_err(disk)
    }
}

/// So that the others need not wait for an election timeout.
async fn hand_over(store: &Store) {
    if !store.status().is_leader() {
        return;
    }
    let Ok(successor) = store.successor().await else { return };
    match tokio::time::timeout(HAND_OVER_TIMEOUT, store.move_leader(successor)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "leadership was not handed over before the fence"),
        Err(_) => tracing::warn!("leadership was not taken over in time before the fence"),
    }
}
