//! What the server's driver does at every tick beside telling the node: commit hints and the sweep.

use quorate_core::mvcc;

use crate::cluster::Cluster;
use crate::host::{Host, Process};
use crate::options::Bug;

/// Rows that one step of the sweep looks at.
const SWEEP_ROWS: usize = 50;

impl Cluster {
    /// What the server's driver does at every tick beside telling the node.
    pub(crate) fn every_tick(&mut self, host: &mut Host) {
        self.look_after(host);
        let Some(process) = &mut host.process else { return };
        if process.halted {
            return;
        }
        if process.jobs.is_empty() && process.syncing.is_none() {
            // Asked before the lock is taken: the node may read the log for it.
            let commit = process.node.status().commit;
            host.log.lock().hint(commit);
        }
        self.look_for_expired(host);
        if self.now >= self.settled_at() {
            // Under CORRUPT no lease expires.
            self.world.check_late(self.settled_at().max(self.world.corrupt_at));
        }
        let Some(process) = &mut host.process else { return };
        if let Err(error) = sweep(process, self.options.bug) {
            self.fail(host, &format!("cannot sweep: {error}"));
        }
    }
}

fn sweep(process: &mut Process, bug: Option<Bug>) -> Result<(), mvcc::Error> {
    let mut state = process.machine.state();
    if bug == Some(Bug::SweepAbove) && state.compact_revision >= 0 {
        state.compact_revision = (state.compact_revision + 3).min(state.revision);
    }
    if state.compact_revision < 0 {
        return Ok(());
    }
    let position = mvcc::Position::load(&process.live)?;
    if position.is_done(&state) {
        return Ok(());
    }
    let step = mvcc::sweep(&process.live, &state, position, SWEEP_ROWS)?;
    process.live.write(&step.batch);
    process.unflushed.push(step.batch);
    Ok(())
}
