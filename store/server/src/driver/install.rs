//! Installs a snapshot that raft took: marker into the log, pointer, reopening, and everybody told that the state jumped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_core::apply::Machine;
use quorate_core::log::{Entry, HardState, SnapshotMeta};

use super::{Fatal, Running, space};
use crate::member::database_options;

impl Running {
    pub(super) fn install(
        &mut self,
        meta: SnapshotMeta,
        hard_state: Option<HardState>,
        entries: &[Entry],
    ) -> Result<(), Fatal> {
        let received = self.driver.snapshots.take_received(&meta);
        let received = received
            .ok_or_else(|| Fatal::Role(format!("raft took a snapshot at {} that did not arrive here", meta.index)))?;
        tracing::info!(index = meta.index, term = meta.term, "applying snapshot");
        self.driver.inner.metrics.server.snapshot_applying.set(1);
        let driver = &mut self.driver;
        fail::fail_point!("snapshot::before_marker");
        driver.log.persist_marker(hard_state, entries, &received.marker())?;
        let old = driver.backend.clone();
        let backend = Arc::new(received.install(database_options())?);
        fail::fail_point!("snapshot::before_removing_the_old");
        old.remove_when_closed();
        driver.machine = Machine::open(&backend.live())?;
        assert_eq!(driver.machine.applied().index, meta.index, "the installed database stands at the snapshot's point");
        assert_eq!(driver.machine.conf_state(), meta.conf_state, "and holds the snapshot's configuration");
        driver.backend = backend.clone();
        let inner = &driver.inner;
        inner.unreclaimed.store(space::load_unreclaimed(&backend)?, Ordering::Relaxed);
        inner.backend.store(backend);
        let membership = driver.machine.membership().clone();
        inner.peers.update(&membership);
        inner.membership.store(Arc::new(membership));
        inner
            .lessor
            .reset(driver.machine.leases().iter().map(|(id, lease)| (*id, lease.ttl_seconds, lease.grant_index)));
        self.publish_applied(meta.index);
        let (inner, machine) = (&self.driver.inner, &self.driver.machine);
        inner.watch_hub.reset(machine.revision(), machine.compact_revision());
        inner.reads.applied(meta.index);
        self.driver.inner.metrics.server.snapshot_applying.set(0);
        self.swept = None;
        self.changes += 1;
        tracing::info!(index = meta.index, revision = machine.revision(), "applied snapshot");
        self.rebuilt();
        Ok(())
    }
}
