//! Reading entries back, from any thread, while the writer goes on.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use quorate_core::log::{Entry, Index, Term};
use quorate_core::wal_format::{self as format, Fault, Location, LogIndex};

use super::Cut;
use super::segment::SegmentFile;

/// Bytes between two wanted entries that are read along rather than skipped: a group record is about a hundred.
const GAP_BYTES_MAX: u64 = 4096;

/// Why entries cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("entry {index} was cut from the log, which starts at {first}")]
    Compacted { index: Index, first: Index },
    #[error("entry {index} is not in the log, which ends at {last}")]
    Unavailable { index: Index, last: Index },
    #[error("WAL: reading {} failed: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("WAL: {} holds no valid record of entry {index} at offset {offset}: {fault}; rebuild this member", .path.display())]
    Corrupt { path: PathBuf, offset: u64, index: Index, fault: Fault },
}

/// What the writer and the readers share: written by the writer alone, and only after the bytes are durable.
pub(super) struct Shared(RwLock<Contents>);

pub(super) struct Contents {
    pub index: LogIndex,
    /// Oldest first; never empty once the log is open.
    pub segments: VecDeque<Arc<SegmentFile>>,
    /// Every segment numbered below this one holds only entries that a marker discarded.
    pub discarded_below: u64,
}

impl Shared {
    pub fn new(contents: Contents) -> Shared {
        Shared(RwLock::new(contents))
    }

    // The lock is held over in-memory changes that do not panic half-way; a poisoned one is as good as new.
    pub fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the oldest segments that a cut lets go; the one numbered `current`, of which `current_bytes` are written, stays.
    pub fn drop_segments(&self, cut: &Cut, current: u64, current_bytes: u64) -> Vec<Arc<SegmentFile>> {
        let mut contents = self.write();
        let older = contents.segments.iter().filter(|segment| segment.name.seq < current);
        let mut left = older.map(|segment| segment.bytes).sum::<u64>() + current_bytes;
        let mut dropped = Vec::new();
        while let (Some(oldest), Some(next)) = (contents.segments.front(), contents.segments.get(1)) {
            let base = next.name.base;
            left = left.saturating_sub(oldest.bytes);
            let discarded = oldest.name.seq < contents.discarded_below;
            if oldest.name.seq >= current || !(discarded || cut.lets_go(base, left)) {
                break;
            }
            dropped.extend(contents.segments.pop_front());
            if base <= contents.index.last() + 1 && base <= cut.below {
                contents.index.cut(base);
            }
        }
        dropped
    }
}

/// Reads entries of a log that another thread writes.
#[derive(Clone)]
pub struct WalReader {
    shared: Arc<Shared>,
}

/// Entries that stand close together in one segment.
struct Run {
    segment: Arc<SegmentFile>,
    first: Index,
    locations: Vec<Location>,
}

impl WalReader {
    pub(super) fn new(shared: Arc<Shared>) -> WalReader {
        WalReader { shared }
    }

    /// One above the last entry that was cut; `last_index() + 1` when the log is empty.
    pub fn first_index(&self) -> Index {
        self.shared.read().index.first()
    }

    /// The last durable entry; `first_index() - 1` when the log is empty.
    pub fn last_index(&self) -> Index {
        self.shared.read().index.last()
    }

    /// Term of an entry, also of the one before the first; `None` outside.
    pub fn term(&self, index: Index) -> Option<Term> {
        self.shared.read().index.term(index)
    }

    /// Bytes on disk of what comes behind an entry; of the whole log when the entry was cut.
    pub fn bytes_above(&self, index: Index) -> u64 {
        let contents = self.shared.read();
        let first = (index + 1).max(contents.index.first());
        let ends = contents.index.location(first).zip(contents.index.location(contents.index.last()));
        let Some((first, last)) = ends else { return 0 };
        let between = contents.segments.iter().filter(|segment| (first.seq..last.seq).contains(&segment.name.seq));
        between.map(|segment| segment.bytes).sum::<u64>() + last.offset + u64::from(last.bytes) - first.offset
    }

    /// The entries `low..high`, as many from the front as fit in `max_bytes` on disk, but one at least.
    ///
    /// # Errors
    /// Entries outside the log, or a disk that does not give back what was written.
    pub fn entries(&self, low: Index, high: Index, max_bytes: u64) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        for run in self.plan(low, high, max_bytes)? {
            run.read(&mut entries)?;
        }
        Ok(entries)
    }

    fn plan(&self, low: Index, high: Index, max_bytes: u64) -> Result<Vec<Run>, ReadError> {
        let contents = self.shared.read();
        let (first, last) = (contents.index.first(), contents.index.last());
        if low < first {
            return Err(ReadError::Compacted { index: low, first });
        }
        if high > last + 1 {
            return Err(ReadError::Unavailable { index: high - 1, last });
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut bytes = 0;
        for index in low..high {
            let location = contents.index.location(index).expect("it is between first and last");
            bytes += u64::from(location.bytes);
            if bytes > max_bytes && index > low {
                break;
            }
            match runs.last_mut() {
                Some(run) if run.continues_with(&location) => run.locations.push(location),
                _ => {
                    runs.push(Run { segment: contents.segment(location.seq), first: index, locations: vec![location] })
                }
            }
        }
        Ok(runs)
    }
}

impl Contents {
    fn segment(&self, seq: u64) -> Arc<SegmentFile> {
        let oldest = self.segments.front().expect("a log has a segment").name.seq;
        let position = usize::try_from(seq - oldest).expect("segments in memory are few");
        Arc::clone(self.segments.get(position).expect("segments are numbered without gaps"))
    }
}

impl Run {
    fn continues_with(&self, next: &Location) -> bool {
        let last = self.locations.last().expect("a run starts with an entry");
        let end = last.offset + u64::from(last.bytes);
        last.seq == next.seq && next.offset >= end && next.offset - end <= GAP_BYTES_MAX
    }

    /// Reads the run at once and appends its entries, whose data share the buffer.
    fn read(&self, entries: &mut Vec<Entry>) -> Result<(), ReadError> {
        let (first, last) = (self.locations.first(), self.locations.last());
        let (start, last) = first.map(|first| first.offset).zip(last).expect("a run starts with an entry");
        let length = usize::try_from(last.offset + u64::from(last.bytes) - start).expect("it fits into memory");
        let mut buffer = vec![0; length];
        let path = &self.segment.path;
        self.segment
            .file
            .read_exact_at(&mut buffer, start)
            .map_err(|source| ReadError::Io { path: path.clone(), source })?;
        let buffer = Bytes::from(buffer);
        for (index, location) in (self.first..).zip(&self.locations) {
            let corrupt = |fault| ReadError::Corrupt { path: path.clone(), offset: location.offset, index, fault };
            let at = usize::try_from(location.offset - start).expect("it lies in the buffer");
            let record = format::decode_entry(&buffer.slice(at..), self.segment.id).map_err(corrupt)?;
            if record.entry.index != index || record.entry.term != location.term {
                return Err(corrupt(Fault::Content));
            }
            entries.push(record.entry);
        }
        Ok(())
    }
}
