//! The metrics of each part, named and bucketed as etcd's.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use quorate_api::etcdserverpb::{self as pb, response_op::Response};
use quorate_core::apply::{Outcome, Response as Applied};

use super::{counter, counters, float_gauge, gauge, histogram, histograms, labelled_one, register};
use crate::version;

/// From a millisecond to eight seconds, as etcd's disk histograms.
const DISK: (f64, f64, usize) = (0.001, 2.0, 14);
/// From a tenth of a millisecond to 52 s, as etcd's apply histograms.
const APPLY: (f64, f64, usize) = (0.0001, 2.0, 20);

/// Versions of clients that are told apart: far more than a cluster sees, and no client can fill the memory.
const CLIENT_VERSIONS_MAX: usize = 64;
const CLIENT_VERSION_BYTES_MAX: usize = 32;

/// Raft, leadership and limits. Gauges are set when somebody scrapes, counters are fed by whom they concern.
pub struct Server {
    registry: Registry,
    pub has_leader: IntGauge,
    pub is_leader: IntGauge,
    pub is_learner: IntGauge,
    /// Fed by the driver when it sees another leader.
    pub leader_changes: IntCounter,
    pub proposals_committed: IntGauge,
    pub proposals_applied: IntGauge,
    /// Waiting proposals; fed by propose.
    pub proposals_pending: IntGauge,
    /// Failed or timed out; fed by propose.
    pub proposals_failed: IntCounter,
    pub quota_bytes: Gauge,
    /// Seconds to apply a command; fed by apply.
    pub apply_seconds: Histogram,
    /// Applies above the warning limit; fed by apply.
    pub slow_apply: IntCounter,
    /// Rounds of ReadIndex that failed or timed out; fed by the reads.
    pub read_indexes_failed: IntCounter,
    /// Heartbeats that a leader sent later than it should; fed by the driver.
    pub heartbeats_late: IntCounter,
    /// Fed by who asks for a promotion, on the leader.
    pub promotions: IntCounter,
    promotions_failed: IntCounterVec,
    /// 1 while a snapshot replaces the state; fed by the driver.
    pub snapshot_applying: IntGauge,
    /// By stream or unary, and the version that the client says it has.
    clients: IntCounterVec,
    client_versions: Mutex<BTreeSet<String>>,
    requests: HistogramVec,
    ranges: HistogramVec,
}

impl Server {
    pub(super) fn new(registry: &Registry) -> Server {
        let r = registry;
        let one = |name, help, label, value| labelled_one(r, name, help, label, value);
        one(
            "etcd_server_version",
            "1 under the version of etcd whose behaviour this server has.",
            "server_version",
            version::ETCD,
        );
        one("quorate_server_version", "1 under this server's own version.", "server_version", version::QUORATE);
        one(
            "etcd_cluster_version",
            "1 under the cluster version.",
            "cluster_version",
            version::ETCD_CLUSTER.rsplit_once('.').map_or(version::ETCD_CLUSTER, |(minor, _)| minor),
        );
        Server {
            registry: registry.clone(),
            has_leader: gauge(r, "etcd_server_has_leader", "1 when a leader is known."),
            is_leader: gauge(r, "etcd_server_is_leader", "1 when this member leads."),
            is_learner: gauge(r, "etcd_server_is_learner", "1 when this member is a learner."),
            leader_changes: counter(r, "etcd_server_leader_changes_seen_total", "Changes of the leader seen."),
            proposals_committed: gauge(r, "etcd_server_proposals_committed_total", "The committed index."),
            proposals_applied: gauge(r, "etcd_server_proposals_applied_total", "The applied index."),
            proposals_pending: gauge(r, "etcd_server_proposals_pending", "Proposals that wait for their outcome."),
            proposals_failed: counter(r, "etcd_server_proposals_failed_total", "Proposals that failed or timed out."),
            quota_bytes: float_gauge(r, "etcd_server_quota_backend_bytes", "The quota in bytes; 0 is none."),
            apply_seconds: histogram(r, "etcd_server_apply_duration_seconds", "Seconds to apply a batch.", APPLY),
            slow_apply: counter(r, "etcd_server_slow_apply_total", "Applies slower than the warning limit."),
            read_indexes_failed: counter(r, "etcd_server_read_indexes_failed_total", "Failed rounds of ReadIndex."),
            heartbeats_late: counter(
                r,
                "etcd_server_heartbeat_send_failures_total",
                "Heartbeats that this leader sent more than an interval too late.",
            ),
            promotions: counter(
                r,
                "etcd_server_learner_promote_successes",
                "Learners promoted while this member was leader.",
            ),
            promotions_failed: counters(
                r,
                "etcd_server_learner_promote_failures",
                "Learners not promoted while this member was leader.",
                &["Reason"],
            ),
            snapshot_applying: gauge(
                r,
                "etcd_server_snapshot_apply_in_progress_total",
                "1 while a snapshot replaces this member's state.",
            ),
            clients: counters(
                r,
                "etcd_server_client_requests_total",
                "Requests by the version of the client.",
                &["type", "client_api_version"],
            ),
            client_versions: Mutex::default(),
            requests: histograms(
                r,
                "etcd_server_request_duration_seconds",
                "Seconds from a request's arrival to its answer.",
                DISK,
                &["type", "success"],
            ),
            ranges: histograms(r, "etcd_server_range_duration_seconds", "Seconds of a range.", APPLY, &["success"]),
        }
    }

    /// Counts a request of a client that says it has this version, if it says so. Clients may say anything, so only the first few
    /// versions are told apart.
    pub fn asked(&self, is_stream: bool, version: Option<&str>) {
        let mut known = self.client_versions.lock().unwrap_or_else(PoisonError::into_inner);
        let version = version.filter(|version| {
            known.contains(*version)
                || (known.len() < CLIENT_VERSIONS_MAX
                    && version.len() <= CLIENT_VERSION_BYTES_MAX
                    && known.insert((*version).to_owned()))
        });
        drop(known);
        let kind = if is_stream { "stream" } else { "unary" };
        self.clients.with_label_values(&[kind, version.unwrap_or("unknown")]).inc();
    }

    /// Records a request of etcd's type (`Put`, `Range`, …).
    pub fn requested(&self, kind: &str, began: Instant, succeeded: bool) {
        self.requests.with_label_values(&[kind, truth(succeeded)]).observe(began.elapsed().as_secs_f64());
    }

    /// Records the execution of a range.
    pub fn ranged(&self, began: Instant, succeeded: bool) {
        self.ranges.with_label_values(&[truth(succeeded)]).observe(began.elapsed().as_secs_f64());
    }

    /// Records a promotion that was refused or failed.
    pub fn promotion_failed(&self, reason: &str) {
        self.promotions_failed.with_label_values(&[reason]).inc();
    }

    /// Shows this member's id, once it is known.
    pub fn identify(&self, member_id: u64) {
        labelled_one(
            &self.registry,
            "etcd_server_id",
            "1 under this member's id in hexadecimal.",
            "server_id",
            &format!("{member_id:x}"),
        );
    }
}

/// A label's value, as Go writes it.
fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Log and backend; fed by the WAL and the backend.
pub struct Disk {
    pub wal_write: Histogram,
    pub wal_written_bytes: IntGauge,
    pub wal_fsync: Histogram,
    pub backend_commit: Histogram,
    pub defrag: Histogram,
    pub defrag_inflight: IntGauge,
    /// Fed by the driver.
    pub full: IntGauge,
    /// What the scrub reread, and how often it came to the end.
    pub scrubbed_versions: IntCounter,
    pub scrubbed_bytes: IntCounter,
    pub scrub_passes: IntCounter,
}

impl Disk {
    pub(super) fn new(r: &Registry) -> Disk {
        Disk {
            wal_write: histogram(r, "etcd_disk_wal_write_duration_seconds", "Seconds of writing to the log.", DISK),
            wal_written_bytes: gauge(r, "etcd_disk_wal_write_bytes_total", "Bytes written to the log."),
            wal_fsync: histogram(r, "etcd_disk_wal_fsync_duration_seconds", "Seconds of syncing the log.", DISK),
            backend_commit: histogram(
                r,
                "etcd_disk_backend_commit_duration_seconds",
                "Seconds of writing a batch.",
                DISK,
            ),
            defrag: histogram(
                r,
                "etcd_disk_backend_defrag_duration_seconds",
                "Seconds of a defragmentation.",
                (0.1, 2.0, 13),
            ),
            full: gauge(r, "quorate_disk_full", "1 while this member cannot store more."),
            scrubbed_versions: counter(r, "quorate_scrub_versions_total", "Versions of keys that the scrub reread."),
            scrubbed_bytes: counter(r, "quorate_scrub_bytes_total", "Bytes of them."),
            scrub_passes: counter(r, "quorate_scrub_passes_total", "Times that the scrub came to the end."),
            defrag_inflight: gauge(r, "etcd_disk_defrag_inflight", "1 while defragmenting; reads and writes go on."),
        }
    }
}

/// The key space. Totals are fed by what executes the operations, gauges when somebody scrapes.
pub struct Mvcc {
    pub puts: IntCounter,
    pub deletes: IntCounter,
    pub ranges: IntCounter,
    pub txns: IntCounter,
    pub db_total_bytes: IntGauge,
    pub db_in_use_bytes: IntGauge,
    pub current_revision: IntGauge,
    pub compact_revision: IntGauge,
    /// Fed by the driver's sweep.
    pub swept_revision: IntGauge,
    pub hash_rev: Histogram,
    /// Keys and values that were put; fed by apply.
    pub put_bytes: IntGauge,
    pub open_views: IntGauge,
    pub compaction: Compaction,
}

/// Compactions and the sweep behind them; fed by the driver.
pub struct Compaction {
    pub deleted_versions: IntCounter,
    /// Seconds since 1970; 0 after a start.
    pub last: IntGauge,
    /// How long each step of the sweep holds up the driver.
    pause: Histogram,
    /// From a compaction to the end of the sweep behind it.
    total: Histogram,
}

impl Compaction {
    fn new(r: &Registry) -> Compaction {
        Compaction {
            deleted_versions: counter(
                r,
                "etcd_debugging_mvcc_db_compaction_keys_total",
                "Versions of keys that sweeps deleted.",
            ),
            last: gauge(r, "etcd_debugging_mvcc_db_compaction_last", "Unix time of the last compaction."),
            pause: histogram(
                r,
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "Milliseconds for which a step of the sweep holds up everything else.",
                (1.0, 2.0, 13),
            ),
            total: histogram(
                r,
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "Milliseconds from a compaction to the end of the sweep behind it.",
                (100.0, 2.0, 14),
            ),
        }
    }

    pub fn paused(&self, began: Instant) {
        self.pause.observe(began.elapsed().as_secs_f64() * 1000.0);
    }

    pub fn done(&self, began: Instant) {
        self.total.observe(began.elapsed().as_secs_f64() * 1000.0);
    }
}

impl Mvcc {
    pub(super) fn new(r: &Registry) -> Mvcc {
        Mvcc {
            puts: counter(r, "etcd_mvcc_put_total", "Puts seen by this member."),
            deletes: counter(r, "etcd_mvcc_delete_total", "Deletes seen by this member."),
            ranges: counter(r, "etcd_mvcc_range_total", "Ranges seen by this member."),
            txns: counter(r, "etcd_mvcc_txn_total", "Transactions seen by this member."),
            db_total_bytes: gauge(r, "etcd_mvcc_db_total_size_in_bytes", "Size of the database in bytes."),
            db_in_use_bytes: gauge(r, "etcd_mvcc_db_total_size_in_use_in_bytes", "Size in use in bytes."),
            current_revision: gauge(r, "etcd_debugging_mvcc_current_revision", "The store's revision."),
            compact_revision: gauge(r, "etcd_debugging_mvcc_compact_revision", "The revision of the last compaction."),
            swept_revision: gauge(
                r,
                "quorate_mvcc_swept_revision",
                "The compaction whose rows are gone from this member's database; -1 for none since the start.",
            ),
            hash_rev: histogram(r, "etcd_mvcc_hash_rev_duration_seconds", "Seconds of HashKV.", (0.01, 2.0, 15)),
            put_bytes: gauge(r, "etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of keys and values put."),
            open_views: gauge(r, "etcd_mvcc_db_open_read_transactions", "Snapshots of the database that are read."),
            compaction: Compaction::new(r),
        }
    }
}

impl Mvcc {
    /// Counts what applied commands did, on whichever member they were proposed.
    pub fn applied(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match &outcome.result {
                Ok(Applied::Put(_)) => self.puts.inc(),
                Ok(Applied::DeleteRange(_)) => self.deletes.inc(),
                Ok(Applied::Txn(response)) => self.txn(response),
                _ => {}
            }
        }
    }

    /// Counts a transaction by its operations; one with a single operation is not one, as in etcd.
    pub fn txn(&self, response: &pb::TxnResponse) {
        if self.operations(response) > 1 {
            self.txns.inc();
        }
    }

    fn operations(&self, response: &pb::TxnResponse) -> u64 {
        let mut operations = 0;
        for response in response.responses.iter().filter_map(|op| op.response.as_ref()) {
            match response {
                Response::ResponsePut(_) => self.puts.inc(),
                Response::ResponseDeleteRange(_) => self.deletes.inc(),
                Response::ResponseRange(_) => self.ranges.inc(),
                Response::ResponseTxn(nested) => {
                    operations += self.operations(nested);
                    continue;
                }
            }
            operations += 1;
        }
        operations
    }
}

/// Watches; set when somebody scrapes.
pub struct Watch {
    pub streams: IntGauge,
    pub watchers: IntGauge,
    pub slow_watchers: IntGauge,
    pub pending_events: IntGauge,
    pub events: IntCounter,
}

impl Watch {
    pub(super) fn new(r: &Registry) -> Watch {
        Watch {
            streams: gauge(r, "etcd_debugging_mvcc_watch_stream_total", "Open watch streams."),
            watchers: gauge(r, "etcd_debugging_mvcc_watcher_total", "Watchers."),
            slow_watchers: gauge(r, "etcd_debugging_mvcc_slow_watcher_total", "Watchers that are catching up."),
            pending_events: gauge(r, "etcd_debugging_mvcc_pending_events_total", "Events queued for clients."),
            events: counter(r, "etcd_debugging_mvcc_events_total", "Events sent by this member."),
        }
    }
}

/// Traffic with clients; fed by the listeners. Peers bring their own.
pub struct Network {
    pub client_received_bytes: IntCounter,
    pub client_sent_bytes: IntCounter,
    pub client_connections: IntGauge,
}

impl Network {
    pub(super) fn new(r: &Registry) -> Network {
        Network {
            client_received_bytes: counter(
                r,
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes received from gRPC clients.",
            ),
            client_sent_bytes: counter(r, "etcd_network_client_grpc_sent_bytes_total", "Bytes sent to gRPC clients."),
            client_connections: gauge(r, "quorate_network_client_connections", "Open connections of clients."),
        }
    }
}

/// Answers of `/health`, `/livez` and `/readyz`.
pub struct Health {
    pub success: IntCounter,
    pub failures: IntCounter,
    /// By kind of endpoint and check.
    result: IntGaugeVec,
    /// By kind of endpoint, check and status.
    total: IntCounterVec,
}

impl Health {
    pub(super) fn new(r: &Registry) -> Health {
        const WELL_FORMED: &str = "the names are well-formed";
        let result = Opts::new("etcd_server_healthcheck", "The last result of each check; 1 is success.");
        let result = IntGaugeVec::new(result, &["type", "name"]).expect(WELL_FORMED);
        let total = Opts::new("etcd_server_healthchecks_total", "Runs of each check.");
        let total = IntCounterVec::new(total, &["type", "name", "status"]).expect(WELL_FORMED);
        register(r, result.clone());
        register(r, total.clone());
        Health {
            success: counter(r, "etcd_server_health_success", "Successful answers of /health."),
            failures: counter(r, "etcd_server_health_failures", "Failed answers of /health."),
            result,
            total,
        }
    }

    /// Records a run of a check of `livez` or `readyz`.
    pub fn checked(&self, endpoint: &str, check: &str, succeeded: bool) {
        self.result.with_label_values(&[endpoint, check]).set(i64::from(succeeded));
        let status = if succeeded { "success" } else { "error" };
        self.total.with_label_values(&[endpoint, check, status]).inc();
    }
}
