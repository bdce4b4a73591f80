//! The log as raft reads it: recent entries in memory, older ones through a reader over the WAL (never a second copy of the log).
//! What raft wants for a follower is not read here, but asked for (`fetch`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};

use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::convert;
use super::fetch::Fetches;
use crate::log::{ConfState, Entry, EntryKind, HardState, Index, SnapshotMeta, Term};

/// About so much of the log's end is sent to a follower without being asked for, in one step of the leader, in which clients wait: 8 MiB
/// of small entries held up every put for 40 ms (`store/README.md`).
const AT_ONCE_BYTES_MAX: u64 = 512 << 10;
/// At start the log's uncommitted tail is read in pieces of this size.
const TAIL_BYTES: u64 = 16 << 20;

/// The log could not be read. The member stops: raft cannot go on without its log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("log entries {low}..{high}: {reason}")]
pub struct LogReadError {
    pub low: Index,
    pub high: Index,
    pub reason: String,
}

/// Reads entries that were persisted. Implemented by the WAL's reader and by the simulator's disk.
pub trait LogReader: Send {
    /// Entries `low..high`, cut after `bytes_max` but never empty.
    ///
    /// # Errors
    /// The log does not hold them, or cannot be read.
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, LogReadError>;

    /// # Errors
    /// The log does not hold the entry, or cannot be read.
    fn term(&self, index: Index) -> Result<Term, LogReadError>;
}

/// Invariant: `memory` is contiguous and ends at `last_index`.
pub(super) struct LogStore {
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term of the entry before the first readable one.
    truncated: (Index, Term),
    last_index: Index,
    memory: VecDeque<eraftpb::Entry>,
    memory_bytes: usize,
    memory_bytes_max: usize,
    /// Everything up to here is in the log for good, so that it can be read.
    applied: Index,
    reader: Box<dyn LogReader>,
    /// Raft asks through a shared reference; one thread owns it all.
    fetches: RefCell<Fetches>,
    snapshot: Option<SnapshotMeta>,
    snapshot_wanted: Cell<bool>,
    /// Membership changes in the log above what is applied; at start above what is committed.
    changes: BTreeSet<Index>,
}

impl LogStore {
    /// # Panics
    /// When the uncommitted tail of the log cannot be read; raft could not go on either.
    pub fn new(
        hard_state: HardState,
        conf_state: ConfState,
        truncated: (Index, Term),
        last_index: Index,
        memory_bytes_max: usize,
        applied: Index,
        reader: Box<dyn LogReader>,
    ) -> LogStore {
        let changes = changes_in(&*reader, hard_state.commit + 1, last_index + 1);
        LogStore {
            changes: changes.unwrap_or_else(|error| panic!("the log was read when it was opened: {error}")),
            hard_state,
            conf_state,
            truncated,
            last_index,
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_bytes_max,
            applied,
            reader,
            fetches: RefCell::default(),
            snapshot: None,
            snapshot_wanted: Cell::new(false),
        }
    }

    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub fn set_hard_state(&mut self, hard_state: HardState) {
        assert!(hard_state.term >= self.hard_state.term, "the term never falls");
        self.hard_state = hard_state;
    }

    /// The first membership change above `index` that is not applied.
    pub fn first_change_above(&self, index: Index) -> Option<Index> {
        self.changes.range(index + 1..).next().copied()
    }

    /// Whether a membership change lies above `low`, up to `high`.
    pub fn has_change_in(&self, low: Index, high: Index) -> bool {
        self.first_change_above(low).is_some_and(|index| index <= high)
    }

    /// The entry of a change that is not applied; `None` when the log cannot be read, which raft finds out itself.
    pub fn change_at(&self, index: Index) -> Option<Entry> {
        match self.memory_at(index) {
            Some(entry) => Some(convert::entry(entry.clone())),
            None => self.reader.entries(index, index + 1, u64::MAX).ok()?.pop(),
        }
    }

    pub fn snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.get()
    }

    pub fn set_snapshot(&mut self, meta: SnapshotMeta) {
        self.snapshot_wanted.set(false);
        self.snapshot = Some(meta);
    }

    /// Appends entries; a lower index overwrites the suffix from there (a new leader's log wins).
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index <= self.last_index + 1, "entry {} leaves a gap after {}", first.index, self.last_index);
        assert!(first.index > self.truncated.0, "entry {} is below the cut {}", first.index, self.truncated.0);
        self.changes.split_off(&first.index);
        while self.memory.back().is_some_and(|entry| entry.index >= first.index) {
            let dropped = self.memory.pop_back().expect("it has a back");
            self.memory_bytes -= dropped.data.len();
        }
        for entry in entries {
            self.memory_bytes += entry.data.len();
            self.memory.push_back(convert::raft_entry(entry));
            if entry.kind == EntryKind::Membership {
                self.changes.insert(entry.index);
            }
        }
        self.last_index = entries.last().expect("it has a first").index;
    }

    /// Lets go of entries up to `applied` while memory is over its bound.
    pub fn release(&mut self, applied: Index) {
        self.applied = applied;
        while self.changes.first().is_some_and(|index| *index <= applied) {
            self.changes.pop_first();
        }
        while self.memory_bytes > self.memory_bytes_max
            && self.memory.front().is_some_and(|entry| entry.index <= applied)
        {
            let dropped = self.memory.pop_front().expect("it has a front");
            self.memory_bytes -= dropped.data.len();
        }
    }

    /// Forgets entries below `first`.
    pub fn cut(&mut self, first: Index) {
        if first <= self.truncated.0 + 1 {
            return;
        }
        assert!(first <= self.last_index + 1, "cut {first} is beyond the log's end {}", self.last_index);
        let before = first - 1;
        let term = self.term_of(before).expect("the entry before the cut is still readable");
        self.truncated = (before, term);
        while self.memory.front().is_some_and(|entry| entry.index < first) {
            let dropped = self.memory.pop_front().expect("it has a front");
            self.memory_bytes -= dropped.data.len();
        }
    }

    /// Starts the log anew after a snapshot.
    pub fn install(&mut self, meta: SnapshotMeta) {
        self.changes.clear();
        self.memory.clear();
        self.memory_bytes = 0;
        self.truncated = (meta.index, meta.term);
        self.last_index = meta.index;
        self.applied = meta.index;
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.conf_state = meta.conf_state;
    }

    pub fn fetches_mut(&mut self) -> &mut Fetches {
        self.fetches.get_mut()
    }

    /// The first entry that a follower is sent as soon as it wants it; it may be one above the last. What is older is read for it, from
    /// the log even if memory holds it: however it is sent, a follower has work to do for each entry, and those that are far behind
    /// are not to have the machine to themselves.
    pub fn sent_at_once_from(&self) -> Index {
        let (entries, bytes) = (self.memory.len() as u64, self.memory_bytes as u64);
        let recent = if bytes > AT_ONCE_BYTES_MAX { entries * AT_ONCE_BYTES_MAX / bytes } else { entries };
        let first = self.last_index + 1 - recent;
        first.min(self.applied + 1).max(self.memory_first())
    }

    fn memory_first(&self) -> Index {
        self.memory.front().map_or(self.last_index + 1, |entry| entry.index)
    }

    fn memory_at(&self, index: Index) -> Option<&eraftpb::Entry> {
        let offset = index.checked_sub(self.memory_first())?;
        self.memory.get(usize::try_from(offset).ok()?)
    }

    fn term_of(&self, index: Index) -> Result<Term, StorageError> {
        if index == self.truncated.0 {
            return Ok(self.truncated.1);
        }
        if index < self.truncated.0 {
            return Err(StorageError::Compacted);
        }
        if index > self.last_index {
            return Err(StorageError::Unavailable);
        }
        match self.memory_at(index) {
            Some(entry) => Ok(entry.term),
            None => self.reader.term(index).map_err(other),
        }
    }
}

/// The membership changes among entries `low..high`.
fn changes_in(reader: &dyn LogReader, low: Index, high: Index) -> Result<BTreeSet<Index>, LogReadError> {
    let mut found = BTreeSet::new();
    let mut next = low;
    while next < high {
        let entries = reader.entries(next, high, TAIL_BYTES)?;
        let Some(last) = entries.last() else {
            return Err(LogReadError { low: next, high, reason: "nothing was read".to_owned() });
        };
        next = last.index + 1;
        found.extend(entries.iter().filter(|entry| entry.kind == EntryKind::Membership).map(|entry| entry.index));
    }
    Ok(found)
}

fn other(error: LogReadError) -> StorageError {
    StorageError::Other(Box::new(std::io::Error::other(error.to_string())))
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(convert::raft_hard_state(self.hard_state), convert::raft_conf_state(&self.conf_state)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low <= self.truncated.0 {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last_index + 1, "raft reads to {high}, the log ends at {}", self.last_index);
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next = low;
        let read_to = if context.can_async() { self.sent_at_once_from() } else { self.memory_first() };
        if next < read_to {
            let until = high.min(read_to);
            let old = match context.can_async() {
                true => self.fetches.borrow_mut().get(next, until, bytes_max)?,
                false => self.reader.entries(next, until, bytes_max).map_err(other)?,
            };
            for entry in &old {
                bytes += entry.data.len() as u64;
                entries.push(convert::raft_entry(entry));
            }
            next += old.len() as u64;
            if next < read_to {
                return Ok(entries);
            }
        }
        while next < high {
            let entry = self.memory_at(next).expect("memory is contiguous up to the log's end");
            bytes += entry.data.len() as u64;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
            next += 1;
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        Ok(self.term_of(index)?)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last_index)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        match &self.snapshot {
            // A snapshot below the cut would leave the follower where it was; and who joined after it was taken ignores it, as raft
            // does with one that does not name the member itself, and would be sent it again for ever.
            Some(meta) if meta.index >= request_index.max(self.truncated.0) && meta.conf_state.names(to) => {
                Ok(convert::raft_snapshot(meta))
            }
            _ => {
                self.snapshot_wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}
