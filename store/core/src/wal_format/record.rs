//! One record: a head of 40 bytes, a payload, zeros up to the next multiple of eight.
//!
//! Head (little-endian): segment id u64, group number u64, sequence u64, payload length u32, kind u8, three zero bytes, crc of the
//! record before u32, own crc u32. The own crc (crc32c) covers the 36 bytes before it and the payload. A record thus verifies by
//! itself, which the search for later groups behind a bad one needs, and the chain of crcs verifies their order.

use super::Tail;

/// Bytes of a record before its payload.
pub const RECORD_HEAD_BYTES: usize = 40;
/// Bytes of the head that the crc covers.
const COVERED_BYTES: usize = RECORD_HEAD_BYTES - 4;
/// Records start at multiples of this, so that a search for them can step by it.
pub(super) const ALIGNMENT: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Segment = 1,
    Group = 2,
    Entry = 3,
    Hint = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            1 => Some(Kind::Segment),
            2 => Some(Kind::Group),
            3 => Some(Kind::Entry),
            4 => Some(Kind::Hint),
            _ => None,
        }
    }
}

/// Why bytes are not the record that should stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the file ends inside the record")]
    Short,
    #[error("the record belongs to segment {found:016x}, not to this one")]
    Segment { found: u64 },
    #[error("record kind {found} is unknown or out of place")]
    Kind { found: u8 },
    #[error("the checksum does not match")]
    Checksum,
    #[error("the record does not continue the one before it")]
    Chain,
    #[error("the record's content is malformed")]
    Content,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub segment: u64,
    pub group: u64,
    pub sequence: u64,
    pub kind: Kind,
    pub previous_crc: u32,
    pub crc: u32,
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes on disk, padding included.
    pub fn bytes(&self) -> usize {
        padded(RECORD_HEAD_BYTES + self.payload.len())
    }

    /// Whether this record comes directly after `tail` as part of group `group`.
    pub fn continues(&self, tail: &Tail, group: u64) -> bool {
        self.group == group && self.sequence == tail.sequence + 1 && self.previous_crc == tail.crc
    }
}

pub(super) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Appends the record after `tail`, whose payload `write` appends, and returns the tail after it.
pub(super) fn encode(tail: &Tail, group: u64, kind: Kind, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Tail {
    let start = out.len();
    let sequence = tail.sequence + 1;
    out.extend_from_slice(&tail.segment.to_le_bytes());
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(&tail.crc.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    write(out);
    let payload = start + RECORD_HEAD_BYTES;
    let length = u32::try_from(out.len() - payload).expect("request limits keep an entry far below 4 GiB");
    out[start + 24..start + 28].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&out[start..start + COVERED_BYTES], &out[payload..]);
    out[start + COVERED_BYTES..payload].copy_from_slice(&crc.to_le_bytes());
    let bytes = padded(out.len() - start);
    out.resize(start + bytes, 0);
    Tail { offset: tail.offset + bytes as u64, group, sequence, crc, ..*tail }
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}

/// Reads the record at the start of `bytes`, whatever follows it.
pub(super) fn decode(bytes: &[u8], segment: u64) -> Result<Record<'_>, Fault> {
    let Some((head, rest)) = bytes.split_at_checked(RECORD_HEAD_BYTES) else {
        return Err(Fault::Short);
    };
    let found = u64_at(head, 0);
    if found != segment {
        return Err(Fault::Segment { found });
    }
    let length = u32_at(head, 24) as usize;
    let payload = rest.get(..length).ok_or(Fault::Short)?;
    let crc = u32_at(head, COVERED_BYTES);
    if checksum(&head[..COVERED_BYTES], payload) != crc {
        return Err(Fault::Checksum);
    }
    let kind = Kind::from_byte(head[28]).ok_or(Fault::Kind { found: head[28] })?;
    Ok(Record {
        segment: found,
        group: number_at(head, 8)?,
        sequence: number_at(head, 16)?,
        kind,
        previous_crc: u32_at(head, 32),
        crc,
        payload,
    })
}

/// The kind that the head at the start of `bytes` claims, without verifying it.
pub(super) fn claimed_kind(bytes: &[u8]) -> Option<Kind> {
    bytes.get(28).copied().and_then(Kind::from_byte)
}

/// No index, term, offset or number of a log comes this far, so counting on from one that was read never overflows.
const NUMBERS_END: u64 = 1 << 62;

/// Reads an index, term, offset or running number at `at`, which the caller knows to exist.
pub(super) fn number_at(bytes: &[u8], at: usize) -> Result<u64, Fault> {
    Some(u64_at(bytes, at)).filter(|number| *number < NUMBERS_END).ok_or(Fault::Content)
}

/// Reads eight bytes at `at`, which the caller knows to exist.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}

/// Reads four bytes at `at`, which the caller knows to exist.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}
