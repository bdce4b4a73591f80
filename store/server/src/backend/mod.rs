//! The ordered store on RocksDB. Its own log is off: the raft log is the write-ahead log, and all families are flushed atomically, so
//! that after a crash they stand at one point of it. Design: `store/README.md`, "MVCC on RocksDB".
//!
//! Invariant: every family holds the same applied row (`APPLIED_KEY`), in memory and on disk; opening asserts it.

mod metrics;
mod options;
#[cfg(test)]
mod tests;
mod trouble;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_core::apply::AppliedIndex;
use quorate_core::backend::{Error, Family, Write, WriteBatch};
use quorate_core::log::{Index, Term};
use quorate_core::mvcc::APPLIED_KEY;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, FlushOptions, ReadOptions, ReadTier, WriteOptions,
};

pub use metrics::Metrics;
pub use options::Options;
pub use trouble::{Trouble, is_corruption, remedy};
pub use view::{Live, Snapshot};

use options::Tuning;

/// Between two tries of a flush that failed.
const FLUSH_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks whether a flush is done; a flush writes for longer than that.
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("database {}: {reason}; if the disk is sound, rebuild this member from the others", .path.display())]
    RocksDb { path: PathBuf, reason: String },
    #[error("database {} is damaged: {reason}; rebuild this member from the others", .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("database {}: {reason}; free space or grow the volume", .path.display())]
    NoSpace { path: PathBuf, reason: String },
    #[error("database {}: {reason}; {}", .path.display(), remedy(reason))]
    Disk { path: PathBuf, reason: String },
    #[error("database {} holds family {family:?}, which this version does not know: start the version that wrote it", .path.display())]
    UnknownFamily { path: PathBuf, family: String },
    #[error(
        "database {}: the families stand at different points of the log ({points}); rebuild this member from the others",
        .path.display()
    )]
    FamiliesDiffer { path: PathBuf, points: String },
    #[error(transparent)]
    Read(#[from] Error),
}

impl OpenError {
    fn of(path: &Path, reason: String) -> OpenError {
        let path = path.to_owned();
        if trouble::is_no_space(&reason) {
            OpenError::NoSpace { path, reason }
        } else if trouble::is_failing_disk(&reason) {
            OpenError::Disk { path, reason }
        } else if is_corruption(&reason) || trouble::is_missing(&reason) {
            OpenError::Damaged { path, reason }
        } else {
            OpenError::RocksDb { path, reason }
        }
    }

    /// Whether what the database holds is refused for good.
    pub fn is_refusal(&self) -> bool {
        match self {
            OpenError::Damaged { .. } | OpenError::UnknownFamily { .. } | OpenError::FamiliesDiffer { .. } => true,
            OpenError::RocksDb { .. } | OpenError::NoSpace { .. } | OpenError::Disk { .. } => false,
            OpenError::Read(error) => is_corruption(&error.reason),
        }
    }

    /// Whether the same call may be repeated after space was made.
    pub fn is_no_space(&self) -> bool {
        matches!(self, OpenError::NoSpace { .. })
    }
}

/// A database; clones share it. It closes when the last clone, view and snapshot is gone.
#[derive(Clone)]
pub struct Backend {
    database: Arc<Database>,
}

pub(crate) struct Database {
    rocks: DB,
    path: PathBuf,
    /// Invariant: declared after `rocks`, so that the files go when the database is closed and not before.
    removal: Removal,
    write_options: WriteOptions,
    /// Owns the block cache and memtable budget that the database was opened with.
    tuning: Tuning,
    /// The database is closing: nobody waits for room any more.
    abandoned: AtomicBool,
    /// Bytes of the batches written since the last flush that this type asked for.
    unflushed: AtomicU64,
}

/// Removes the files of a database that was replaced, once nobody uses it any more.
struct Removal {
    path: PathBuf,
    wanted: AtomicBool,
}

impl Drop for Removal {
    fn drop(&mut self) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            // The next start removes what the pointer does not name.
            tracing::warn!(path = %self.path.display(), %error, "the replaced database was not removed");
        }
    }
}

impl Database {
    /// Opens with the options of `Tuning`; `read_only` neither creates nor changes a file.
    fn open(directory: &Path, options: Options, read_only: bool) -> Result<Database, OpenError> {
        let failed = |error: rocksdb::Error| OpenError::of(directory, error.to_string());
        let mut tuning = Tuning::new(options);
        if !read_only {
            tuning.claim_threads();
        }
        let descriptors = Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), tuning.family(family)));
        if directory.join("CURRENT").exists() {
            refuse_unknown_families(directory, &DB::list_cf(&tuning.database(), directory).map_err(failed)?)?;
        }
        let opened = if read_only {
            DB::open_cf_descriptors_read_only(&tuning.database(), directory, descriptors, false)
        } else {
            DB::open_cf_descriptors(&tuning.database(), directory, descriptors)
        };
        let rocks = opened.map_err(failed)?;
        if let Some(reason) = trouble::missing_file(&rocks, directory).map_err(failed)? {
            return Err(OpenError::Damaged { path: directory.to_owned(), reason });
        }
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);
        let path = directory.to_owned();
        let removal = Removal { path: path.clone(), wanted: AtomicBool::new(false) };
        Ok(Database {
            rocks,
            path,
            removal,
            write_options,
            tuning,
            abandoned: AtomicBool::new(false),
            unflushed: AtomicU64::new(0),
        })
    }

    pub(crate) fn family(&self, family: Family) -> &ColumnFamily {
        self.rocks.cf_handle(family.name()).expect("opening created every family")
    }
}

impl Backend {
    /// Opens the database in `directory`, creating it when there is none (its parent must exist).
    ///
    /// # Errors
    /// A database that is corrupt, locked, of a later version, or whose families do not stand at one point of the log.
    pub fn open(directory: &Path, options: Options) -> Result<Backend, OpenError> {
        let backend = Backend { database: Arc::new(Database::open(directory, options, false)?) };
        backend.assert_one_point()?;
        Ok(backend)
    }

    /// Opens a database for reading alone: nothing in its directory changes.
    ///
    /// # Errors
    /// As `open`, and where there is no database.
    pub fn inspect(directory: &Path, options: Options) -> Result<Live, OpenError> {
        let backend = Backend { database: Arc::new(Database::open(directory, options, true)?) };
        backend.assert_one_point()?;
        Ok(backend.live())
    }

    /// Removes the files as soon as the last clone, view and snapshot is gone: another database has taken this one's place.
    pub fn remove_when_closed(&self) {
        self.database.removal.wanted.store(true, Ordering::Relaxed);
    }

    fn assert_one_point(&self) -> Result<(), OpenError> {
        let mut points = Vec::new();
        for family in Family::ALL {
            points.push((family.name(), self.read_applied(family)?));
        }
        if points.iter().all(|(_, point)| *point == points[0].1) {
            return Ok(());
        }
        let points = points.iter().map(|(name, point)| match point {
            Some((index, term)) => format!("{name} at {index} of term {term}"),
            None => format!("{name} empty"),
        });
        let points = points.collect::<Vec<_>>().join(", ");
        Err(OpenError::FamiliesDiffer { path: self.database.path.clone(), points })
    }

    /// The applied row of a family as it is on disk, memory ignored.
    fn read_applied(&self, family: Family) -> Result<Option<(Index, Term)>, Error> {
        let failed = |reason: String| Error { operation: "read of the applied row", family: family.name(), reason };
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let handle = self.database.family(family);
        let row = self.database.rocks.get_pinned_cf_opt(handle, APPLIED_KEY, &options);
        let Some(row) = row.map_err(|error| failed(error.to_string()))? else { return Ok(None) };
        let applied = AppliedIndex::decode(family, &row).map_err(|error| failed(error.to_string()))?;
        Ok(Some((applied.index, applied.term)))
    }

    /// Index and term up to which the log is in the database *on disk*; (0, 0) in a new one. The log may be cut below it.
    pub fn durable_applied(&self) -> Result<(Index, Term), Error> {
        Ok(self.read_applied(Family::Meta)?.unwrap_or((0, 0)))
    }

    /// Applies the batch at once. Visible on return; durable after the next flush, or from the raft log.
    pub fn write(&self, batch: &WriteBatch) -> Result<(), Error> {
        let mut rocks = rocksdb::WriteBatch::default();
        for write in batch.writes() {
            match write {
                Write::Put { family, key, value } => rocks.put_cf(self.database.family(*family), key, value),
                Write::Delete { family, key } => rocks.delete_cf(self.database.family(*family), key),
            }
        }
        self.database.rocks.write_opt(rocks, &self.database.write_options).map_err(|error| Error {
            operation: "write",
            family: "all",
            reason: error.to_string(),
        })?;
        self.database.unflushed.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// A view that sees each write as soon as it returned; for the role that writes.
    pub fn live(&self) -> Live {
        Live::new(Arc::clone(&self.database))
    }

    /// The rows as they are now, for any thread and any time; old rows stay on disk while it lives.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Arc::clone(&self.database))
    }

    /// Why jobs in the background fail now, if they do.
    pub fn trouble(&self) -> Option<Trouble> {
        self.database.tuning.reports().current()
    }

    /// Ends jobs in the background, those that wait for room too, so that the database can close. What they had to do is left to
    /// the raft log.
    pub fn abandon(&self) {
        self.database.abandoned.store(true, Ordering::Relaxed);
        self.database.rocks.cancel_all_background_work(false);
    }

    /// Makes everything written before the call durable, all families at one point of the log. On a full disk it waits for room,
    /// trying again each second: RocksDB itself forgets a flush that failed.
    pub fn flush(&self) -> Result<(), Error> {
        let before = self.database.unflushed.load(Ordering::Relaxed);
        fail::fail_point!("backend::before_flush");
        self.begin_flush()?;
        let mut began = Instant::now();
        // Bounded by `abandon`, and by the driver, which ends the process over a trouble that is not lack of space.
        while self.immutable_memtables() > 0 {
            if self.database.abandoned.load(Ordering::Relaxed) {
                return Err(Error { operation: "flush", family: "all", reason: "the database is closing".to_owned() });
            }
            if began.elapsed() >= FLUSH_AGAIN && self.trouble().is_some() {
                self.begin_flush()?;
                began = Instant::now();
            }
            std::thread::sleep(FLUSH_LOOK);
        }
        fail::fail_point!("backend::after_flush");
        self.database.unflushed.fetch_sub(before, Ordering::Relaxed);
        self.database.tuning.reports().flushed();
        Ok(())
    }

    fn begin_flush(&self) -> Result<(), Error> {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        let families = Family::ALL.map(|family| self.database.family(family));
        let families: Vec<_> = families.iter().collect();
        let begun = self.database.rocks.flush_cfs_opt(&families, &options);
        begun.map_err(|error| Error { operation: "flush", family: "all", reason: error.to_string() })
    }

    /// What is written and sealed, but not yet on disk.
    fn immutable_memtables(&self) -> u64 {
        let of = |family: Family| {
            let handle = self.database.family(family);
            self.database.rocks.property_int_value_cf(handle, properties::NUM_IMMUTABLE_MEM_TABLE).ok().flatten()
        };
        Family::ALL.into_iter().filter_map(of).sum()
    }

    /// Bytes of batches that a crash now would have to replay from the raft log, at most: RocksDB also flushes by itself when its
    /// memory budget is used up, which this does not see.
    pub fn unflushed_bytes(&self) -> u64 {
        self.database.unflushed.load(Ordering::Relaxed)
    }

    /// Flushes and writes a copy of the database, by hard links, to `directory`, which must not exist and lie on the same file
    /// system. What it stands for must be read out of the copy: the database goes on meanwhile.
    pub fn checkpoint(&self, directory: &Path) -> Result<(), Error> {
        self.flush()?;
        fail::fail_point!("backend::before_checkpoint");
        Checkpoint::new(&self.database.rocks)
            .and_then(|checkpoint| checkpoint.create_checkpoint(directory))
            .map_err(|error| Error { operation: "checkpoint", family: "all", reason: error.to_string() })
    }

    /// Rewrites one family so that deleted rows give their space back. Blocks its caller, not readers or writers; its pace is
    /// the rate limiter's.
    pub fn compact(&self, family: Family) -> Result<(), Error> {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::ForceOptimized);
        let handle = self.database.family(family);
        self.database.rocks.compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &options);
        match self.trouble() {
            None => Ok(()),
            Some(Trouble::Full(reason) | Trouble::Corrupt(reason) | Trouble::Failed(reason)) => {
                Err(Error { operation: "compaction", family: family.name(), reason })
            }
        }
    }

    /// Bytes of the live files and of what is in memory.
    pub fn approximate_size(&self) -> u64 {
        let Metrics { live_file_bytes, memtable_bytes, .. } = self.metrics();
        live_file_bytes + memtable_bytes
    }

    /// What RocksDB says about itself.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.database)
    }

    /// Where the database lies.
    pub fn path(&self) -> &Path {
        &self.database.path
    }
}

fn refuse_unknown_families(path: &Path, found: &[String]) -> Result<(), OpenError> {
    let known =
        |name: &String| name == rocksdb::DEFAULT_COLUMN_FAMILY_NAME || Family::ALL.iter().any(|f| f.name() == name);
    match found.iter().find(|name| !known(name)) {
        Some(family) => Err(OpenError::UnknownFamily { path: path.to_owned(), family: family.clone() }),
        None => Ok(()),
    }
}
