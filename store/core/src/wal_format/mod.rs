//! The bytes of the write-ahead log: encoding, decoding and the recovery scan, without any I/O, so that the server and the
//! simulator run the same code. Design: `store/README.md`, "WAL".
//!
//! The log is a chain of *segments* (files). A segment starts with a preamble (magic, format version) and a segment record; then
//! come *groups*, each what went to disk in one write and one sync. A group is a group record followed by its entry records, and
//! it is all or nothing: the pages of one unsynced write can reach the disk in any order. After the last group there may be a
//! *commit hint*, which the next group overwrites.
//!
//! Invariant: group n+1, and a hint behind group n, are not written before the sync of group n returned. So a valid record of group
//! n+2, or a valid hint behind group n+1, proves that group n+1 was durable, and only then is a bad group n+1 corruption; otherwise
//! it is a torn tail. Between a group's sync and the first thing written behind it there is no such proof: if the group is damaged
//! then, this member alone cannot tell, and drops what it may have acknowledged (`replica/loss.rs` is how it is told).

mod group;
mod index;
mod marker;
mod record;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

pub use group::{EntryRecord, Group, HINT_BYTES, decode_entry, encode_group, encode_hint, group_bytes};
pub use index::{Gap, Location, LogIndex};
pub use marker::SnapshotMarker;
pub use record::{Fault, RECORD_HEAD_BYTES};
pub use scan::{Error, Recovery, Scan, ScannedSegment, TornTail};
pub use segment::{SEGMENT_START_BYTES, SegmentName, SegmentStart, encode_segment, segment_identity};

/// What to do about a log that must not be used.
pub(crate) const REBUILD: &str =
    "rebuild this member from the others: remove it from the cluster, move its data directory away and add it again";

/// Version of everything in this module; stands in the preamble of each segment.
pub const FORMAT: u32 = 1;

/// Where the log ends: what the next record continues. The writer adopts a new tail only after the sync returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Random id of the segment's present life; tells its records from the stale ones of a recycled file.
    pub segment: u64,
    /// Rising number of the segment in the log.
    pub seq: u64,
    /// Bytes from the start of the segment to the end of the last group.
    pub offset: u64,
    /// Number of the last group; 0 = none yet.
    pub group: u64,
    /// Number of the last record; rises by one over all records of the log.
    pub sequence: u64,
    /// crc of the last record, which the next one carries.
    pub crc: u32,
}
