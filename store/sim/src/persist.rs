//! Makes durable what the node hands out: groups of the log as the server's `driver/log_role.rs`, snapshots as `driver/install.rs`.

use quorate_core::log::{Entry, HardState, SnapshotMeta};
use quorate_core::mvcc::Revision;
use quorate_core::node::Event;
use quorate_core::wal_format::SnapshotMarker;

use crate::cluster::{Cluster, What};
use crate::host::{Host, Job, Received, open_machine};
use crate::log::Wrote;
use crate::options::Bug;
use crate::taint;

/// After a sync: the acknowledgement has arrived, and the hint of the next tick is not written.
const DIES_WITHIN_MICROS: u64 = 40_000;

impl Cluster {
    pub(crate) fn persist(&mut self, host: &mut Host, job: Job) {
        let bug = self.options.bug;
        let Some(process) = &mut host.process else { return };
        let number = job.number;
        if bug == Some(Bug::LoseTerm) && job.entries.is_empty() {
            process.events.push(Event::Persisted { number });
            return;
        }
        let idle = process.jobs.is_empty() && process.syncing.is_none();
        let mut inline = process.node.status().sole_voter && idle;
        let rises = |state: HardState| state.term > host.log.lock().hard_state().term;
        if bug == Some(Bug::EarlyTerm) && inline && job.hard_state.is_some_and(rises) {
            process.events.push(Event::Persisted { number });
            inline = false;
        }
        if !inline && bug != Some(Bug::SkipSync) {
            process.jobs.push_back(job);
            return self.begin_sync(host);
        }
        if !self.write(host, job) || self.crash_point(host) || !self.sync(host) {
            return;
        }
        if let Some(process) = &mut host.process {
            process.events.push(Event::Persisted { number });
        }
    }

    /// Writes what waits as one group, whose sync takes its time.
    pub(crate) fn begin_sync(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        if process.syncing.is_some() {
            return;
        }
        let Some(mut job) = process.jobs.pop_front() else { return };
        while let Some(next) = process.jobs.pop_front() {
            let follows = match (job.entries.last(), next.entries.first()) {
                (Some(last), Some(first)) => first.index == last.index + 1,
                _ => true,
            };
            if !follows {
                process.jobs.push_front(next);
                break;
            }
            job.number = next.number;
            job.hard_state = next.hard_state.or(job.hard_state);
            job.entries.extend(next.entries);
        }
        let number = job.number;
        if !self.write(host, job) {
            return;
        }
        let Some(process) = &mut host.process else { return };
        process.syncing = Some(number);
        if std::mem::take(&mut host.cut_in_sync) {
            self.world.counts.add("power cuts during a sync");
            return self.crash(host, true);
        }
        let at = self.now + host.chance.between(host.fsync_micros / 4, host.fsync_micros * 2);
        self.at(at, What::Synced { id: host.id, boot: host.boot });
    }

    /// The sync under way has returned.
    pub(crate) fn synced(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let Some(number) = process.syncing.take() else { return };
        if !self.sync(host) {
            return;
        }
        if let Some(process) = &mut host.process {
            process.events.push(Event::Persisted { number });
        }
        if let Some(seed) = host.dies_after_sync.take() {
            let at = self.now + host.chance.between(1_000, DIES_WITHIN_MICROS);
            self.at(at, What::Die { id: host.id, boot: host.boot, seed });
        }
        self.begin_sync(host);
    }

    /// Writes a group. False when the process died while the log began a segment, or when the disk is full: then the job waits.
    fn write(&mut self, host: &mut Host, job: Job) -> bool {
        let wrote = host.log.lock().write(job.hard_state, &job.entries, None);
        match wrote {
            Wrote::Group => return true,
            Wrote::Died => self.torn_creation(host),
            Wrote::Nothing => {
                self.world.counts.add("log writes held up by a full disk");
                if let Some(process) = &mut host.process {
                    process.jobs.push_front(job);
                }
            }
        }
        false
    }

    fn torn_creation(&mut self, host: &mut Host) {
        self.world.counts.add("creations of segments torn");
        let power = host.chance.percent(70);
        self.crash(host, power);
    }

    /// Makes what was written durable; false when the disk refuses, which ends the process.
    fn sync(&mut self, host: &mut Host) -> bool {
        if std::mem::take(&mut host.sync_fails) {
            self.world.counts.add("failed syncs");
            host.log.lock().fail_sync();
            self.mark(host.id, "cannot sync its log", [0, 0, 0]);
            self.crash(host, false);
            return false;
        }
        host.log.lock().adopt(self.options.bug != Some(Bug::SkipSync));
        true
    }

    /// Makes everything durable that was handed over; false when the process died over it. On a full disk it waits for room here and does
    /// nothing else meanwhile; it has it at once.
    fn sync_all(&mut self, host: &mut Host) -> bool {
        loop {
            while host.process.as_ref().is_some_and(|process| process.syncing.is_some()) {
                self.synced(host);
            }
            match &host.process {
                None => return false,
                Some(process) if process.jobs.is_empty() => return true,
                Some(_) => {}
            }
            self.make_room(host);
            self.begin_sync(host);
        }
    }

    pub(crate) fn install(
        &mut self,
        host: &mut Host,
        number: u64,
        meta: SnapshotMeta,
        hard_state: Option<HardState>,
        entries: &[Entry],
    ) {
        let is_it = |received: &Received| received.meta.index == meta.index && received.meta.term == meta.term;
        let Some(Received { name, rows, .. }) = host.received.clone().filter(is_it) else {
            return self.world.violate(format!("member {} took a snapshot that did not arrive", host.id));
        };
        if !self.sync_all(host) {
            return;
        }
        let marker = SnapshotMarker { meta: meta.clone(), directory: name.clone() };
        if host.log.lock().write(hard_state, entries, Some(&marker)) == Wrote::Died {
            return self.torn_creation(host);
        }
        let strikes = self.faults && host.chance.percent(40);
        if strikes && host.chance.percent(50) {
            self.world.counts.add("crashes during an installation");
            let power = host.chance.percent(50);
            return self.crash(host, power);
        }
        if !self.sync(host) {
            return;
        }
        // Between marker and pointer, at the pointer (a power cut may find the old one), or after it.
        let moved = !strikes || host.chance.percent(50);
        if moved {
            (host.name, host.database) = (name, rows);
            host.received = None;
        }
        if strikes {
            self.world.counts.add("crashes during an installation");
            let power = host.chance.percent(50);
            return self.crash(host, power);
        }
        let live = host.database.clone();
        let machine = match open_machine(&live) {
            Ok(machine) => machine,
            Err(error) => return self.fail(host, &format!("cannot open an installed snapshot: {error}")),
        };
        assert_eq!(machine.applied().index, meta.index, "the installed database stands at the snapshot's point");
        assert_eq!(machine.conf_state(), meta.conf_state, "and holds the snapshot's configuration");
        self.world.counts.add("snapshots installed");
        host.was_sent_snapshot = true;
        self.mark(host.id, "installed the snapshot at {}", [meta.index, 0, 0]);
        if !taint::is_wrong(&live) {
            self.world.applied(host.id, meta.index, machine.revision(), machine.compact_revision());
        }
        let Some(process) = &mut host.process else { return };
        process.halted = false;
        process.integrity.scrub_from = Revision::default();
        if process.integrity.rebuild.installed() {
            process.integrity.damaged = false;
            self.world.counts.add("damaged members rebuilt in place");
        }
        (process.machine, process.live) = (machine, live);
        process.hub.reset(process.machine.revision(), process.machine.compact_revision());
        process.lessor.reset(&process.machine, self.now);
        process.unflushed.clear();
        process.events.push(Event::Persisted { number });
        self.serve_applied(host);
    }
}
