//! The running store as the pages see it.

use std::time::Duration;

use futures::future::BoxFuture;
use quorate_api::Error;
use quorate_api::etcdserverpb::{AlarmType, RangeRequest};
use quorate_core::mvcc;

use super::{Facts, Probe};
use crate::metrics::Metrics;
use crate::store::Store;

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Probe for Store {
    fn facts(&self) -> Facts {
        let status = self.status();
        let alarms = status.alarms.iter().filter_map(|alarm| AlarmType::try_from(alarm.alarm).ok());
        // Found here, and perhaps not known to the cluster yet.
        let own = self.is_damaged().then_some(AlarmType::Corrupt);
        let own = own.filter(|own| !status.alarms.iter().any(|alarm| alarm.alarm == i32::from(*own)));
        Facts {
            has_leader: status.leader != 0,
            is_learner: status.is_learner,
            alarms: alarms.chain(own).collect(),
            in_cluster: true,
            disk_full: status.disk_full.clone(),
        }
    }

    /// Reads one key, as etcd's checks do.
    fn serializable_read(&self) -> Result<(), Error> {
        let view = self.view()?;
        let request = RangeRequest { key: "_".into(), limit: 1, ..Default::default() };
        match mvcc::range(&*view, &view.state, &request) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Unmapped(error.to_string())),
        }
    }

    fn linearizable_read(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.linearizable().await?;
            self.serializable_read()
        })
    }

    fn lag(&self, patience: Duration) -> BoxFuture<'_, Result<Option<u64>, Error>> {
        Box::pin(Store::lag(self, patience))
    }

    fn observe(&self, metrics: &Metrics) {
        let status = self.status();
        let server = &metrics.server;
        server.has_leader.set(i64::from(status.leader != 0));
        server.is_leader.set(i64::from(status.is_leader()));
        server.is_learner.set(i64::from(status.is_learner));
        server.proposals_committed.set(to_i64(status.committed));
        server.proposals_applied.set(to_i64(status.applied));
        server.proposals_pending.set(to_i64(self.pending_proposals() as u64));
        metrics.alarms.set(&status.alarms);
        metrics.memory.set(self.budget());
        server.quota_bytes.set(self.limits().quota_bytes.map_or(0.0, |bytes| bytes as f64));
        let mvcc = &metrics.mvcc;
        mvcc.current_revision.set(status.revision);
        mvcc.compact_revision.set(status.compact_revision);
        mvcc.db_total_bytes.set(to_i64(status.db_size));
        mvcc.db_in_use_bytes.set(to_i64(status.db_size_in_use));
        let rocksdb = self.backend().metrics();
        metrics.mvcc.open_views.set(to_i64(rocksdb.snapshots));
        metrics.rocksdb.set(&rocksdb);
        metrics.peers.set(self.identity().member_id, &self.peers().all_links());
        let counts = self.watch_hub().counts();
        let watch = &metrics.watch;
        watch.streams.set(to_i64(counts.streams as u64));
        watch.watchers.set(to_i64(counts.watchers as u64));
        watch.slow_watchers.set(to_i64(counts.slow_watchers as u64));
        watch.pending_events.set(to_i64(counts.pending_events as u64));
        // Two scrapes at once may both see the same growth; a counter that is ahead by it is corrected by the next.
        watch.events.inc_by(counts.events_total.saturating_sub(watch.events.get()));
    }
}
