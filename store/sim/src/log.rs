//! The write-ahead log on a simulated disk: the server's `wal` over `disk::File`, with the bytes of `core::wal_format`.
//!
//! A segment's creation can be torn: between its start, the sync of it, its name, and the sync of the directory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_core::log::{Entry, HardState, Index, Term};
use quorate_core::replica::{LogReadError, LogReader};
use quorate_core::wal_format::{
    self as format, Group, HINT_BYTES, Location, LogIndex, Recovery, SEGMENT_START_BYTES, Scan, SegmentName,
    SegmentStart, SnapshotMarker, Tail,
};

mod faults;
mod last_group;

pub use faults::Tear;
pub use last_group::LastGroup;

use crate::chance::Chance;
use crate::disk::File;

/// Small, so that segments roll and are recycled often.
const SEGMENT_BYTES: usize = 16 << 10;
const PAGE_BYTES: usize = 4096;
/// Recycled files that are kept with their stale content.
const SPARES_MAX: usize = 2;

struct Segment {
    name: SegmentName,
    id: u64,
    file: File,
    /// The directory was synced since the file got this name.
    named: bool,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    Group,
    /// The disk is full.
    Nothing,
    /// The process died while a segment was created.
    Died,
}

/// A group that is written and not adopted yet.
struct Written {
    tail: Tail,
    commit: Index,
    hard_state: Option<HardState>,
    marker: Option<SnapshotMarker>,
    entries: Vec<(Index, Location)>,
}

/// The log; its files survive a crash, everything else is read again by `open`.
pub struct Log {
    identity: [u8; 16],
    chance: Chance,
    segments: VecDeque<Segment>,
    spares: Vec<Vec<u8>>,
    tail: Tail,
    hard_state: HardState,
    commit: Index,
    hint: Index,
    index: LogIndex,
    discarded_below: u64,
    written: Option<Written>,
    /// Segment and offset at which the last durable group begins: what lies before it has proof of a later group.
    last_group: (u64, u64),
    tear: Option<Tear>,
    /// The disk is full, and so many segments may still begin.
    segments_left: Option<u8>,
    flips: Vec<faults::Flip>,
    /// The hints that were written at one end of the log, in the same place: segment, offset, bytes of each. A power cut leaves any.
    hinted: (u64, u64, Vec<Vec<u8>>),
    /// The planted bug: a damaged last group is dropped although a hint shows that it was synced.
    pub drop_synced: bool,
    /// The planted bug: what a killed process left in the page cache is taken for durable.
    pub trust_cache: bool,
}

/// What recovery says beside what the log itself answers.
pub struct Opened {
    /// What this member may have answered before.
    pub hinted_commit: Index,
    pub marker: Option<SnapshotMarker>,
    pub torn: bool,
}

impl Log {
    pub fn new(member: u64, seed: u64) -> Log {
        let mut identity = [7; 16];
        identity[..8].copy_from_slice(&member.to_le_bytes());
        Log {
            identity,
            chance: Chance::new(seed ^ member.rotate_left(17)),
            segments: VecDeque::new(),
            spares: Vec::new(),
            tail: Tail { segment: 0, seq: 0, offset: 0, group: 0, sequence: 0, crc: 0 },
            hard_state: HardState::default(),
            commit: 0,
            hint: 0,
            index: LogIndex::new(1, 0),
            discarded_below: 0,
            written: None,
            last_group: (0, 0),
            tear: None,
            segments_left: None,
            flips: Vec::new(),
            hinted: (0, 0, Vec::new()),
            drop_synced: false,
            trust_cache: false,
        }
    }

    /// Reads the log as the server's `wal::open` does.
    ///
    /// # Errors
    /// The recovery scan refuses it.
    pub fn open(&mut self, durable_applied: Index) -> Result<Opened, format::Error> {
        let mut scanned = self.scan(None, durable_applied);
        if let (true, Err(format::Error::Synced { offset, .. })) = (self.drop_synced, &scanned) {
            self.erase(*offset);
            scanned = self.scan(None, durable_applied);
        }
        let scanned = scanned?;
        self.discarded_below = 0;
        let Some(recovery) = scanned else {
            (self.hard_state, self.commit, self.hint) = (HardState::default(), 0, 0);
            self.index = LogIndex::new(1, 0);
            self.begin_segment(SEGMENT_BYTES, None, 1, 0);
            self.settle(0);
            return Ok(Opened { hinted_commit: 0, marker: None, torn: false });
        };
        let Recovery { hard_state, commit, hint, marker, torn, index, segments: _, tail, last_group } = recovery;
        if let Some(torn) = &torn {
            self.erase(torn.offset);
        }
        // What stands behind the tail is of no account, damaged or not.
        self.flips.retain(|flip| flip.is_before(&tail));
        (self.hard_state, self.commit, self.hint) = (hard_state, commit, commit);
        (self.index, self.tail, self.last_group) = (index, tail, (tail.seq, last_group));
        self.settle(last_group);
        Ok(Opened { hinted_commit: hint, marker, torn: torn.is_some() })
    }

    /// Reads all segments; `newest` stands in for the content of the last one.
    fn scan(&self, newest: Option<&[u8]>, durable_applied: Index) -> Result<Option<Recovery>, format::Error> {
        let mut scan = Scan::new(self.identity);
        for (position, segment) in self.segments.iter().enumerate() {
            let is_last = position + 1 == self.segments.len();
            let bytes = newest.filter(|_| is_last).unwrap_or(segment.file.bytes());
            scan.segment(segment.name, bytes, is_last)?;
        }
        scan.finish(durable_applied)
    }

    /// Writes zeros over the rest of the newest segment, and syncs them.
    fn erase(&mut self, from: u64) {
        let file = &mut self.segments.back_mut().expect("a recovery has read a segment").file;
        let start = from as usize;
        let zeros = vec![0; file.len() - start];
        file.write(start, &zeros);
        file.sync();
    }

    /// Makes what was found durable: a process that was killed, or whose sync failed, may have left it in the page cache alone.
    fn settle(&mut self, last_group: u64) {
        let end = self.tail.offset as usize;
        let newest = self.segments.back_mut().expect("an open log has a segment");
        if self.trust_cache {
            return;
        }
        let group = newest.file.bytes()[last_group as usize..end].to_vec();
        newest.file.write(last_group as usize, &group);
        newest.file.sync();
        newest.named = true;
    }

    /// False when the process died on the way.
    fn begin_segment(&mut self, bytes: usize, previous: Option<&Tail>, base: Index, previous_term: Term) -> bool {
        let seq = previous.map_or(0, |tail| tail.seq) + 1;
        let start = SegmentStart {
            name: SegmentName { seq, base },
            id: self.chance.next().max(1),
            identity: self.identity,
            previous_term,
            hard_state: self.hard_state,
            commit: self.commit,
            hint: self.hint,
        };
        let fits = self.spares.iter().position(|spare| spare.len() >= bytes);
        let mut content = fits.map_or_else(|| vec![0; bytes], |at| self.spares.swap_remove(at));
        let mut head = Vec::new();
        self.tail = format::encode_segment(&start, previous, &mut head);
        head.resize(head.len().next_multiple_of(PAGE_BYTES).min(content.len()), 0);
        let tear = if previous.is_some() { self.tear.take() } else { None };
        if tear == Some(Tear::BeforeName) {
            let written = self.chance.between(0, head.len() as u64 + 1) as usize;
            content[..written].copy_from_slice(&head[..written]);
            self.spares.push(content);
            return false;
        }
        content[..head.len()].copy_from_slice(&head);
        let named = tear.is_none();
        self.segments.push_back(Segment { name: start.name, id: start.id, file: File::new(content), named });
        named
    }

    /// Writes one group without syncing it; `adopt` follows. It may take a new segment first.
    pub fn write(
        &mut self,
        hard_state: Option<HardState>,
        entries: &[Entry],
        marker: Option<&SnapshotMarker>,
    ) -> Wrote {
        assert!(self.written.is_none(), "a group is written only after the one before it is durable");
        let commit = hard_state.map_or(0, |state| state.commit).max(self.commit);
        let group = Group { number: self.tail.group + 1, commit, hard_state, entries, marker };
        let bytes = format::group_bytes(&group);
        self.check(&group);
        let room = self.segments.back().map_or(0, |segment| segment.file.len());
        if self.tail.offset as usize + bytes + HINT_BYTES > room {
            let needed = SEGMENT_START_BYTES + bytes + HINT_BYTES;
            let (tail, last) = (self.tail, self.index.last());
            let term = self.index.term(last).unwrap_or(0);
            // A marker waits for room as well, but nobody but its own process waits for it.
            if marker.is_none() {
                match &mut self.segments_left {
                    Some(0) => return Wrote::Nothing,
                    Some(left) => *left -= 1,
                    None => {}
                }
            }
            if !self.begin_segment(SEGMENT_BYTES.max(needed), Some(&tail), last + 1, term) {
                return Wrote::Died;
            }
        }
        let (mut buffer, mut locations) = (Vec::new(), Vec::new());
        let tail = format::encode_group(&self.tail, &group, &mut buffer, &mut locations);
        self.put(&mut buffer, true);
        let entries = entries.iter().map(|entry| entry.index).zip(locations).collect();
        self.written = Some(Written { tail, commit, hard_state, marker: marker.cloned(), entries });
        Wrote::Group
    }

    fn check(&self, group: &Group<'_>) {
        if let Some(hard_state) = group.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "the term falls");
        }
        let last = group.marker.map_or(self.index.last(), |marker| marker.meta.index);
        if let Some(first) = group.entries.first() {
            assert!(first.index <= last + 1, "entry {} does not follow {last}", first.index);
            assert!(first.index > self.commit, "entry {} replaces a committed one", first.index);
        }
        let last = group.entries.last().map_or(last, |entry| entry.index);
        assert!(group.commit <= last, "commit {} lies beyond the last entry {last}", group.commit);
    }

    fn put(&mut self, buffer: &mut Vec<u8>, pad: bool) {
        let start = self.tail.offset as usize;
        let file = &mut self.segments.back_mut().expect("an open log has a segment").file;
        if pad {
            let end = (start + buffer.len()).next_multiple_of(PAGE_BYTES).min(file.len());
            buffer.resize(end - start, 0);
        }
        file.write(start, buffer);
    }

    /// Syncs, unless told to pretend, and lets the group that was written count.
    pub fn adopt(&mut self, sync: bool) {
        let Some(Written { tail, commit, hard_state, marker, entries }) = self.written.take() else { return };
        self.last_group = (tail.seq, self.tail.offset);
        if sync {
            self.segments.back_mut().expect("an open log has a segment").file.sync();
        }
        self.tail = tail;
        self.commit = commit;
        self.hint = self.hint.max(commit);
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some(marker) = marker {
            self.index.reset(marker.meta.index, marker.meta.term);
            self.discarded_below = tail.seq;
        }
        for (index, location) in entries {
            self.index.put(index, location).expect("checked before writing: entries follow the log");
        }
    }

    /// Notes the commit index behind the log, unsynced.
    pub fn hint(&mut self, commit: Index) {
        if commit <= self.hint || self.written.is_some() {
            return;
        }
        assert!(commit <= self.index.last(), "only what is in the log can be committed");
        let mut buffer = Vec::new();
        format::encode_hint(&self.tail, commit, &mut buffer);
        let (seq, offset) = (self.tail.seq, self.tail.offset);
        if (self.hinted.0, self.hinted.1) != (seq, offset) {
            self.hinted = (seq, offset, Vec::new());
        }
        self.hinted.2.push(buffer.clone());
        let pad = self.tail.offset.is_multiple_of(PAGE_BYTES as u64);
        self.put(&mut buffer, pad);
        self.hint = commit;
    }

    /// Drops whole segments below `below`; returns the first entry left.
    pub fn cut(&mut self, below: Index) -> Index {
        while let (Some(oldest), Some(next)) = (self.segments.front(), self.segments.get(1)) {
            let base = next.name.base;
            let useless = base <= below || oldest.name.seq < self.discarded_below;
            if !useless || oldest.name.seq >= self.tail.seq {
                break;
            }
            let gone = self.segments.pop_front().expect("it has a front");
            if self.spares.len() < SPARES_MAX {
                self.spares.push(gone.file.bytes().to_vec());
            }
            if base <= self.index.last() + 1 && base <= below {
                self.index.cut(base);
            }
        }
        self.index.first()
    }

    pub fn last_group(&self) -> u64 {
        self.tail.group
    }

    pub fn commit(&self) -> Index {
        self.commit
    }

    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub fn index(&self) -> &LogIndex {
        &self.index
    }

    fn entry(&self, index: Index) -> Option<Entry> {
        let Location { seq, offset, bytes, term } = self.index.location(index)?;
        let segment = self.segments.iter().find(|segment| segment.name.seq == seq)?;
        let start = offset as usize;
        let data = Bytes::copy_from_slice(&segment.file.bytes()[start..start + bytes as usize]);
        let entry = format::decode_entry(&data, segment.id).ok()?.entry;
        (entry.index == index && entry.term == term).then_some(entry)
    }
}

/// The log as raft and the host share it.
#[derive(Clone)]
pub struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    pub fn new(log: Log) -> SharedLog {
        SharedLog(Arc::new(Mutex::new(log)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogReader for SharedLog {
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, LogReadError> {
        let log = self.lock();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for index in low..high {
            let missing = || LogReadError { low, high, reason: format!("entry {index} cannot be read") };
            bytes += log.index.location(index).map_or(0, |location| u64::from(location.bytes));
            if bytes > bytes_max && index > low {
                break;
            }
            entries.push(log.entry(index).ok_or_else(missing)?);
        }
        Ok(entries)
    }

    fn term(&self, index: Index) -> Result<Term, LogReadError> {
        let missing = || LogReadError { low: index, high: index + 1, reason: "not in the log".to_owned() };
        self.lock().index.term(index).ok_or_else(missing)
    }
}
