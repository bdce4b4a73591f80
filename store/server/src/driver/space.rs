//! Space: the paced sweep behind a compaction, and what this member has not reclaimed yet.
//!
//! `dbSizeInUse` is replicated; `dbSize` adds what is compacted but still on this member's disk, so a compaction alone does not lower
//! it and a defragmentation does, as users of etcd expect.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use quorate_core::backend::{Family, View, Write, WriteBatch};
use quorate_core::mvcc;
use tokio::sync::oneshot;

use super::{Fatal, Running};
use crate::backend::Backend;
use crate::member::unix_seconds;

/// Log rows that one step of the sweep looks at between two ticks; a step takes a few milliseconds.
const SWEEP_ROWS: usize = 2_000;
/// Where the unreclaimed bytes stand among the database's meta rows.
const UNRECLAIMED_ROW: &[u8] = b"unreclaimed";

/// What was not reclaimed when the database was last written.
///
/// # Errors
/// The database's.
pub fn load_unreclaimed(backend: &Backend) -> Result<u64, quorate_core::backend::Error> {
    let row = backend.live().get(Family::Meta, UNRECLAIMED_ROW)?;
    Ok(row.and_then(|row| row.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
}

/// Notes in a batch what is not reclaimed once it is written.
pub fn store_unreclaimed(bytes: u64, batch: &mut WriteBatch) {
    batch.put(Family::Meta, UNRECLAIMED_ROW, Bytes::copy_from_slice(&bytes.to_be_bytes()));
}

impl Running {
    /// A compaction in this batch turned logical bytes into unreclaimed ones.
    pub(super) fn note_compaction(&mut self, compact_revision: i64, batch: &mut WriteBatch) {
        let inner = &self.driver.inner;
        let before = inner.status.load();
        if compact_revision <= before.compact_revision {
            return;
        }
        inner.metrics.mvcc.compaction.last.set(i64::try_from(unix_seconds()).unwrap_or(i64::MAX));
        self.sweeping_since.get_or_insert_with(Instant::now);
        let freed = before.db_size_in_use.saturating_sub(self.driver.machine.size_in_use_bytes());
        let bytes = inner.unreclaimed.fetch_add(freed, Ordering::Relaxed) + freed;
        store_unreclaimed(bytes, batch);
    }

    /// One paced step, while there is something to sweep.
    pub(super) fn sweep(&mut self) -> Result<(), Fatal> {
        let state = self.driver.machine.state();
        if state.compact_revision < 0 || self.swept == Some(state.compact_revision) || self.disk_full_reason().is_some()
        {
            return Ok(());
        }
        if self.sweep_step()? {
            self.swept = Some(state.compact_revision);
        }
        Ok(())
    }

    /// Returns whether everything is swept.
    pub(super) fn sweep_step(&mut self) -> Result<bool, Fatal> {
        let driver = &self.driver;
        let view = driver.backend.live();
        let state = driver.machine.state();
        let position = mvcc::Position::load(&view).map_err(quorate_core::apply::Error::from)?;
        if position.is_done(&state) {
            driver.inner.metrics.mvcc.swept_revision.set(position.swept);
            return Ok(true);
        }
        let began = Instant::now();
        let step = mvcc::sweep(&view, &state, position, SWEEP_ROWS).map_err(quorate_core::apply::Error::from)?;
        fail::fail_point!("sweep::before_write");
        driver.backend.write(&step.batch)?;
        fail::fail_point!("sweep::after_write");
        let metrics = &driver.inner.metrics.mvcc;
        metrics.swept_revision.set(step.position.swept);
        let versions =
            step.batch.writes().iter().filter(|write| matches!(write, Write::Delete { family: Family::Values, .. }));
        metrics.compaction.deleted_versions.inc_by(versions.count() as u64);
        metrics.compaction.paused(began);
        if step.done
            && let Some(since) = self.sweeping_since.take()
        {
            metrics.compaction.done(since);
        }
        Ok(step.done)
    }

    pub(super) fn sweep_all(&mut self, done: oneshot::Sender<u64>) -> Result<(), Fatal> {
        let state = self.driver.machine.state();
        if state.compact_revision >= 0 && self.swept != Some(state.compact_revision) {
            if self.sweep_step()? {
                self.swept = Some(state.compact_revision);
            } else {
                // One step a turn, so that a defragmentation delays nobody.
                self.driver.inner.inbox.push(crate::inbox::Input::SweepAll(done));
                return Ok(());
            }
        }
        let _ = done.send(self.driver.inner.unreclaimed.load(Ordering::Relaxed));
        Ok(())
    }

    pub(super) fn reclaimed(&mut self, bytes: u64, done: oneshot::Sender<()>) -> Result<(), Fatal> {
        let left = self.driver.inner.unreclaimed.load(Ordering::Relaxed).saturating_sub(bytes);
        self.driver.inner.unreclaimed.store(left, Ordering::Relaxed);
        let mut batch = WriteBatch::default();
        store_unreclaimed(left, &mut batch);
        self.driver.backend.write(&batch)?;
        self.publish_applied(self.driver.node.status().applied);
        let _ = done.send(());
        Ok(())
    }
}
