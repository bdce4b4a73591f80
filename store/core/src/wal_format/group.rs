//! Groups: what goes to disk in one write and one sync, all or nothing; and the commit hint behind the last of them.
//!
//! Group record: persisted commit u64, offset at which the group before ended u64, bytes of the whole group u64, number of entries
//! u32, flags u32 (1 = hard state, 2 = marker), then term, vote, commit (u64 each) and the marker as the flags say. The crc of the
//! group before stands in the record's head. Entry record: index u64, term u64, kind u8, data. Hint record: commit u64.

use bytes::Bytes;

use super::record::{self, Fault, Kind, RECORD_HEAD_BYTES, Record, number_at, padded, u32_at, u64_at};
use super::{Location, SnapshotMarker, Tail};
use crate::log::{Entry, EntryKind, HardState, Index, Term};

const GROUP_FIXED_BYTES: usize = 32;
const HARD_STATE_BYTES: usize = 24;
const ENTRY_FIXED_BYTES: usize = 17;
const FLAG_HARD_STATE: u32 = 1;
const FLAG_MARKER: u32 = 2;

/// Room that a segment keeps free behind its last group, so that a hint always fits.
pub const HINT_BYTES: usize = RECORD_HEAD_BYTES + 8;

/// What becomes durable together.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// One more than the number of the group before.
    pub number: u64,
    /// The commit index known to raft when the group was formed; never falls.
    pub commit: Index,
    /// `None` = unchanged.
    pub hard_state: Option<HardState>,
    /// Ascending by one; the first may be at most one above the last of the log, and replaces the suffix from its index on.
    pub entries: &'a [Entry],
    /// Takes effect before the entries of this group.
    pub marker: Option<&'a SnapshotMarker>,
}

/// Bytes that the group takes on disk.
pub fn group_bytes(group: &Group<'_>) -> usize {
    let head = GROUP_FIXED_BYTES
        + group.hard_state.map_or(0, |_| HARD_STATE_BYTES)
        + group.marker.map_or(0, SnapshotMarker::bytes);
    let entries = group.entries.iter().map(|entry| entry_bytes(entry.data.len())).sum::<usize>();
    padded(RECORD_HEAD_BYTES + head) + entries
}

fn entry_bytes(data: usize) -> usize {
    padded(RECORD_HEAD_BYTES + ENTRY_FIXED_BYTES + data)
}

/// Appends the group to `out` and the places of its entries to `locations`; returns the tail that holds once it is durable.
///
/// # Panics
/// When the number does not continue the tail's, or the entries do not ascend by one.
pub fn encode_group(tail: &Tail, group: &Group<'_>, out: &mut Vec<u8>, locations: &mut Vec<Location>) -> Tail {
    assert_eq!(group.number, tail.group + 1, "groups are numbered without gaps");
    let total = group_bytes(group);
    let start = out.len();
    let mut next = record::encode(tail, group.number, Kind::Group, out, |payload| {
        payload.extend_from_slice(&group.commit.to_le_bytes());
        payload.extend_from_slice(&tail.offset.to_le_bytes());
        payload.extend_from_slice(&(total as u64).to_le_bytes());
        let count = u32::try_from(group.entries.len()).expect("a group is far below 4 GiB");
        payload.extend_from_slice(&count.to_le_bytes());
        let hard_state = if group.hard_state.is_some() { FLAG_HARD_STATE } else { 0 };
        let marker = if group.marker.is_some() { FLAG_MARKER } else { 0 };
        payload.extend_from_slice(&(hard_state | marker).to_le_bytes());
        if let Some(hard_state) = group.hard_state {
            encode_hard_state(&hard_state, payload);
        }
        if let Some(marker) = group.marker {
            marker.encode(payload);
        }
    });
    let first = group.entries.first().map_or(0, |entry| entry.index);
    for (expected, entry) in (first..).zip(group.entries) {
        assert_eq!(entry.index, expected, "entries of a group ascend by one");
        let bytes = u32::try_from(entry_bytes(entry.data.len())).expect("request limits keep an entry below 4 GiB");
        locations.push(Location { seq: next.seq, offset: next.offset, bytes, term: entry.term });
        next = record::encode(&next, group.number, Kind::Entry, out, |payload| encode_entry(entry, payload));
    }
    assert_eq!(out.len() - start, total, "a group has the length that its head says");
    next
}

pub(super) fn encode_hard_state(hard_state: &HardState, out: &mut Vec<u8>) {
    let HardState { term, vote, commit } = *hard_state;
    [term, vote, commit].iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

/// Reads the 24 bytes at `at`, which the caller knows to exist.
pub(super) fn hard_state_at(bytes: &[u8], at: usize) -> Result<HardState, Fault> {
    Ok(HardState { term: number_at(bytes, at)?, vote: u64_at(bytes, at + 8), commit: number_at(bytes, at + 16)? })
}

fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    let Entry { index, term, kind, data } = entry;
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&term.to_le_bytes());
    out.push(match kind {
        EntryKind::Normal => 0,
        EntryKind::Membership => 1,
    });
    out.extend_from_slice(data);
}

/// Appends the hint that `commit` was reached. It goes to the tail's offset, without a sync, and leaves the tail as it is.
pub fn encode_hint(tail: &Tail, commit: Index, out: &mut Vec<u8>) {
    let start = out.len();
    record::encode(tail, tail.group, Kind::Hint, out, |payload| payload.extend_from_slice(&commit.to_le_bytes()));
    debug_assert_eq!(out.len() - start, HINT_BYTES);
}

/// The commit index of a hint that stands behind `tail`.
pub(super) fn decode_hint(record: &Record<'_>, tail: &Tail) -> Option<Index> {
    let belongs = record.kind == Kind::Hint && record.continues(tail, tail.group) && record.payload.len() == 8;
    if belongs { number_at(record.payload, 0).ok() } else { None }
}

/// The decoded head of a group.
pub(super) struct GroupHead {
    pub commit: Index,
    pub bytes: u64,
    pub entries: u32,
    pub hard_state: Option<HardState>,
    pub marker: Option<SnapshotMarker>,
}

/// Reads a group record whose head was verified; `tail` is the end of the group before.
pub(super) fn decode_group(record: &Record<'_>, tail: &Tail) -> Result<GroupHead, Fault> {
    let payload = record.payload;
    if payload.len() < GROUP_FIXED_BYTES {
        return Err(Fault::Content);
    }
    if u64_at(payload, 8) != tail.offset {
        return Err(Fault::Chain);
    }
    let flags = u32_at(payload, 28);
    let mut rest = &payload[GROUP_FIXED_BYTES..];
    let mut hard_state = None;
    if flags & FLAG_HARD_STATE != 0 {
        let (bytes, after) = rest.split_at_checked(HARD_STATE_BYTES).ok_or(Fault::Content)?;
        hard_state = Some(hard_state_at(bytes, 0)?);
        rest = after;
    }
    let marker = match flags & FLAG_MARKER {
        0 if rest.is_empty() => None,
        0 => return Err(Fault::Content),
        _ => Some(SnapshotMarker::decode(rest).ok_or(Fault::Content)?),
    };
    Ok(GroupHead {
        commit: number_at(payload, 0)?,
        bytes: number_at(payload, 16)?,
        entries: u32_at(payload, 24),
        hard_state,
        marker,
    })
}

/// An entry record in a segment: index and term, and its size on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRecord {
    pub entry: Entry,
    /// Bytes on disk, padding included; the next record of the group starts behind them.
    pub bytes: usize,
}

/// Reads and verifies the entry record at the start of `bytes` without copying its data.
///
/// # Errors
/// What is wrong with it; `Fault::Segment` when the file has been recycled since.
pub fn decode_entry(bytes: &Bytes, segment: u64) -> Result<EntryRecord, Fault> {
    let record = record::decode(bytes, segment)?;
    let (index, term, kind) = decode_entry_head(&record)?;
    let data = bytes.slice(RECORD_HEAD_BYTES + ENTRY_FIXED_BYTES..RECORD_HEAD_BYTES + record.payload.len());
    Ok(EntryRecord { entry: Entry { index, term, kind, data }, bytes: record.bytes() })
}

pub(super) fn decode_entry_head(record: &Record<'_>) -> Result<(Index, Term, EntryKind), Fault> {
    if record.kind != Kind::Entry {
        return Err(Fault::Kind { found: record.kind as u8 });
    }
    if record.payload.len() < ENTRY_FIXED_BYTES {
        return Err(Fault::Content);
    }
    let kind = match record.payload[16] {
        0 => EntryKind::Normal,
        1 => EntryKind::Membership,
        _ => return Err(Fault::Content),
    };
    Ok((number_at(record.payload, 0)?, number_at(record.payload, 8)?, kind))
}
