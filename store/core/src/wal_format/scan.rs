//! The recovery scan: reads the segments of a log in order and says what the log holds, where it ends, and whether its end is
//! clean, torn (a group that was never acknowledged: dropped whole) or corrupt (refused).

use super::group::{GroupHead, decode_entry_head, decode_group, decode_hint};
use super::record::{self, ALIGNMENT, Fault, Kind, Record, claimed_kind};
use super::segment::{DecodedStart, StartFault, decode_segment};
use super::{FORMAT, Gap, Location, LogIndex, REBUILD, SEGMENT_START_BYTES, SegmentName, SnapshotMarker, Tail};
use crate::log::{HardState, Index};

/// Why a log cannot be opened. All but `Format` and `Foreign` are corruption.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("WAL segment {file} has format {found}, this version reads up to {FORMAT}: start a version that knows it")]
    Format { file: SegmentName, found: u32 },
    #[error("WAL segment {file} belongs to another data directory (disk id {found}, not {expected}): check --wal-dir")]
    Foreign { file: SegmentName, expected: String, found: String },
    #[error("WAL segment {file} does not start as one: {fault}; {REBUILD}")]
    Start { file: SegmentName, fault: Fault },
    #[error("WAL segment {file} is named as another one, its content says {found}; {REBUILD}")]
    Name { file: SegmentName, found: SegmentName },
    #[error("WAL segment number {expected} is missing before {file}; {REBUILD}")]
    Missing { file: SegmentName, expected: u64 },
    #[error(
        "WAL segment {file} is corrupt at offset {offset}: {fault}, but group {later} was written after it; {REBUILD}"
    )]
    Corrupt { file: SegmentName, offset: u64, fault: Fault, later: u64 },
    #[error(
        "WAL segment {file} is corrupt at offset {offset}: {fault}, but group {group} was synced, as the commit hint behind it \
         shows; {REBUILD}"
    )]
    Synced { file: SegmentName, offset: u64, fault: Fault, group: u64 },
    #[error("WAL segment {file} is corrupt at offset {offset}: {gap}; {REBUILD}")]
    Gap { file: SegmentName, offset: u64, gap: Gap },
    #[error("WAL ends at entry {last} in {file} at offset {offset}, but entry {needed} was {why}; {REBUILD}")]
    Short { file: SegmentName, offset: u64, last: Index, needed: Index, why: &'static str },
    #[error("WAL starts at entry {first}, but the database holds entries only up to {applied}; {REBUILD}")]
    Late { first: Index, applied: Index },
    #[error("WAL has no segment, but the database holds entries up to {applied}: check --wal-dir, or {REBUILD}")]
    Empty { applied: Index },
}

/// A group that was never acknowledged, dropped whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub file: SegmentName,
    /// Where the group began; the log ends here.
    pub offset: u64,
    /// Where its first bad record stands, and what is wrong with it.
    pub bad_offset: u64,
    pub fault: Fault,
    /// The number the group had.
    pub group: u64,
}

/// A segment of the log, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScannedSegment {
    pub name: SegmentName,
    pub id: u64,
}

/// What the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub hard_state: HardState,
    /// Highest commit index in the groups that remain.
    pub commit: Index,
    /// Highest commit index hinted; at least `commit`, at most the last index.
    pub hint: Index,
    /// The newest snapshot marker in the segments that remain.
    pub marker: Option<SnapshotMarker>,
    pub torn: Option<TornTail>,
    pub index: LogIndex,
    pub segments: Vec<ScannedSegment>,
    pub tail: Tail,
    /// Where the last group begins in the newest segment; the tail's offset when that segment has none.
    pub last_group: u64,
}

/// Reads segment after segment; see `Scan::segment` and `Scan::finish`.
pub struct Scan {
    identity: [u8; 16],
    state: Option<State>,
}

struct State {
    recovery: Recovery,
    /// The log is wanted from here; entries below were cut.
    first: Index,
    /// What stands behind the last good group of the newest segment; corruption if another segment follows.
    end: (u64, Fault),
}

impl Scan {
    /// A scan of the log with this identity (the disk id of its data directory).
    pub fn new(identity: [u8; 16]) -> Scan {
        Scan { identity, state: None }
    }

    /// Reads the next segment, oldest first; `bytes` is the whole file and `is_last` says that no newer one exists.
    ///
    /// # Errors
    /// Corruption, a format from the future, or the log of another directory.
    pub fn segment(&mut self, file: SegmentName, bytes: &[u8], is_last: bool) -> Result<(), Error> {
        let decoded = decode_segment(bytes).map_err(|fault| match fault {
            StartFault::Format { found } => Error::Format { file, found },
            StartFault::Bad(fault) => Error::Start { file, fault },
        })?;
        self.check_start(file, &decoded)?;
        let state = self.enter(decoded);
        loop {
            let tail = state.recovery.tail;
            match read_group(&bytes[usize_of(tail.offset)..], &tail) {
                Ok(group) => state.adopt(file, group)?,
                Err(end) => {
                    state.end = end;
                    break;
                }
            }
        }
        if is_last { state.inspect_end(file, bytes) } else { Ok(()) }
    }

    fn check_start(&self, file: SegmentName, decoded: &DecodedStart) -> Result<(), Error> {
        let DecodedStart { start, previous, .. } = decoded;
        if start.identity != self.identity {
            return Err(Error::Foreign { file, expected: hex(&self.identity), found: hex(&start.identity) });
        }
        if start.name != file {
            return Err(Error::Name { file, found: start.name });
        }
        let Some(state) = &self.state else { return Ok(()) };
        let tail = &state.recovery.tail;
        if start.name.seq != tail.seq + 1 {
            return Err(Error::Missing { file, expected: tail.seq + 1 });
        }
        let continues = previous.offset == tail.offset
            && previous.group == tail.group
            && previous.sequence == tail.sequence
            && previous.crc == tail.crc
            && start.name.base == state.recovery.index.last() + 1;
        if !continues {
            let (offset, fault) = state.end;
            let before = state.recovery.segments.last().map_or(file, |segment| segment.name);
            return Err(Error::Corrupt { file: before, offset, fault, later: previous.group });
        }
        Ok(())
    }

    /// Takes over the state at the start of a segment.
    fn enter(&mut self, decoded: DecodedStart) -> &mut State {
        let DecodedStart { start, tail, previous: _ } = decoded;
        let end = (tail.offset, Fault::Short);
        let state = self.state.get_or_insert_with(|| State {
            recovery: Recovery {
                hard_state: start.hard_state,
                commit: start.commit,
                hint: start.hint,
                marker: None,
                torn: None,
                index: LogIndex::new(start.name.base, start.previous_term),
                segments: Vec::new(),
                tail,
                last_group: tail.offset,
            },
            first: start.name.base,
            end,
        });
        (state.recovery.tail, state.recovery.last_group) = (tail, tail.offset);
        state.recovery.hint = state.recovery.hint.max(start.hint);
        state.recovery.segments.push(ScannedSegment { name: start.name, id: start.id });
        state
    }

    /// What the log holds; `None` when it has no segment. `durable_applied` is the applied index that the database has on disk.
    ///
    /// # Errors
    /// When the log lacks entries that were committed or that the database lacks.
    pub fn finish(self, durable_applied: Index) -> Result<Option<Recovery>, Error> {
        let Some(State { mut recovery, first, .. }) = self.state else {
            return if durable_applied == 0 { Ok(None) } else { Err(Error::Empty { applied: durable_applied }) };
        };
        let last = recovery.index.last();
        for (needed, why) in [
            (recovery.commit, "recorded as committed"),
            (durable_applied, "applied to the database"),
            (first - 1, "cut from the log after it was applied"),
        ] {
            if last < needed {
                let (file, offset) = (recovery.file(), recovery.tail.offset);
                return Err(Error::Short { file, offset, last, needed, why });
            }
        }
        recovery.index.cut(first);
        let snapshot = recovery.marker.as_ref().map_or(0, |marker| marker.meta.index);
        if recovery.index.first() > durable_applied.max(snapshot) + 1 {
            return Err(Error::Late { first: recovery.index.first(), applied: durable_applied });
        }
        recovery.hint = if recovery.hint <= last { recovery.hint.max(recovery.commit) } else { recovery.commit };
        Ok(Some(recovery))
    }
}

impl Recovery {
    fn file(&self) -> SegmentName {
        self.segments.last().expect("a recovery has read at least one segment").name
    }
}

impl State {
    fn adopt(&mut self, file: SegmentName, group: ReadGroup) -> Result<(), Error> {
        let recovery = &mut self.recovery;
        let GroupHead { commit, bytes: _, entries: _, hard_state, marker } = group.head;
        recovery.commit = recovery.commit.max(commit);
        recovery.hint = recovery.hint.max(commit);
        if let Some(hard_state) = hard_state {
            recovery.hard_state = hard_state;
        }
        if let Some(marker) = marker {
            recovery.index.reset(marker.meta.index, marker.meta.term);
            self.first = marker.meta.index + 1;
            recovery.marker = Some(marker);
        }
        for (index, location) in group.entries {
            let offset = location.offset;
            recovery.index.put(index, location).map_err(|gap| Error::Gap { file, offset, gap })?;
        }
        recovery.last_group = recovery.tail.offset;
        recovery.tail = group.tail;
        Ok(())
    }

    /// Decides what stands behind the last good group of the newest segment.
    fn inspect_end(&mut self, file: SegmentName, bytes: &[u8]) -> Result<(), Error> {
        let tail = self.recovery.tail;
        let start = usize_of(tail.offset);
        if let Some(commit) =
            record::decode(&bytes[start..], tail.segment).ok().and_then(|record| decode_hint(&record, &tail))
        {
            self.recovery.hint = self.recovery.hint.max(commit);
        }
        let (bad_offset, fault) = self.end;
        let mut torn = false;
        for offset in candidates(bytes, start, tail.segment) {
            if offset == start && claimed_kind(&bytes[offset..]) == Some(Kind::Hint) {
                continue;
            }
            torn = true;
            match proof_of_sync(&bytes[offset..], &tail) {
                Some(Proof::Later(later)) => return Err(Error::Corrupt { file, offset: bad_offset, fault, later }),
                Some(Proof::Hint(group)) => return Err(Error::Synced { file, offset: bad_offset, fault, group }),
                None => {}
            }
        }
        if torn {
            self.recovery.torn = Some(TornTail { file, offset: tail.offset, bad_offset, fault, group: tail.group + 1 });
        }
        Ok(())
    }
}

/// Offsets at which a record of this segment may stand.
fn candidates(bytes: &[u8], start: usize, segment: u64) -> impl Iterator<Item = usize> {
    let needle = segment.to_le_bytes();
    let words = bytes[start..].chunks_exact(ALIGNMENT).enumerate();
    words.filter(move |(_, word)| *word == needle).map(move |(position, _)| start + position * ALIGNMENT)
}

/// What is written only when the sync of the group behind the tail has returned.
enum Proof {
    /// A record of the group with this number, which comes after that one.
    Later(u64),
    /// The hint behind the group with this number: that one, or one after it.
    Hint(u64),
}

/// The proof that the group behind `tail` was durable once, if a valid record that is one starts here. A hint is not synced itself,
/// and need not be: wherever one is found, the sync before it had returned.
fn proof_of_sync(bytes: &[u8], tail: &Tail) -> Option<Proof> {
    let record = record::decode(bytes, tail.segment).ok()?;
    match record.kind {
        Kind::Group | Kind::Entry if record.group > tail.group + 1 => Some(Proof::Later(record.group)),
        Kind::Hint if record.group > tail.group => Some(Proof::Hint(record.group)),
        _ => None,
    }
}

struct ReadGroup {
    head: GroupHead,
    entries: Vec<(Index, Location)>,
    tail: Tail,
}

/// Reads the whole group that starts at `bytes`, which is where `tail` ends; else the offset of its first bad record.
fn read_group(bytes: &[u8], tail: &Tail) -> Result<ReadGroup, (u64, Fault)> {
    let number = tail.group + 1;
    let record = next_record(bytes, tail, number).map_err(|fault| (tail.offset, fault))?;
    if record.kind != Kind::Group {
        return Err((tail.offset, Fault::Kind { found: record.kind as u8 }));
    }
    let head = decode_group(&record, tail).map_err(|fault| (tail.offset, fault))?;
    let mut next = after(tail, &record);
    let mut entries = Vec::new();
    for _ in 0..head.entries {
        let rest = &bytes[usize_of(next.offset - tail.offset)..];
        let record = next_record(rest, &next, number).map_err(|fault| (next.offset, fault))?;
        let (index, term, _) = decode_entry_head(&record).map_err(|fault| (next.offset, fault))?;
        let size = u32::try_from(record.bytes()).map_err(|_| (next.offset, Fault::Content))?;
        entries.push((index, Location { seq: next.seq, offset: next.offset, bytes: size, term }));
        next = after(&next, &record);
    }
    if next.offset - tail.offset != head.bytes {
        return Err((tail.offset, Fault::Content));
    }
    Ok(ReadGroup { head, entries, tail: next })
}

fn next_record<'a>(bytes: &'a [u8], tail: &Tail, group: u64) -> Result<Record<'a>, Fault> {
    let record = record::decode(bytes, tail.segment)?;
    // The padding may lie beyond the end of a cut file; what follows must not be read there.
    if record.bytes() > bytes.len() {
        return Err(Fault::Short);
    }
    if record.continues(tail, group) { Ok(record) } else { Err(Fault::Chain) }
}

fn after(tail: &Tail, record: &Record<'_>) -> Tail {
    let offset = tail.offset + record.bytes() as u64;
    Tail { offset, group: record.group, sequence: record.sequence, crc: record.crc, ..*tail }
}

fn usize_of(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset into bytes that are in memory")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// A segment's start is a multiple of the alignment, so every record is aligned in its file.
const _: () = assert!(SEGMENT_START_BYTES.is_multiple_of(ALIGNMENT));
