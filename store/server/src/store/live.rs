//! What the operator changes on a running member: raft's timers, and the fence that keeps it out of raft.

use std::sync::atomic::Ordering;

use quorate_api::Error as ApiError;
use tokio::sync::oneshot;

use super::{Store, Timers};
use crate::inbox::Input;

/// What everybody is told who asks a fenced member for anything.
pub const FENCED: &str =
    "etcdserver: this member is fenced: its operator keeps it out of the cluster; use another endpoint";
/// What they are told between the lifting of a fence and the moment at which the member is where it was.
const CATCHING_UP: &str = "etcdserver: this member was fenced and is catching up; try again, or use another endpoint";

impl Store {
    /// Puts other timers in force; raft goes on as it is. Durable beforehand, by the caller.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn set_timers(&self, timers: Timers) -> Result<(), ApiError> {
        let (done, changed) = oneshot::channel();
        if !self.0.inbox.push(Input::SetTimers { timers, done }) {
            return Err(ApiError::Stopped);
        }
        changed.await.map_err(|_| ApiError::Stopped)
    }

    /// Keeps this member out of raft, or lets it in again. On return it is so: a fenced member sends nothing from then on. Durable
    /// beforehand, by the caller. Returns whether it had heard of no leader for an election timeout.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn set_fenced(&self, fenced: bool) -> Result<bool, ApiError> {
        let (done, changed) = oneshot::channel();
        if !self.0.inbox.push(Input::Fence { fenced, done }) {
            return Err(ApiError::Stopped);
        }
        changed.await.map_err(|_| ApiError::Stopped)
    }

    pub fn is_fenced(&self) -> bool {
        self.0.fenced.load(Ordering::Acquire)
    }

    /// Completes when this member is fenced; never if it never is.
    pub async fn fenced(&self) {
        let mut changes = self.changes();
        while !self.is_fenced() {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn refuse_fenced(&self) -> Result<(), ApiError> {
        if self.is_fenced() { Err(ApiError::Unmapped(FENCED.to_owned())) } else { Ok(()) }
    }

    /// From now on clients are served, unless the member is fenced.
    pub fn set_caught_up(&self) {
        self.0.caught_up.store(true, Ordering::Release);
    }

    /// Why clients are not served now. A quarantined member may never be where it was: it refuses by itself what is made of its data,
    /// and is reached for the rest.
    pub fn closed(&self) -> Option<&'static str> {
        if self.is_fenced() {
            Some(FENCED)
        } else if !self.0.caught_up.load(Ordering::Acquire) && !self.is_quarantined() {
            Some(CATCHING_UP)
        } else {
            None
        }
    }
}
