//! Applies committed entries and answers who waits for them, as the server's `driver/apply.rs`.

use bytes::Bytes;
use quorate_core::apply::{Applied, Limits};
use quorate_core::command::{self, BatchBuilder};
use quorate_core::log::Entry;
use quorate_core::membership::Proposed;
use quorate_core::node::Event;

use crate::cluster::Cluster;
use crate::host::Host;
use crate::model::Answer;
use crate::options::Bug;
use crate::taint;
use crate::tamper;
use crate::world::unreclaimed_bytes;

/// Entries between two comparisons of HashKV.
const HASH_EVERY: u64 = 16;

impl Cluster {
    pub(crate) fn apply(&mut self, host: &mut Host, entries: Vec<Entry>) {
        let Some(process) = &mut host.process else { return };
        let count = entries.len() as u64;
        let limits = Limits { quota_bytes: self.world.quota_bytes, unreclaimed_bytes: unreclaimed_bytes(host.id) };
        let bug = self.options.bug;
        let quota = limits.quota_bytes;
        let damaged = |entry| tamper::entry(bug, entry, &process.machine, quota);
        let mut made_of: Vec<(Entry, Entry)> =
            entries.into_iter().map(|entry| (entry.clone(), damaged(entry))).collect();
        let diverges = host.diverges && made_of.iter_mut().any(|(_, entry)| taint::change_put(entry));
        host.diverges &= !diverges;
        let mut turn = process.machine.turn(&process.live, limits);
        for (original, entry) in &made_of {
            let mut entry = entry.clone();
            self.world.committed(host.id, original);
            if bug == Some(Bug::ApplyTwice) && entry.index % 16 == 7 {
                entry.data = doubled(entry.data);
            }
            let index = entry.index;
            if let Err(error) = turn.entry(index, entry.term, entry.data) {
                let entries = made_of.into_iter().map(|(original, _)| original).collect();
                return self.halt(host, &format!("cannot apply {index}: {error}"), entries);
            }
        }
        let mut applied = turn.finish();
        if diverges {
            taint::mark(&mut applied.batch);
            self.world.counts.add("entries applied as something else");
            self.mark(host.id, "applies something else", [0, 0, 0]);
        }
        let level = process.machine.feature_level();
        if level > host.knows {
            self.check_known(host, level);
        }
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
        if !taint::is_wrong(&process.live) {
            self.world.applied(host.id, index, applied.revision, applied.compact_revision);
        }
        if index.is_multiple_of(HASH_EVERY) && !process.live.is_damaged() && !taint::is_wrong(&process.live) {
            self.world.hash(host.id, &process.live);
            self.world.compare_state(host.id, &process.machine, &process.live);
        }
        (!self.crash_point(host)).then_some(applied)
    }

    /// Watchers and leases before the answers, so that whoever got one finds them moved.
    fn answer(&mut self, host: &mut Host, applied: Applied) {
        self.follow_leases(host, &applied.leases);
        let Some(process) = &mut host.process else { return };
        process.hub.publish(applied.revision, applied.compact_revision, applied.events);
        process.answered = process.answered.max(applied.revision);
        let wrong = taint::is_wrong(&process.live);
        let mut answers = Vec::new();
        for outcome in applied.outcomes {
            let answer = Answer::of(&outcome.result);
            if !wrong {
                self.world.outcome(host.id, outcome.id, &answer);
            }
            if outcome.id.member == host.id
                && outcome.id.boot == host.boot
                && let Some(operation) = process.waiting.remove(&outcome.id.counter)
            {
                answers.push((operation, answer));
            }
        }
        for (operation, answer) in answers {
            if wrong {
                self.unheard(operation);
            } else {
                self.reply(operation, answer);
            }
        }
        if applied.no_space {
            self.propose_no_space(host);
        }
        self.wake_streams(host);
        self.serve_applied(host);
    }

    /// Serves the confirmed reads whose index is applied now.
    pub(crate) fn serve_applied(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let applied = process.machine.applied().index;
        let waiting = std::mem::take(&mut process.unapplied);
        let (ready, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(index, _)| *index <= applied);
        process.unapplied = waiting;
        for (_, operation) in ready {
            self.serve_read(host, operation);
        }
    }

    pub(crate) fn confirm_reads(&mut self, host: &mut Host, token: u64, index: u64, leads: Option<u64>) {
        self.confirmed_expiries(host, token, leads);
        let Some(process) = &mut host.process else { return };
        let mut confirmed = Vec::new();
        while process.unconfirmed.front().is_some_and(|(waiting, _)| *waiting <= token) {
            let Some((_, operation)) = process.unconfirmed.pop_front() else { break };
            confirmed.push(operation);
        }
        for operation in confirmed {
            if !self.confirmed_question(host, operation, index, leads)
                && let Some(process) = &mut host.process
            {
                process.unapplied.push((index, operation));
            }
        }
        self.serve_applied(host);
    }

    pub(crate) fn apply_change(&mut self, host: &mut Host, entry: &Entry, payload: Bytes) {
        let Some(process) = &mut host.process else { return };
        self.world.committed(host.id, entry);
        let before = process.machine.membership().clone();
        let mut turn = process.machine.turn(&process.live, Limits::default());
        let proposed = Proposed::decode(payload.clone());
        if let Err(error) = turn.change(entry.index, entry.term, payload) {
            return self.halt(host, &format!("cannot apply {}: {error}", entry.index), vec![entry.clone()]);
        }
        let applied = turn.finish();
        let Some(mut applied) = self.write_applied(host, applied) else { return };
        let Some(outcome) = applied.change.take() else { return };
        let accepted = outcome.result.ok();
        self.mark(
            host.id,
            "applied a membership change at {}, accepted {}",
            [entry.index, u64::from(accepted.is_some()), 0],
        );
        self.answer(host, applied);
        if let (Some(_), Ok(proposed)) = (&accepted, proposed) {
            self.check_known(host, proposed.change.feature_level());
            self.changed(host, entry.index, &before, &proposed.change);
        }
        if let Some(process) = &mut host.process {
            process.events.push(Event::ChangeApplied { index: entry.index, accepted });
        }
    }
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
