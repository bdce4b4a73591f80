//! What the operator changes while the driver runs: the timers of raft and the fence.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_core::node::Event;
use tokio::sync::oneshot;

use super::{Fatal, Running};
use crate::store::Timers;

impl Running {
    /// The next tick comes by the new interval, and the election timeout changes with it in one turn.
    pub(super) fn set_timers(&mut self, timers: Timers, done: oneshot::Sender<()>) {
        let Timers { heartbeat, election } = timers;
        tracing::info!(?heartbeat, ?election, "raft's timers changed");
        self.driver.heartbeat = heartbeat;
        let (tick_ms, election_ticks) = (timers.tick_ms(), timers.election_ticks());
        self.events.push(Event::Timers { tick_ms, election_ticks });
        let inner = &self.driver.inner;
        inner.timers.store(Arc::new(timers));
        inner.lessor.set_election_timeout(election);
        // The asker may have gone.
        let _ = done.send(());
    }

    /// Answers when the node has taken it: whatever raft had to say before was said.
    pub(super) fn fence(&mut self, fenced: bool, done: oneshot::Sender<bool>) -> Result<(), Fatal> {
        let inner = self.driver.inner.clone();
        if fenced {
            tracing::warn!("this member is fenced: it takes no part in raft and serves nobody until that is lifted");
            inner.fenced.store(true, Ordering::Release);
        }
        self.events.push(Event::Fence { fenced });
        self.turn()?;
        if !fenced {
            tracing::info!("the fence is lifted");
            inner.fenced.store(false, Ordering::Release);
        }
        // Also when neither role nor leader changed: streams of clients end by it.
        inner.changed.send_modify(|version| *version += 1);
        let _ = done.send(self.driver.node.is_leaderless());
        Ok(())
    }
}
