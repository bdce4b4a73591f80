//! Performs what the node decides, in the order of the server's driver: `driver/mod.rs`, `apply.rs`, `install.rs`, `log_role.rs`.

use bytes::{Bytes, BytesMut};
use quorate_core::apply::{Applied, Limits, Machine};
use quorate_core::command::{self, BatchBuilder};
use quorate_core::log::{Entry, HardState, SnapshotMeta};
use quorate_core::membership::Change;
use quorate_core::mvcc;
use quorate_core::node::{Effect, Event};
use quorate_core::replica::{Message, Role};
use quorate_core::wal_format::SnapshotMarker;

use crate::cluster::{Cluster, What};
use crate::host::{Host, Job, Process, Received};
use crate::model::Answer;
use crate::network::Packet;
use crate::options::Bug;

/// Entries between two comparisons of HashKV.
const HASH_EVERY: u64 = 16;
/// Rows that one step of the sweep looks at.
const SWEEP_ROWS: usize = 50;

impl Cluster {
    /// Lets the node decide until nothing is left to do now.
    pub(crate) fn turn(&mut self, host: &mut Host) {
        loop {
            let Some(process) = &mut host.process else { return };
            let events = std::mem::take(&mut process.events);
            for effect in process.node.turn(events) {
                if self.crash_point(host) {
                    return;
                }
                self.perform(host, effect);
                if host.process.is_none() || self.world.violation.is_some() {
                    return;
                }
            }
            let Some(process) = &host.process else { return };
            if process.events.is_empty() {
                break;
            }
        }
        let Some(process) = &host.process else { return };
        let status = process.node.status();
        if status.role == Role::Leader {
            self.world.leads(host.id, status.term);
        }
    }

    /// Returns whether the process died here.
    fn crash_point(&mut self, host: &mut Host) -> bool {
        let Some((left, power)) = host.crash_in else { return false };
        if left > 0 {
            host.crash_in = Some((left - 1, power));
            return false;
        }
        self.world.counts.add("crashes between two effects");
        self.crash(host, power);
        true
    }

    fn perform(&mut self, host: &mut Host, effect: Effect) {
        match effect {
            Effect::Send(message) => match message.snapshot() {
                Some(meta) => self.send_snapshot(host, &message, &meta),
                None => self.send(host.id, message.to(), Packet::Raft(encode(&message))),
            },
            Effect::Forward { to, sequence, term, proposals } => {
                let boot = host.boot;
                self.send(host.id, to, Packet::Forward { boot, sequence, term, proposals });
            }
            Effect::Refuse { to, proposals } => self.send(host.id, to, Packet::Refuse { proposals }),
            Effect::Persist { number, hard_state, entries, snapshot } => {
                self.note(host.id, "persists {} with {} entries", [number, entries.len() as u64, 0]);
                match snapshot {
                    Some(meta) => self.install(host, number, meta, hard_state, &entries),
                    None => self.persist(host, Job { number, hard_state, entries }),
                }
            }
            Effect::Apply(entries) => self.apply(host, entries),
            Effect::ApplyChange { entry, payload } => self.apply_change(host, &entry, payload),
            Effect::ReadReady { token, index, .. } => self.confirm_reads(host, token, index),
            Effect::Overloaded(id) => self.world.violate(format!("{id:?} refused, the queue is far from full")),
            Effect::BuildSnapshot => {
                let at = self.now + self.chance.between(5_000, 200_000);
                self.at(at, What::SnapshotBuilt { id: host.id, boot: host.boot });
            }
        }
    }

    fn persist(&mut self, host: &mut Host, job: Job) {
        let bug = self.options.bug;
        let Some(process) = &mut host.process else { return };
        let number = job.number;
        if bug == Some(Bug::LoseTerm) && job.entries.is_empty() {
            process.events.push(Event::Persisted { number });
            return;
        }
        let idle = process.jobs.is_empty() && process.syncing.is_none();
        let inline = process.node.status().sole_voter && idle;
        if !inline && bug != Some(Bug::SkipSync) {
            process.jobs.push_back(job);
            return self.begin_sync(host);
        }
        host.log.lock().write(job.hard_state, &job.entries, None);
        if self.crash_point(host) {
            return;
        }
        host.log.lock().adopt(bug != Some(Bug::SkipSync));
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
        host.log.lock().write(job.hard_state, &job.entries, None);
        process.syncing = Some(job.number);
        let at = self.now + self.chance.between(host.fsync_micros / 4, host.fsync_micros * 2);
        self.at(at, What::Synced { id: host.id, boot: host.boot });
    }

    /// The sync under way has returned.
    pub(crate) fn synced(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let Some(number) = process.syncing.take() else { return };
        host.log.lock().adopt(true);
        process.events.push(Event::Persisted { number });
        self.begin_sync(host);
    }

    fn install(
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
        // Everything that was handed over before is made durable first.
        while host.process.as_ref().is_some_and(|process| process.syncing.is_some()) {
            self.synced(host);
        }
        let marker = SnapshotMarker { meta: meta.clone(), directory: name.clone() };
        host.log.lock().write(hard_state, entries, Some(&marker));
        let strikes = self.faults && self.chance.percent(40);
        if strikes && self.chance.percent(50) {
            self.world.counts.add("crashes during an installation");
            return self.crash(host, true);
        }
        host.log.lock().adopt(true);
        if strikes {
            self.world.counts.add("crashes during an installation");
            return self.crash(host, false);
        }
        (host.name, host.database) = (name, rows);
        host.received = None;
        let live = host.database.clone();
        let machine = match Machine::open(&live) {
            Ok(machine) => machine,
            Err(error) => return self.world.violate(format!("an installed snapshot does not open: {error}")),
        };
        assert_eq!(machine.applied().index, meta.index, "the installed database stands at the snapshot's point");
        assert_eq!(machine.conf_state(), meta.conf_state, "and holds the snapshot's configuration");
        self.world.counts.add("snapshots installed");
        self.note(host.id, "installed the snapshot at {}", [meta.index, 0, 0]);
        self.world.applied(host.id, meta.index, machine.revision(), machine.compact_revision());
        let Some(process) = &mut host.process else { return };
        (process.machine, process.live) = (machine, live);
        process.unflushed.clear();
        process.flushing = false;
        process.events.push(Event::Persisted { number });
        self.serve_applied(host);
    }

    fn apply(&mut self, host: &mut Host, entries: Vec<Entry>) {
        let Some(process) = &mut host.process else { return };
        let count = entries.len() as u64;
        let mut turn = process.machine.turn(&process.live, Limits::default());
        for mut entry in entries {
            self.world.committed(host.id, &entry);
            if self.options.bug == Some(Bug::ApplyTwice) && entry.index % 16 == 7 {
                entry.data = doubled(entry.data);
            }
            if let Err(error) = turn.entry(entry.index, entry.term, entry.data) {
                return self.world.violate(format!("member {} cannot apply {}: {error}", host.id, entry.index));
            }
        }
        let applied = turn.finish();
        let index = applied.applied.index;
        self.note(host.id, "applied {} entries up to {}", [count, index, 0]);
        if let Some(applied) = self.write_applied(host, applied) {
            self.answer(host, applied);
            if let Some(process) = &mut host.process {
                process.events.push(Event::Applied { index });
            }
        }
    }

    /// Writes the batch; nothing is told when the process dies right after it.
    fn write_applied(&mut self, host: &mut Host, mut applied: Applied) -> Option<Applied> {
        let process = host.process.as_mut()?;
        let batch = std::mem::take(&mut applied.batch);
        process.live.write(&batch);
        process.unflushed.push(batch);
        let index = applied.applied.index;
        self.world.applied(host.id, index, applied.revision, applied.compact_revision);
        if index.is_multiple_of(HASH_EVERY) {
            self.world.hash(host.id, &process.live);
        }
        (!self.crash_point(host)).then_some(applied)
    }

    fn answer(&mut self, host: &mut Host, applied: Applied) {
        let Some(process) = &mut host.process else { return };
        let mut answers = Vec::new();
        for outcome in applied.outcomes {
            if outcome.id.member == host.id
                && outcome.id.boot == host.boot
                && let Some(operation) = process.waiting.remove(&outcome.id.counter)
            {
                answers.push((operation, Answer::of(&outcome.result)));
            }
        }
        for (operation, answer) in answers {
            self.reply(operation, answer);
        }
        self.serve_applied(host);
    }

    /// Serves the confirmed reads whose index is applied now.
    fn serve_applied(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let applied = process.machine.applied().index;
        let waiting = std::mem::take(&mut process.unapplied);
        let (ready, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(index, _)| *index <= applied);
        process.unapplied = waiting;
        for (_, operation) in ready {
            self.serve_read(host, operation);
        }
    }

    fn confirm_reads(&mut self, host: &mut Host, token: u64, index: u64) {
        let Some(process) = &mut host.process else { return };
        while process.unconfirmed.front().is_some_and(|(waiting, _)| *waiting <= token) {
            let Some((_, operation)) = process.unconfirmed.pop_front() else { break };
            process.unapplied.push((index, operation));
        }
        self.serve_applied(host);
    }

    fn apply_change(&mut self, host: &mut Host, entry: &Entry, payload: Bytes) {
        let Some(process) = &mut host.process else { return };
        self.world.committed(host.id, entry);
        let mut turn = process.machine.turn(&process.live, Limits::default());
        let proposed = quorate_core::membership::Proposed::decode(payload.clone());
        if let Err(error) = turn.change(entry.index, entry.term, payload) {
            return self.world.violate(format!("member {} cannot apply {}: {error}", host.id, entry.index));
        }
        let applied = turn.finish();
        let Some(mut applied) = self.write_applied(host, applied) else { return };
        let Some(outcome) = applied.change.take() else { return };
        let accepted = outcome.result.ok();
        self.note(
            host.id,
            "applied a membership change at {}, accepted {}",
            [entry.index, u64::from(accepted.is_some()), 0],
        );
        self.answer(host, applied);
        if let (Some(_), Ok(proposed)) = (&accepted, proposed) {
            self.changed(host, entry.index, &proposed.change);
        }
        if let Some(process) = &mut host.process {
            process.events.push(Event::ChangeApplied { index: entry.index, accepted });
        }
    }

    /// The operator starts a machine for an added member; a removed one goes, after it told others what it knows.
    fn changed(&mut self, host: &Host, index: u64, change: &Change) {
        let first = self.changes.insert(index);
        match change {
            Change::AddLearner(member) if first => {
                self.world.counts.add("members added");
                self.add_host(member.id);
            }
            Change::Promote(_) if first => self.world.counts.add("learners promoted"),
            Change::Remove(id) => {
                if first {
                    self.world.counts.add("members removed");
                }
                if *id == host.id {
                    self.at(self.now + 1_000_000, What::Gone { id: *id });
                }
            }
            _ => {}
        }
    }

    /// What the server's driver does at every tick beside telling the node.
    pub(crate) fn every_tick(&mut self, host: &mut Host) {
        let flush_micros = self.options.flush_micros;
        let Some(process) = &mut host.process else { return };
        if process.jobs.is_empty() && process.syncing.is_none() {
            // Asked before the lock is taken: the node may read the log for it.
            let commit = process.node.status().commit;
            host.log.lock().hint(commit);
        }
        if !process.flushing && !process.unflushed.is_empty() && self.now >= process.flushed_at + flush_micros {
            process.flushing = true;
            let batches = process.unflushed.len();
            let at = self.now + self.chance.between(2_000, 50_000);
            self.at(at, What::Flushed { id: host.id, boot: host.boot, name: host.name.clone(), batches });
        }
        if let Err(error) = sweep(process) {
            self.world.violate(format!("member {} cannot sweep: {error}", host.id));
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
        let applied = quorate_core::apply::AppliedIndex::load(&host.database);
        let below = applied.map_or(0, |applied| applied.index).saturating_sub(self.options.catch_up_entries);
        if below == 0 {
            return;
        }
        let mut log = host.log.lock();
        let before = log.index().first();
        let first = log.cut(below);
        if first > before {
            self.world.counts.add("logs cut");
        }
        process.events.push(Event::LogCut { first });
    }

    fn send_snapshot(&mut self, host: &mut Host, message: &Message, meta: &SnapshotMeta) {
        let to = message.to();
        let built = host.process.as_ref().and_then(|process| process.built.clone());
        match built.filter(|(built, _)| built.index == meta.index) {
            Some((meta, rows)) => {
                let packet = Packet::Snapshot { boot: host.boot, message: encode(message), meta, rows };
                self.send(host.id, to, packet);
            }
            None => {
                self.at(self.now + 1_000, What::SnapshotSent { id: host.id, boot: host.boot, to, installed: false })
            }
        }
    }
}

fn sweep(process: &mut Process) -> Result<(), mvcc::Error> {
    let state = process.machine.state();
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

fn encode(message: &Message) -> Bytes {
    let mut data = BytesMut::new();
    message.encode(&mut data);
    data.freeze()
}

/// The planted bug: each command of an entry, twice.
fn doubled(data: Bytes) -> Bytes {
    let Ok(commands) = command::decode(data.clone()) else { return data };
    if commands.is_empty() {
        return data;
    }
    let mut batch = BatchBuilder::default();
    for command in commands {
        batch.push(&command);
        batch.push(&command);
    }
    batch.finish()
}
