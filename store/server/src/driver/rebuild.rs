//! Replaces this member's state by its leader's (`quorate_core::integrity::Rebuild`), and lowers its CORRUPT alarm then.

use quorate_core::integrity::{self, Leader, Step};
use quorate_core::node::Event;
use tokio::sync::oneshot;

use super::Running;
use crate::inbox::Rebuilt;
use crate::store::Store;

#[derive(Debug, Default)]
pub(super) struct Rebuild {
    steps: integrity::Rebuild,
    /// Who waits for it.
    asker: Option<oneshot::Sender<Rebuilt>>,
}

impl Running {
    pub(super) fn begin_rebuild(&mut self, done: oneshot::Sender<Rebuilt>) {
        tracing::warn!("this member's data are replaced by its leader's, as was asked for");
        self.rebuild.asker = Some(done);
        self.rebuild.steps.ask();
    }

    /// At every tick.
    pub(super) fn rebuild_step(&mut self) {
        let store = Store(self.driver.inner.clone());
        let alarms = self.driver.machine.alarms();
        let leader = Leader::of(&self.driver.node.status(), alarms);
        let corrupt = alarms.is_corrupt(store.identity().member_id);
        match self.rebuild.steps.step(self.now_ms(), leader, store.is_damaged(), corrupt) {
            Some(Step::AskForSnapshot) => self.events.push(Event::RequestSnapshot),
            Some(Step::HandOver) => {
                let sound = |id| !self.driver.machine.alarms().is_corrupt(id);
                if let Some(to) = self.successor().filter(|id| sound(*id)) {
                    self.events.push(Event::Transfer { to });
                }
            }
            Some(Step::TakeAlarmBack) => {
                self.driver.inner.runtime.spawn(async move {
                    if let Err(error) = store.set_corrupt(false).await {
                        tracing::warn!(%error, "cannot take the CORRUPT alarm back, trying again");
                    }
                });
            }
            None => {}
        }
    }

    /// A snapshot was installed.
    pub(super) fn rebuilt(&mut self) {
        if !self.rebuild.steps.installed() {
            return;
        }
        let machine = &self.driver.machine;
        let rebuilt = Rebuilt { index: machine.applied().index, revision: machine.revision() };
        tracing::info!(index = rebuilt.index, revision = rebuilt.revision, "this member's data were replaced");
        Store(self.driver.inner.clone()).damage_is_healed();
        if let Some(asker) = self.rebuild.asker.take() {
            // It may have gone.
            let _ = asker.send(rebuilt);
        }
    }
}
