//! RocksDB's own figures, summed over the families.

use quorate_core::backend::Family;
use rocksdb::properties::{self, PropName};

use super::Database;

/// One reading. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    pub live_file_bytes: u64,
    /// All files that still exist, also those that only snapshots or cursors keep.
    pub total_file_bytes: u64,
    pub memtable_bytes: u64,
    pub block_cache_bytes: u64,
    pub block_cache_pinned_bytes: u64,
    pub table_reader_bytes: u64,
    /// What compactions still have to rewrite; RocksDB slows writers down when it grows too large.
    pub pending_compaction_bytes: u64,
    pub running_compactions: u64,
    pub running_flushes: u64,
    pub immutable_memtables: u64,
    /// Bytes per second to which RocksDB slows writers down; 0 = it does not.
    pub delayed_write_rate: u64,
    /// 1 while RocksDB stops writers.
    pub write_stopped: u64,
    /// Failed flushes and compactions since the start; each is tried again.
    pub background_errors: u64,
    pub snapshots: u64,
    pub estimated_keys: u64,
}

impl Metrics {
    pub(super) fn read(database: &Database) -> Metrics {
        // A property that RocksDB does not know reads as 0.
        let whole = |name: &PropName| database.rocks.property_int_value(name).ok().flatten().unwrap_or(0);
        let of = |family, name: &PropName| {
            database.rocks.property_int_value_cf(database.family(family), name).ok().flatten().unwrap_or(0)
        };
        let sum = |name: &PropName| Family::ALL.iter().map(|family| of(*family, name)).sum::<u64>();
        Metrics {
            live_file_bytes: sum(properties::LIVE_SST_FILES_SIZE),
            total_file_bytes: sum(properties::TOTAL_SST_FILES_SIZE),
            memtable_bytes: sum(properties::CUR_SIZE_ALL_MEM_TABLES),
            block_cache_bytes: database.tuning.cache().get_usage() as u64,
            block_cache_pinned_bytes: database.tuning.cache().get_pinned_usage() as u64,
            table_reader_bytes: sum(properties::ESTIMATE_TABLE_READERS_MEM),
            pending_compaction_bytes: sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            running_compactions: whole(properties::NUM_RUNNING_COMPACTIONS),
            running_flushes: whole(properties::NUM_RUNNING_FLUSHES),
            immutable_memtables: sum(properties::NUM_IMMUTABLE_MEM_TABLE),
            delayed_write_rate: whole(properties::ACTUAL_DELAYED_WRITE_RATE),
            write_stopped: whole(properties::IS_WRITE_STOPPED),
            background_errors: whole(properties::BACKGROUND_ERRORS),
            snapshots: whole(properties::NUM_SNAPSHOTS),
            estimated_keys: sum(properties::ESTIMATE_NUM_KEYS),
        }
    }
}
