//! What the server's driver does at every tick beside telling the node: commit hints, flushes (`driver/flush.rs`), the sweep.

use quorate_core::backend::{Family, Write, WriteBatch};
use quorate_core::log::Index;
use quorate_core::memory::Memory;
use quorate_core::mvcc;
use quorate_core::node::Event;

use crate::cluster::{Cluster, SETTLE_MICROS, What};
use crate::host::{Host, Process};
use crate::options::Bug;

/// Rows that one step of the sweep looks at.
const SWEEP_ROWS: usize = 50;

impl Cluster {
    /// What the server's driver does at every tick beside telling the node.
    pub(crate) fn every_tick(&mut self, host: &mut Host) {
        let flush_micros = self.options.flush_micros;
        let Some(process) = &mut host.process else { return };
        if process.halted {
            return self.ask_to_be_rebuilt(host);
        }
        if process.jobs.is_empty() && process.syncing.is_none() {
            // Asked before the lock is taken: the node may read the log for it.
            let commit = process.node.status().commit;
            host.log.lock().hint(commit);
        }
        let full = host.log.lock().is_full();
        if !full && !process.flushing && !process.unflushed.is_empty() && self.now >= process.flushed_at + flush_micros
        {
            process.flushing = true;
            let batches = process.unflushed.len();
            let at = self.now + host.chance.between(2_000, 50_000);
            self.at(at, What::Flushed { id: host.id, boot: host.boot, name: host.name.clone(), batches });
        }
        self.look_for_expired(host);
        if self.now >= self.options.fault_micros + SETTLE_MICROS {
            self.world.check_late(self.options.fault_micros + SETTLE_MICROS);
        }
        let Some(process) = &mut host.process else { return };
        if let Err(error) = sweep(process, self.options.bug) {
            self.fail(host, &format!("cannot sweep: {error}"));
        }
    }

    pub(crate) fn flushed(&mut self, host: &mut Host, name: &str, batches: usize) {
        let Some(process) = &mut host.process else { return };
        if name != host.name {
            return;
        }
        process.flushing = false;
        process.flushed_at = self.now;
        for batch in process.unflushed.drain(..batches) {
            host.database.write(&batch);
        }
        if self.options.bug == Some(Bug::FlushApart) {
            flush_meta_alone(process, &mut host.database);
        }
        let applied = quorate_core::apply::AppliedIndex::load(&host.database);
        let applied = applied.map_or(0, |applied| applied.index);
        process.events.push(Event::Flushed { applied, keep_entries: self.options.catch_up_entries });
    }

    /// Half of all members have room for what followers may still ask for.
    pub(crate) fn cut_log(&mut self, host: &mut Host, below: Index, wanted_from: Index) {
        let has_room = (self.seed ^ host.id) & 2 == 0;
        let Some(process) = &mut host.process else { return };
        let mut log = host.log.lock();
        let before = log.index().first();
        let first = log.cut(if has_room { below.min(wanted_from) } else { below });
        if first > before {
            self.world.counts.add("logs cut");
        }
        process.events.push(Event::LogCut { first });
    }
}

/// The planted bug: the family with the applied index is flushed further than the others.
fn flush_meta_alone(process: &Process, database: &mut Memory) {
    let mut meta = WriteBatch::default();
    for write in process.unflushed.iter().flat_map(WriteBatch::writes) {
        if let Write::Put { family: Family::Meta, key, value } = write {
            meta.put(Family::Meta, key.clone(), value.clone());
        }
    }
    database.write(&meta);
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
