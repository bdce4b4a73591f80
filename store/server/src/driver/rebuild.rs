//! Replaces this member's state by its leader's, when it is known to be wrong: raft asks for a snapshot although the log has no gap,
//! and it is installed as any other. The member keeps its id, term, vote and the place of its log, so it forgets no vote that it gave:
//! an empty disk under a voter's id could elect a second leader.

use std::time::{Duration, Instant};

use quorate_core::node::Event;
use quorate_core::replica::Role;
use tokio::sync::oneshot;

use super::Running;
use crate::inbox::Rebuilt;
use crate::store::Store;

/// Between two tries to hand leadership over, or to take the alarm back.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Rebuild {
    asked: Option<oneshot::Sender<Rebuilt>>,
    /// The state is new, and this member's CORRUPT alarm has to go.
    healed: bool,
    tried: Option<Instant>,
}

impl Rebuild {
    /// Whether it is time to try again.
    fn may_try(&mut self) -> bool {
        let due = self.tried.is_none_or(|at| at.elapsed() >= AGAIN);
        if due {
            self.tried = Some(Instant::now());
        }
        due
    }
}

impl Running {
    pub(super) fn begin_rebuild(&mut self, done: oneshot::Sender<Rebuilt>) {
        tracing::warn!("this member's data are replaced by its leader's, as was asked for");
        self.rebuild.asked = Some(done);
    }

    /// At every tick.
    pub(super) fn rebuild_step(&mut self) {
        if self.rebuild.asked.is_some() {
            if self.driver.node.status().role != Role::Leader {
                self.events.push(Event::RequestSnapshot);
            } else if self.rebuild.may_try()
                && let Some(to) = self.successor()
            {
                self.events.push(Event::Transfer { to });
            }
        } else if self.rebuild.healed {
            self.take_corrupt_back();
        }
    }

    /// A snapshot was installed.
    pub(super) fn rebuilt(&mut self) {
        let Some(done) = self.rebuild.asked.take() else { return };
        let machine = &self.driver.machine;
        let rebuilt = Rebuilt { index: machine.applied().index, revision: machine.revision() };
        tracing::info!(index = rebuilt.index, revision = rebuilt.revision, "this member's data were replaced");
        Store(self.driver.inner.clone()).damage_is_healed();
        self.rebuild = Rebuild { healed: true, ..Rebuild::default() };
        // The asker may have gone.
        let _ = done.send(rebuilt);
    }

    fn take_corrupt_back(&mut self) {
        let inner = &self.driver.inner;
        let this = inner.identity.member_id;
        if !inner.status.load().is_corrupt(this) {
            self.rebuild.healed = false;
            return;
        }
        if !self.rebuild.may_try() {
            return;
        }
        let store = Store(self.driver.inner.clone());
        self.driver.inner.runtime.spawn(async move {
            if let Err(error) = store.set_corrupt(this, false).await {
                tracing::warn!(%error, "cannot take the CORRUPT alarm back, trying again");
            }
        });
    }
}
