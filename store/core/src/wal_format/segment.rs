//! How a segment is named and how it starts.
//!
//! Preamble: magic (8 bytes), format version u32, crc32c of these 12 bytes u32. Then the segment record: identity of the log (16
//! bytes), seq, base index, term before the base, offset at which the segment before ended, term, vote and commit of the hard
//! state, persisted commit, hinted commit (u64 each). It repeats all state that older segments hold, so that they may go.

use super::group::{encode_hard_state, hard_state_at};
use super::record::{self, Fault, Kind, RECORD_HEAD_BYTES, number_at, u32_at, u64_at};
use super::{FORMAT, Tail};
use crate::log::{HardState, Index, Term};

const MAGIC: &[u8; 8] = b"quor-wal";
const PREAMBLE_BYTES: usize = 16;
const PAYLOAD_BYTES: usize = 16 + 4 * 8 + 24 + 2 * 8;

/// Offset of the first group of a segment.
pub const SEGMENT_START_BYTES: usize = PREAMBLE_BYTES + RECORD_HEAD_BYTES + PAYLOAD_BYTES;

/// A segment's file name: `{seq:016x}-{index:016x}.wal`, as etcd names its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Rising by one from segment to segment, 1 for the first of a log.
    pub seq: u64,
    /// Index of the entry that came next when the segment began.
    pub base: Index,
}

impl SegmentName {
    /// `None` when `name` is not the name of a segment.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let (seq, base) = name.strip_suffix(".wal")?.split_once('-')?;
        let number = |hex: &str| (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok()).flatten();
        Some(SegmentName { seq: number(seq)?, base: number(base)? })
    }
}

impl std::fmt::Display for SegmentName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}-{:016x}.wal", self.seq, self.base)
    }
}

/// Everything that is known when a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStart {
    pub name: SegmentName,
    /// Random, never 0.
    pub id: u64,
    /// The disk id of the data directory: tells the log of another directory from this one's.
    pub identity: [u8; 16],
    /// Term of the entry before the base; 0 before the first.
    pub previous_term: Term,
    pub hard_state: HardState,
    /// Highest commit index in any group before.
    pub commit: Index,
    /// Highest commit index hinted before; at least `commit`.
    pub hint: Index,
}

/// Appends the start of a segment that follows `previous` (`None` for the first of a log) to `out`; returns its tail.
pub fn encode_segment(start: &SegmentStart, previous: Option<&Tail>, out: &mut Vec<u8>) -> Tail {
    let SegmentStart { name: SegmentName { seq, base }, id, identity, previous_term, hard_state, commit, hint } = start;
    assert_ne!(*id, 0, "zeros must not look like records");
    let (previous_end, group, sequence, crc) =
        previous.map_or((0, 0, 0, 0), |p| (p.offset, p.group, p.sequence, p.crc));
    let preamble = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    let check = crc32c::crc32c(&out[preamble..]);
    out.extend_from_slice(&check.to_le_bytes());
    let tail = Tail { segment: *id, seq: *seq, offset: PREAMBLE_BYTES as u64, group, sequence, crc };
    let tail = record::encode(&tail, group, Kind::Segment, out, |payload| {
        payload.extend_from_slice(identity);
        [*seq, *base, *previous_term, previous_end].iter().for_each(|v| payload.extend_from_slice(&v.to_le_bytes()));
        encode_hard_state(hard_state, payload);
        [*commit, *hint].iter().for_each(|v| payload.extend_from_slice(&v.to_le_bytes()));
    });
    assert_eq!(tail.offset, SEGMENT_START_BYTES as u64);
    tail
}

/// The disk id in the start of a segment, of which `bytes` holds `SEGMENT_START_BYTES` or more; `None` when they are no such start, or of
/// a format that this version does not know.
pub fn segment_identity(bytes: &[u8]) -> Option<[u8; 16]> {
    decode_segment(bytes).ok().map(|decoded| decoded.start.identity)
}

/// Why the start of a segment cannot be used.
pub(super) enum StartFault {
    /// Written by a later version.
    Format {
        found: u32,
    },
    Bad(Fault),
}

/// A decoded start: the segment's state, the tail behind it, and where the segment before must have ended (its offset, group,
/// sequence and crc; `seq` is one less).
pub(super) struct DecodedStart {
    pub start: SegmentStart,
    pub tail: Tail,
    pub previous: Tail,
}

pub(super) fn decode_segment(bytes: &[u8]) -> Result<DecodedStart, StartFault> {
    let Some((preamble, rest)) = bytes.split_at_checked(PREAMBLE_BYTES) else {
        return Err(StartFault::Bad(Fault::Short));
    };
    if !preamble.starts_with(MAGIC) || crc32c::crc32c(&preamble[..12]) != u32_at(preamble, 12) {
        return Err(StartFault::Bad(Fault::Checksum));
    }
    let format = u32_at(preamble, 8);
    if format != FORMAT {
        return Err(StartFault::Format { found: format });
    }
    decode_start_record(rest).map_err(StartFault::Bad)
}

fn decode_start_record(bytes: &[u8]) -> Result<DecodedStart, Fault> {
    if bytes.len() < RECORD_HEAD_BYTES {
        return Err(Fault::Short);
    }
    // The record itself says which id the segment has; its crc vouches for it.
    let record = record::decode(bytes, u64_at(bytes, 0))?;
    let payload = record.payload;
    if record.kind != Kind::Segment {
        return Err(Fault::Kind { found: record.kind as u8 });
    }
    if payload.len() != PAYLOAD_BYTES || record.segment == 0 || record.sequence == 0 {
        return Err(Fault::Content);
    }
    let start = SegmentStart {
        name: SegmentName { seq: number_at(payload, 16)?, base: number_at(payload, 24)? },
        id: record.segment,
        identity: payload[..16].try_into().expect("the slice has sixteen bytes"),
        previous_term: number_at(payload, 32)?,
        hard_state: hard_state_at(payload, 48)?,
        commit: number_at(payload, 72)?,
        hint: number_at(payload, 80)?,
    };
    if start.name.seq == 0 || start.name.base == 0 {
        return Err(Fault::Content);
    }
    let tail = Tail {
        segment: record.segment,
        seq: start.name.seq,
        offset: SEGMENT_START_BYTES as u64,
        group: record.group,
        sequence: record.sequence,
        crc: record.crc,
    };
    let previous = Tail {
        segment: 0,
        seq: start.name.seq - 1,
        offset: number_at(payload, 40)?,
        group: record.group,
        sequence: record.sequence - 1,
        crc: record.previous_crc,
    };
    Ok(DecodedStart { start, tail, previous })
}
