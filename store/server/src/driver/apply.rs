//! Applies committed entries: one write batch a hand-over, then watchers, leases, answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use quorate_core::apply::{self, Applied, Limits, Machine};
use quorate_core::log::Entry;
use quorate_core::mvcc::{self, EventKind};
use quorate_core::node::Event;

use super::{Fatal, Running};
use crate::store::Store;

impl Running {
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), Fatal> {
        let began = Instant::now();
        let (count, bytes) = (entries.len(), entries.iter().map(|entry| entry.data.len()).sum::<usize>());
        let applied = match self.made_of(&entries) {
            Ok(applied) => applied,
            Err(error) => return self.halt(error, entries),
        };
        let index = applied.applied.index;
        self.finish(applied)?;
        self.events.push(Event::Applied { index });
        let took = began.elapsed();
        self.driver.inner.metrics.server.apply_seconds.observe(took.as_secs_f64());
        if took > self.driver.warning_apply {
            self.driver.inner.metrics.server.slow_apply.inc();
            tracing::warn!(entries = count, bytes, took = ?took, "apply request took too long");
        }
        Ok(())
    }

    /// What entries come to; nothing is written yet.
    fn made_of(&mut self, entries: &[Entry]) -> Result<Applied, apply::Error> {
        let driver = &mut self.driver;
        let limits = Limits {
            quota_bytes: driver.inner.limits.load().quota_bytes,
            unreclaimed_bytes: driver.inner.unreclaimed.load(Ordering::Relaxed),
        };
        let view = driver.backend.live();
        let mut turn = driver.machine.turn(&view, limits);
        for entry in entries {
            turn.entry(entry.index, entry.term, entry.data.clone())?;
        }
        Ok(turn.finish())
    }

    /// Damaged rows do not end the process: it would meet them again when it is started. It serves nothing, keeps what is committed and
    /// waits to be rebuilt.
    fn halt(&mut self, error: apply::Error, entries: Vec<Entry>) -> Result<(), Fatal> {
        if !Store(self.driver.inner.clone()).report_damage_to_apply(&error) {
            return Err(error.into());
        }
        // The turn may have changed what is in memory.
        self.driver.machine = Machine::open(&self.driver.backend.live())?;
        tracing::error!(
            applied = self.driver.machine.applied().index,
            "nothing more is applied before this member is rebuilt"
        );
        self.events.push(Event::CannotApply { entries });
        Ok(())
    }

    pub(super) fn apply_change(&mut self, entry: Entry, payload: Bytes) -> Result<(), Fatal> {
        let mut applied = match self.made_of_change(&entry, payload) {
            Ok(applied) => applied,
            Err(error) => return self.halt(error, vec![entry]),
        };
        let outcome = applied.change.take();
        self.finish(applied)?;
        let Some(outcome) = outcome else { return Ok(()) };
        let accepted = outcome.result.as_ref().ok().cloned();
        self.events.push(Event::ChangeApplied { index: entry.index, accepted });
        let inner = &self.driver.inner;
        let this = inner.identity.member_id;
        tracing::info!(index = entry.index, accepted = outcome.result.is_ok(), "applied a membership change");
        if self.driver.machine.membership().is_removed(this) && self.removed_at.is_none() {
            tracing::warn!("this member was removed from the cluster");
            self.removed_at = Some(Instant::now());
        }
        if outcome.id.member == this && outcome.id.boot == inner.identity.boot {
            inner.proposals.answer_change(outcome.id.counter, outcome.result.map(|_| ()));
        }
        Ok(())
    }

    fn made_of_change(&mut self, entry: &Entry, payload: Bytes) -> Result<Applied, apply::Error> {
        let driver = &mut self.driver;
        let view = driver.backend.live();
        let mut turn = driver.machine.turn(&view, Limits::default());
        turn.change(entry.index, entry.term, payload)?;
        Ok(turn.finish())
    }

    /// Writes the batch, then tells everybody: watchers and leases before the answer, so that whoever got an answer finds them moved.
    fn finish(&mut self, applied: Applied) -> Result<(), Fatal> {
        let Applied {
            mut batch,
            outcomes,
            events,
            leases,
            change: _,
            applied: point,
            revision,
            compact_revision,
            alarms_changed,
            members_changed,
            no_space,
        } = applied;
        self.note_compaction(compact_revision, &mut batch);
        let timer = self.driver.inner.metrics.disk.backend_commit.start_timer();
        fail::fail_point!("apply::before_write");
        self.driver.backend.write(&batch)?;
        fail::fail_point!("apply::after_write");
        timer.observe_duration();
        let metrics = &self.driver.inner.metrics;
        metrics.mvcc.applied(&outcomes);
        metrics.mvcc.put_bytes.add(put_bytes(&events));
        metrics.lease.applied(&leases);
        if members_changed {
            let membership = self.driver.machine.membership().clone();
            self.driver.inner.peers.update(&membership);
            self.driver.inner.membership.store(Arc::new(membership));
        }
        let inner = &self.driver.inner;
        inner.lessor.apply(&leases);
        inner.watch_hub.publish(revision, compact_revision, events);
        if alarms_changed || members_changed {
            self.changes += 1;
        }
        self.publish_applied(point.index);
        let inner = &self.driver.inner;
        inner.proposals.answer(inner.identity.member_id, inner.identity.boot, outcomes);
        inner.reads.applied(point.index);
        if no_space {
            self.propose_no_space();
        }
        Ok(())
    }
}

/// Keys and values that these events put.
fn put_bytes(events: &[mvcc::Event]) -> i64 {
    let puts = events.iter().filter(|event| event.kind == EventKind::Put);
    let bytes = puts.map(|event| event.key.len() + event.kv.value.len()).sum::<usize>();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
