//! How RocksDB is set up: one memory budget, atomic flushes, few and quiet background threads.

use quorate_core::backend::Family;
use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, Env, WriteBufferManager};

use super::trouble::Reports;

/// What the machine gives the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Block cache, filters, indexes and memtables together. Default: 256 MiB. Minimum: 16 MiB.
    pub memory_bytes: usize,
    /// Threads for compactions. Default: one on machines of up to four cores, else a quarter of the cores.
    pub compaction_threads: usize,
    /// Upper bound of what flushes and compactions write, bytes per second; RocksDB tunes itself below it. Default: 200 MiB.
    pub write_bytes_per_second: u64,
}

const MEMORY_BYTES_MIN: usize = 16 << 20;

impl Default for Options {
    fn default() -> Options {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Options { memory_bytes: 256 << 20, compaction_threads: (cores / 4).max(1), write_bytes_per_second: 200 << 20 }
    }
}

/// The shared parts from which the options of the database and its families are made.
pub(super) struct Tuning {
    options: Options,
    cache: Cache,
    memtables: WriteBufferManager,
    environment: Env,
    reports: Reports,
}

impl Tuning {
    pub fn new(options: Options) -> Tuning {
        assert!(options.memory_bytes >= MEMORY_BYTES_MIN, "the configuration checks the memory budget");
        let cache = Cache::new_lru_cache(options.memory_bytes);
        // Memtables are charged to the cache. They may take half of it before RocksDB flushes by itself; writers never stall on
        // it, because the server slows proposals down first.
        let memtables =
            WriteBufferManager::new_write_buffer_manager_with_cache(options.memory_bytes / 2, false, cache.clone());
        let environment = Env::new().expect("the default environment is a static of RocksDB");
        Tuning { options, cache, memtables, environment, reports: Reports::default() }
    }

    /// Sizes the threads for flushes and compactions. They belong to the process, so only the database in use may do it.
    pub fn claim_threads(&mut self) {
        self.environment.set_low_priority_background_threads(c_int(self.options.compaction_threads));
        self.environment.set_high_priority_background_threads(1);
        self.environment.lower_thread_pool_cpu_priority();
        self.environment.lower_thread_pool_io_priority();
    }

    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Options of the database as a whole.
    pub fn database(&self) -> rocksdb::Options {
        // Closing flushes nothing, as that would wait for room on a full disk; who wants a flush asks for it.
        let text = rocksdb::Options::default().get_options_from_string("avoid_flush_during_shutdown=true");
        let mut options = text.expect("an option of this version of RocksDB");
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_env(&self.environment);
        options.set_atomic_flush(true);
        options.set_write_buffer_manager(&self.memtables);
        options.set_max_background_jobs(c_int(self.options.compaction_threads + 1));
        options.set_max_subcompactions(1);
        let rate = i64::try_from(self.options.write_bytes_per_second).unwrap_or(i64::MAX);
        const REFILL_MICROSECONDS: i64 = 100_000;
        const FAIRNESS: i32 = 10;
        options.set_auto_tuned_ratelimiter(rate, REFILL_MICROSECONDS, FAIRNESS);
        // Dirty pages are written out as they come, so that the sync at a file's end is short and does not stall the raft log's.
        options.set_bytes_per_sync(1 << 20);
        options.set_max_open_files(4096);
        options.set_skip_stats_update_on_db_open(true);
        options.set_stats_dump_period_sec(0);
        options.set_info_logger(self.reports.logger());
        // See `trouble`: a full disk must not close the database.
        options.set_paranoid_checks(false);
        options
    }

    /// Options of one family.
    pub fn family(&self, family: Family) -> rocksdb::Options {
        let mut options = rocksdb::Options::default();
        options.set_write_buffer_size(self.write_buffer_bytes(family));
        options.set_max_write_buffer_number(4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        // A hot key is overwritten in place: a cursor that meets its old versions in a memtable seeks past them early.
        options.set_max_sequential_skip_in_iterations(4);
        // Files full of deletions, as a sweep leaves them, are compacted before they slow cursors down.
        options.add_compact_on_deletion_collector_factory(16 << 10, 4 << 10, 0.5);
        options.set_memtable_whole_key_filtering(family == Family::Keys);
        if family == Family::Keys {
            options.set_memtable_prefix_bloom_ratio(0.02);
        }
        options.set_block_based_table_factory(&self.table(family));
        options
    }

    fn write_buffer_bytes(&self, family: Family) -> usize {
        let most = match family {
            Family::Values => 64 << 20,
            // Some have few rows, but those are written anew with every batch, and a memtable keeps each version: with 4 MiB one was full,
            // and everything flushed, after 12 000 batches.
            _ => 32 << 20,
        };
        most.min(self.options.memory_bytes / 4)
    }

    fn table(&self, family: Family) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        // Partitioned, so that the index of a large file need not be in memory as a whole.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_pin_top_level_index_and_filter(true);
        table.set_block_size(match family {
            Family::Values | Family::Log => 16 << 10,
            _ => 8 << 10,
        });
        // Only `keys` is asked for exact keys that may not exist; the others are reached by seeks, which filters do not help.
        if family == Family::Keys {
            const BITS_PER_KEY: f64 = 10.0;
            table.set_bloom_filter(BITS_PER_KEY, false);
            table.set_whole_key_filtering(true);
            table.set_partition_filters(true);
            table.set_optimize_filters_for_memory(true);
        }
        table
    }
}

fn c_int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
