//! Flushes a member's database when its node says so, and cuts its log, as the server's `driver/flush.rs`.

use quorate_core::apply::AppliedIndex;
use quorate_core::backend::{Family, Write, WriteBatch};
use quorate_core::log::Index;
use quorate_core::memory::Memory;
use quorate_core::node::Event;

use crate::cluster::{Cluster, What};
use crate::host::{Host, Process};
use crate::options::Bug;

/// A flush under way.
#[derive(Debug)]
pub struct Flushing {
    /// The database that it flushes.
    name: String,
    /// What was written to it and not flushed when it began.
    batches: usize,
    /// How far it was applied then.
    applied: Index,
}

impl Cluster {
    pub(crate) fn flush(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        if std::mem::replace(&mut process.flushing, true) {
            return self.world.violate(format!("member {} is to flush while a flush is under way", host.id));
        }
        if process.halted {
            return self.world.violate(format!("member {} is to flush although its rows are damaged", host.id));
        }
        process.flush_waits = true;
        self.begin_flush(host);
    }

    /// Begins the flush that waits, when the disk has room.
    pub(crate) fn begin_flush(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        if !process.flush_waits || host.log.lock().is_full() {
            return;
        }
        process.flush_waits = false;
        let applied = process.machine.applied().index;
        let flushing = Flushing { name: host.name.clone(), batches: process.unflushed.len(), applied };
        let at = self.now + host.chance.between(2_000, 50_000);
        self.at(at, What::Flushed { id: host.id, boot: host.boot, flushing });
    }

    pub(crate) fn flushed(&mut self, host: &mut Host, flushing: Flushing) {
        let Some(process) = &mut host.process else { return };
        process.flushing = false;
        let keep_entries = self.keep_entries;
        let Flushing { name, batches, applied } = flushing;
        if name != host.name {
            // A snapshot replaced the database meanwhile; the server's old one ends its flush all the same.
            process.events.push(Event::Flushed { applied, keep_entries });
            return;
        }
        for batch in process.unflushed.drain(..batches) {
            host.database.write(&batch);
        }
        if self.options.bug == Some(Bug::FlushApart) {
            flush_meta_alone(process, &mut host.database);
        }
        let applied = AppliedIndex::load(&host.database).map_or(0, |applied| applied.index);
        process.events.push(Event::Flushed { applied, keep_entries });
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
