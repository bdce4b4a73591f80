//! A physical compaction: its caller waits until the rows that it gives up are gone, so the sweep does not wait for ticks.

use quorate_core::mvcc::Position;
use tokio::sync::oneshot;

use super::{Fatal, Running};
use crate::inbox::Input;

impl Running {
    /// One step a turn, so that others' writes wait for a few milliseconds at most.
    pub(super) fn sweep_to(&mut self, revision: i64, done: oneshot::Sender<()>) -> Result<(), Fatal> {
        if done.is_closed() {
            return Ok(());
        }
        let position = Position::load(&self.driver.backend.live()).map_err(quorate_core::apply::Error::from)?;
        if position.swept >= revision {
            // The caller may have gone.
            let _ = done.send(());
            return Ok(());
        }
        if self.sweep_step()? {
            self.swept = Some(self.driver.machine.state().compact_revision);
        }
        self.driver.inner.inbox.push(Input::SweepTo { revision, done });
        Ok(())
    }
}
