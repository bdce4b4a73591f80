//! The write-ahead log on disk: group commit into preallocated, recycled segments. Design: `store/README.md`, "WAL"; the bytes
//! are `quorate_core::wal_format`'s.
//!
//! One thread owns the `Wal`; any thread reads entries through a `WalReader`. Nothing here decides what is written or when.
//!
//! Invariant: a group is written only after the sync of the one before it returned; an error of either ends the log (`Failed`).

mod open;
mod reader;
mod segment;
mod spares;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::log::{HardState, Index, Term};
use quorate_core::wal_format::{
    self as format, Group, HINT_BYTES, Location, SEGMENT_START_BYTES, SegmentName, SegmentStart, Tail,
};

pub use open::Recovered;
pub use reader::{ReadError, WalReader};

use reader::Shared;
use segment::SegmentFile;
use spares::Spares;

/// Size of a segment, but for the first few of a log, which are smaller.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Segments preallocated at any time, so that a full disk is noticed while two segments can still be written.
const SPARES: usize = 2;

/// Writes end at a multiple of this: a page that is overwritten whole needs no read first.
const PAGE_BYTES: usize = 4096;

/// How the log is kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The disk id of the data directory; a log with another one is refused.
    pub identity: [u8; 16],
    pub segment_bytes: u64,
    /// So much of the log stays although the database holds it, for followers that were away. A lack of space ends that.
    pub keep_bytes: u64,
    /// And so much of what followers that answer still want.
    pub keep_wanted_bytes: u64,
    /// `false` only under `--unsafe-no-fsync`: a power cut then loses acknowledged writes.
    pub fsync: bool,
}

impl Options {
    pub fn new(identity: [u8; 16]) -> Options {
        Options { identity, segment_bytes: SEGMENT_BYTES, keep_bytes: 0, keep_wanted_bytes: 0, fsync: true }
    }
}

/// Of what a follower that answers still wants, this much stays on a large disk: a snapshot may take an hour to reach it, and without
/// the log that follows it the next snapshot would be due.
const KEEP_WANTED_BYTES: u64 = 4 << 30;
/// On a small disk it is this part.
const KEEP_PART: u64 = 16;

/// The default of `Options::keep_wanted_bytes` for a log in this directory, which need not exist yet.
pub fn keep_wanted_bytes(directory: &Path) -> u64 {
    let disk = directory.ancestors().find_map(|path| nix::sys::statvfs::statvfs(path).ok());
    disk.map_or(0, |disk| (disk.blocks() * disk.fragment_size() / KEEP_PART).min(KEEP_WANTED_BYTES))
}

/// What of the log may go: whole segments, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// The database holds everything below it, durably.
    below: Index,
    /// What followers may still ask for.
    wanted_from: Index,
    keep_bytes: u64,
    keep_wanted_bytes: u64,
}

impl Cut {
    /// Whether everything below `base` goes when `left` bytes stay.
    fn lets_go(&self, base: Index, left: u64) -> bool {
        let wanted = base > self.wanted_from && left < self.keep_wanted_bytes;
        base <= self.below && left >= self.keep_bytes && !wanted
    }
}

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Corruption, a later format, another directory's log: the message names the remedy. The member refuses to start.
    #[error(transparent)]
    Recovery(#[from] format::Error),
    /// Nothing was written; the same call may be repeated after space was made.
    #[error("no space for another WAL segment of {bytes} bytes in {}: {source}; free space or grow the volume", .path.display())]
    NoSpace { path: PathBuf, bytes: u64, source: io::Error },
    /// The process must end: what is on disk is not known any more.
    #[error("WAL: {operation} of {} failed: {source}; the member stops and recovers from what is on disk", .path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// As `Io`, and starting again is of no use before somebody saw to the disk.
    #[error("WAL: {operation} of {} failed: {source}; {}", .path.display(), crate::directory::MADE_READ_ONLY)]
    ReadOnly { operation: &'static str, path: PathBuf, source: io::Error },
    /// The log failed before, so.
    #[error("{0}")]
    Failed(Arc<str>),
}

impl Error {
    /// Whether the caller may go on and try again later.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }

    /// Whether opening failed for a full disk, at whatever write, and may be tried anew. Not for a log that is open: there `Io` is final.
    pub fn opening_lacks_space(&self) -> bool {
        self.is_no_space() || matches!(self, Error::Io { source, .. } if crate::directory::is_full(source))
    }

    /// Whether what the log holds is refused for good.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Recovery(_))
    }

    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly { operation, path, source },
                _ => Error::Io { operation, path, source },
            }
        }
    }
}

/// The log's writer; owned by one thread.
pub struct Wal {
    directory: PathBuf,
    directory_handle: File,
    options: Options,
    current: Arc<SegmentFile>,
    tail: Tail,
    hard_state: HardState,
    /// Persisted commit: the highest in any group.
    commit: Index,
    /// The highest commit hinted or persisted.
    hint: Index,
    shared: Arc<Shared>,
    spares: Spares,
    /// The first error that is not a lack of space, in words.
    failed: Option<Arc<str>>,
    buffer: Vec<u8>,
    locations: Vec<Location>,
}

/// What it took to make a group durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub bytes: u64,
    pub write: Duration,
    pub sync: Duration,
}

impl Wal {
    /// Opens the log in `directory`, creating it when there is none. `durable_applied` is the applied index that the database has
    /// on disk (0 = none): the log must reach it.
    ///
    /// # Errors
    /// A log that must not be used, a lack of space for the first segment, or a failing disk.
    pub fn open(directory: &Path, options: Options, durable_applied: Index) -> Result<(Wal, Recovered), Error> {
        open::open(directory, options, durable_applied)
    }

    /// Writes one group and syncs it: when this returns, all of it is durable.
    ///
    /// # Errors
    /// `NoSpace` before anything was written; every other error is final.
    ///
    /// # Panics
    /// When the group breaks raft's rules: its number, a term or commit that falls, an entry that replaces a committed one.
    pub fn append(&mut self, group: Group<'_>) -> Result<Appended, Error> {
        self.failure()?;
        self.check(&group);
        let result = self.write_group(&group);
        self.noted(result)
    }

    /// # Errors
    /// Why the log takes nothing more, if it failed before.
    pub fn failure(&self) -> Result<(), Error> {
        self.failed.as_ref().map_or(Ok(()), |first| Err(Error::Failed(Arc::clone(first))))
    }

    /// Remembers an error that ends the log.
    fn noted<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && !error.is_no_space()
        {
            self.failed.get_or_insert_with(|| error.to_string().into());
        }
        result
    }

    fn check(&self, group: &Group<'_>) {
        assert_eq!(group.number, self.tail.group + 1, "groups are numbered without gaps");
        assert!(group.commit >= self.commit, "commit falls from {} to {}", self.commit, group.commit);
        if let Some(hard_state) = group.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "the term falls");
        }
        let last = match group.marker {
            Some(marker) => marker.meta.index,
            None => self.shared.read().index.last(),
        };
        if let Some(first) = group.entries.first() {
            assert!(first.index <= last + 1, "entry {} does not follow {last}", first.index);
            assert!(first.index > self.commit, "entry {} replaces a committed one", first.index);
        }
        let last = group.entries.last().map_or(last, |entry| entry.index);
        assert!(group.commit <= last, "commit {} lies beyond the last entry {last}", group.commit);
    }

    fn write_group(&mut self, group: &Group<'_>) -> Result<Appended, Error> {
        let bytes = format::group_bytes(group) as u64;
        if self.tail.offset + bytes + HINT_BYTES as u64 > self.current.bytes {
            self.roll(bytes)?;
        }
        self.buffer.clear();
        self.locations.clear();
        let tail = format::encode_group(&self.tail, group, &mut self.buffer, &mut self.locations);
        pad_to_page(&mut self.buffer, self.tail.offset, self.current.bytes);
        fail::fail_point!("wal::before_write");
        let began = Instant::now();
        self.current.write(&self.buffer, self.tail.offset)?;
        let written = Instant::now();
        fail::fail_point!("wal::before_sync");
        if self.options.fsync {
            self.current.sync()?;
        }
        let appended = Appended { bytes: self.buffer.len() as u64, write: written - began, sync: written.elapsed() };
        fail::fail_point!("wal::after_sync");
        self.tail = tail;
        self.commit = group.commit;
        self.hint = self.hint.max(group.commit);
        self.hard_state = group.hard_state.unwrap_or(self.hard_state);
        self.publish(group);
        self.spares.top_up();
        Ok(appended)
    }

    /// Lets readers see the group that has become durable.
    fn publish(&mut self, group: &Group<'_>) {
        let mut shared = self.shared.write();
        if let Some(marker) = group.marker {
            shared.index.reset(marker.meta.index, marker.meta.term);
            shared.discarded_below = self.tail.seq;
        }
        let mut replaced = 0;
        for (entry, location) in group.entries.iter().zip(&self.locations) {
            let count = shared.index.put(entry.index, *location);
            replaced += count.expect("checked before writing: entries follow the log");
        }
        drop(shared);
        if let (Some(first), 1..) = (group.entries.first(), replaced) {
            tracing::info!(from = first.index, replaced, term = first.term, "replaced a suffix of the log");
        }
    }

    /// Notes that `commit` was reached, without a sync: a restarted process waits for it, a power cut may lose it. Does nothing
    /// when it is not above what is noted already.
    ///
    /// # Errors
    /// A failing disk; final.
    pub fn hint_commit(&mut self, commit: Index) -> Result<(), Error> {
        self.failure()?;
        if commit <= self.hint {
            return Ok(());
        }
        assert!(commit <= self.shared.read().index.last(), "only what is in the log can be committed");
        self.buffer.clear();
        format::encode_hint(&self.tail, commit, &mut self.buffer);
        if self.tail.offset.is_multiple_of(PAGE_BYTES as u64) {
            pad_to_page(&mut self.buffer, self.tail.offset, self.current.bytes);
        }
        let result = self.current.write(&self.buffer, self.tail.offset);
        self.hint = commit;
        self.noted(result)
    }

    /// Forgets entries below `below` as far as whole segments allow, recycling their files. The caller has them all in the
    /// database, durably. `Options::keep_bytes` of them stay, and more of what followers may ask for from `wanted_from` on; all of
    /// it goes when the disk lacks space. Afterwards the first index is at most `below`, or one above the newest marker's index.
    ///
    /// # Errors
    /// A failing disk; final.
    pub fn cut(&mut self, below: Index, wanted_from: Index) -> Result<(), Error> {
        self.failure()?;
        let Options { keep_bytes, keep_wanted_bytes, .. } = self.options;
        let cut = match self.spares.shortage() {
            Some(_) => Cut { below, wanted_from, keep_bytes: 0, keep_wanted_bytes: 0 },
            None => Cut { below, wanted_from, keep_bytes, keep_wanted_bytes },
        };
        let dropped = self.shared.drop_segments(&cut, self.tail.seq, self.tail.offset);
        if dropped.is_empty() {
            return Ok(());
        }
        fail::fail_point!("wal::before_cut");
        let result = self.discard(dropped);
        fail::fail_point!("wal::after_cut");
        self.noted(result)
    }

    fn discard(&mut self, dropped: Vec<Arc<SegmentFile>>) -> Result<(), Error> {
        for segment in dropped {
            let path = segment.path.clone();
            // A reader that still holds the file keeps it alive after the unlink; its bytes must not change under it.
            match Arc::try_unwrap(segment) {
                Ok(segment) if self.spares.wants(segment.bytes) => self.spares.recycle(segment)?,
                _ => std::fs::remove_file(&path).map_err(Error::io("removal", &path))?,
            }
        }
        // Before a recycled file is written again, its old name must be gone for good.
        self.sync_directory()
    }

    /// How much of what followers that answer still want is kept, in bytes.
    pub fn keep_wanted_bytes(&self) -> u64 {
        self.options.keep_wanted_bytes
    }

    /// Whether segments can still be preallocated; asks for them again after a lack of space. Call it each second while short.
    ///
    /// # Errors
    /// `NoSpace` while the next segments cannot be preallocated. Writes still succeed until the spares are used up.
    pub fn check_space(&mut self) -> Result<(), Error> {
        let checked = self.spares.check();
        self.noted(checked)
    }

    /// Why the next segments cannot be preallocated, if that is known; asks nothing.
    pub fn shortage(&self) -> Option<Error> {
        self.spares.shortage()
    }

    /// Begins the next segment, with room for a group of `bytes` at least.
    fn roll(&mut self, bytes: u64) -> Result<(), Error> {
        let needed = SEGMENT_START_BYTES as u64 + bytes + HINT_BYTES as u64;
        let spare = self.spares.take(needed)?;
        let (base, previous_term) = {
            let shared = self.shared.read();
            let last = shared.index.last();
            (last + 1, shared.index.term(last).unwrap_or(0))
        };
        let start = SegmentStart {
            name: SegmentName { seq: self.tail.seq + 1, base },
            id: segment::random_id(),
            identity: self.options.identity,
            previous_term,
            hard_state: self.hard_state,
            commit: self.commit,
            hint: self.hint,
        };
        fail::fail_point!("wal::before_segment");
        let (file, tail) = segment::begin(&self.directory, spare, &start, Some(&self.tail), &mut self.buffer)?;
        fail::fail_point!("wal::after_segment");
        self.sync_directory()?;
        self.current = Arc::new(file);
        self.tail = tail;
        self.shared.write().segments.push_back(Arc::clone(&self.current));
        tracing::debug!(segment = %start.name, "began a WAL segment");
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), Error> {
        self.directory_handle.sync_all().map_err(Error::io("sync", &self.directory))
    }

    /// A reader that follows this log; cheap to clone, usable from any thread.
    pub fn reader(&self) -> WalReader {
        WalReader::new(Arc::clone(&self.shared))
    }

    /// Number of the last group; the next one's is one more.
    pub fn last_group(&self) -> u64 {
        self.tail.group
    }

    /// Highest commit index that is durable.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The durable hard state.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Bytes of all segments that hold entries, what a catch-up budget is compared with.
    pub fn bytes(&self) -> u64 {
        self.shared.read().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Term of an entry, as `WalReader::term`.
    pub fn term(&self, index: Index) -> Option<Term> {
        self.shared.read().index.term(index)
    }
}

/// Extends a write at `offset` with zeros to the end of its last page, but not beyond the file.
fn pad_to_page(buffer: &mut Vec<u8>, offset: u64, file_bytes: u64) {
    let end = (offset + buffer.len() as u64).next_multiple_of(PAGE_BYTES as u64).min(file_bytes);
    let length = usize::try_from(end - offset).expect("it is about the size of a buffer in memory");
    buffer.resize(length, 0);
}
