//! RocksDB's own figures, set when somebody scrapes.

use prometheus::{IntGauge, Registry};

use super::gauge;
use crate::backend::Metrics;

type Read = fn(&Metrics) -> u64;

const FIGURES: [(&str, &str, Read); 15] = [
    ("live_file_bytes", "Bytes of files in use.", |m| m.live_file_bytes),
    ("total_file_bytes", "Bytes of all files, also those that only snapshots keep.", |m| m.total_file_bytes),
    ("memtable_bytes", "Bytes of memtables.", |m| m.memtable_bytes),
    ("block_cache_bytes", "Bytes in the block cache.", |m| m.block_cache_bytes),
    ("block_cache_pinned_bytes", "Bytes of the block cache that are pinned.", |m| m.block_cache_pinned_bytes),
    ("table_reader_bytes", "Bytes of indexes and filters outside the block cache.", |m| m.table_reader_bytes),
    ("pending_compaction_bytes", "Bytes that compactions still have to rewrite.", |m| m.pending_compaction_bytes),
    ("running_compactions", "Compactions that run.", |m| m.running_compactions),
    ("running_flushes", "Flushes that run.", |m| m.running_flushes),
    ("immutable_memtables", "Memtables that wait to be flushed.", |m| m.immutable_memtables),
    ("delayed_write_rate_bytes", "Bytes a second to which writers are slowed; 0 is not at all.", |m| {
        m.delayed_write_rate
    }),
    ("write_stopped", "1 while writers are stopped.", |m| m.write_stopped),
    ("background_errors", "Flushes and compactions that failed and were tried again.", |m| m.background_errors),
    ("snapshots", "Snapshots held by reads.", |m| m.snapshots),
    ("estimated_rows", "Estimated rows of all families.", |m| m.estimated_keys),
];

pub struct Rocksdb(Vec<(IntGauge, Read)>);

impl Rocksdb {
    pub(super) fn new(registry: &Registry) -> Rocksdb {
        let figure =
            |(name, help, read): (&str, &str, Read)| (gauge(registry, &format!("quorate_rocksdb_{name}"), help), read);
        Rocksdb(FIGURES.into_iter().map(figure).collect())
    }

    pub fn set(&self, reading: &Metrics) {
        for (gauge, read) in &self.0 {
            gauge.set(i64::try_from(read(reading)).unwrap_or(i64::MAX));
        }
    }
}
