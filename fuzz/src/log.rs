//! Segments of the WAL. The checksums and the chain of the records are made right first, as far as their lengths lead, unless the
//! first byte is odd: then the bytes are taken as they are.

use bytes::Bytes;
use quorate_core::log::{ConfState, Entry, EntryKind, HardState, SnapshotMeta};
use quorate_core::wal_format::{
    Group, RECORD_HEAD_BYTES, Scan, SegmentName, SegmentStart, SnapshotMarker, decode_entry, encode_group, encode_hint,
    encode_segment,
};

const IDENTITY: [u8; 16] = [7; 16];
const NAME: SegmentName = SegmentName { seq: 1, base: 1 };
const PREAMBLE_BYTES: usize = 16;
/// Places in a record's head: length, crc of the record before, crc of this one.
const LENGTH_AT: usize = 24;
const PREVIOUS_AT: usize = 32;
const CRC_AT: usize = 36;
/// Records start at multiples of this.
const ALIGNMENT: usize = 8;

pub fn run(data: &[u8]) {
    let Some((mode, segment)) = data.split_first() else { return };
    let mut segment = segment.to_vec();
    if mode % 2 == 0 {
        seal(&mut segment);
    }
    let mut scan = Scan::new(IDENTITY);
    if scan.segment(NAME, &segment, mode & 2 == 0).is_err() {
        return;
    }
    let Ok(Some(recovery)) = scan.finish(0) else { return };
    assert!(recovery.commit <= recovery.hint && recovery.hint <= recovery.index.last(), "{recovery:?}");
    assert!(recovery.tail.offset <= segment.len() as u64, "the log ends inside its file: {recovery:?}");
    let bytes = Bytes::from(segment);
    let _ = decode_entry(&bytes.slice(PREAMBLE_BYTES.min(bytes.len())..), recovery.tail.segment);
}

/// Makes magic's checksum, the chain and every record's checksum right.
fn seal(segment: &mut [u8]) {
    if segment.len() < PREAMBLE_BYTES {
        return;
    }
    let crc = crc32c::crc32c(&segment[..12]);
    segment[12..16].copy_from_slice(&crc.to_le_bytes());
    let (mut at, mut previous) = (PREAMBLE_BYTES, None);
    while let Some(head) = segment.get(at..at + RECORD_HEAD_BYTES) {
        let length = u32::from_le_bytes(head[LENGTH_AT..LENGTH_AT + 4].try_into().expect("four bytes")) as usize;
        let end = at + RECORD_HEAD_BYTES + length;
        if end > segment.len() {
            return;
        }
        if let Some(previous) = previous {
            segment[at + PREVIOUS_AT..at + PREVIOUS_AT + 4].copy_from_slice(&u32::to_le_bytes(previous));
        }
        let crc =
            crc32c::crc32c_append(crc32c::crc32c(&segment[at..at + CRC_AT]), &segment[at + RECORD_HEAD_BYTES..end]);
        segment[at + CRC_AT..at + CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        previous = Some(crc);
        at = end.next_multiple_of(ALIGNMENT);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let start = SegmentStart {
        name: NAME,
        id: 0x0123_4567_89ab_cdef,
        identity: IDENTITY,
        previous_term: 0,
        hard_state: HardState::default(),
        commit: 0,
        hint: 0,
    };
    let entry = |index, kind| Entry { index, term: 1, kind, data: Bytes::from_static(b"data of an entry") };
    let entries = [entry(1, EntryKind::Membership), entry(2, EntryKind::Normal)];
    let conf_state = ConfState { voters: vec![1], ..Default::default() };
    let marker = SnapshotMarker {
        meta: SnapshotMeta { index: 9, term: 2, conf_state },
        directory: "db-0000000000000001".into(),
    };
    let hard_state = Some(HardState { term: 1, vote: 1, commit: 0 });
    let mut bytes = [0];
    let mut seeds = Vec::new();
    let mut segment = Vec::new();
    let tail = encode_segment(&start, None, &mut segment);
    let groups = [
        Group { number: 1, commit: 0, hard_state, entries: &entries, marker: None },
        Group { number: 2, commit: 2, hard_state: None, entries: &[], marker: None },
        Group { number: 3, commit: 9, hard_state: None, entries: &[], marker: Some(&marker) },
    ];
    let mut tail = tail;
    for group in &groups {
        tail = encode_group(&tail, group, &mut segment, &mut Vec::new());
        seeds.push([&bytes[..], &segment].concat());
    }
    encode_hint(&tail, 9, &mut segment);
    seeds.push([&bytes[..], &segment].concat());
    bytes[0] = 2;
    seeds.push([&bytes[..], &segment].concat());
    seeds
}
