//! The scan against a model: whatever a crash or a bit flip does to the bytes, the log is a whole number of groups or refused.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::{ConfState, Entry, EntryKind, HardState, SnapshotMeta};

const IDENTITY: [u8; 16] = *b"0123456789abcdef";

/// A group with owned content.
#[derive(Debug, Clone)]
struct Owned {
    commit: u64,
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
    marker: Option<SnapshotMarker>,
}

/// What the log should hold after some groups: the naive model.
#[derive(Debug, Clone, PartialEq, Default)]
struct Model {
    first: u64,
    entries: Vec<Entry>,
    hard_state: HardState,
    commit: u64,
    marker: Option<SnapshotMarker>,
}

impl Model {
    fn new() -> Model {
        Model { first: 1, ..Model::default() }
    }

    fn apply(&mut self, group: &Owned) {
        self.commit = self.commit.max(group.commit);
        self.hard_state = group.hard_state.unwrap_or(self.hard_state);
        if let Some(marker) = &group.marker {
            self.entries.clear();
            self.first = marker.meta.index + 1;
            self.marker = Some(marker.clone());
        }
        for entry in &group.entries {
            self.entries.truncate((entry.index - self.first) as usize);
            self.entries.push(entry.clone());
        }
    }
}

/// A log in memory: segments with stale bytes behind their end, as recycled files have.
struct Log {
    segments: Vec<(SegmentName, Vec<u8>)>,
    tail: Tail,
    last: (u64, u64),
    model: Model,
    /// State after each group, by number.
    history: Vec<Model>,
    /// (segment, offset, offset behind) of each group.
    places: Vec<(usize, usize, usize)>,
}

const SEGMENT_BYTES: usize = 1 << 14;

fn stale() -> Vec<u8> {
    // Groups of another life of the file, chained and valid in themselves.
    let name = SegmentName { seq: 9, base: 1 };
    let start = SegmentStart {
        name,
        id: 0x5747_4c45,
        identity: IDENTITY,
        previous_term: 0,
        hard_state: HardState::default(),
        commit: 0,
        hint: 0,
    };
    let mut bytes = Vec::new();
    let mut tail = encode_segment(&start, None, &mut bytes);
    for number in 1.. {
        let entries = [entry(number, 1, b"stale")];
        let group = Group { number, commit: 0, hard_state: None, entries: &entries, marker: None };
        if bytes.len() + group_bytes(&group) > SEGMENT_BYTES {
            break;
        }
        tail = encode_group(&tail, &group, &mut bytes, &mut Vec::new());
    }
    bytes.resize(SEGMENT_BYTES, 0);
    bytes
}

fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    Entry { index, term, kind: EntryKind::Normal, data: Bytes::copy_from_slice(data) }
}

impl Log {
    fn new(recycled: bool) -> Log {
        let mut log = Log {
            segments: Vec::new(),
            tail: Tail { segment: 0, seq: 0, offset: 0, group: 0, sequence: 0, crc: 0 },
            last: (0, 0),
            model: Model::new(),
            history: vec![Model::new()],
            places: Vec::new(),
        };
        log.roll(recycled);
        log
    }

    fn roll(&mut self, recycled: bool) {
        let name = SegmentName { seq: self.tail.seq + 1, base: self.last.0 + 1 };
        let start = SegmentStart {
            name,
            id: 0xabcd_0000 + name.seq,
            identity: IDENTITY,
            previous_term: self.last.1,
            hard_state: self.model.hard_state,
            commit: self.model.commit,
            hint: self.model.commit,
        };
        let previous = (name.seq > 1).then_some(self.tail);
        let mut out = Vec::new();
        self.tail = encode_segment(&start, previous.as_ref(), &mut out);
        let mut file = if recycled { stale() } else { vec![0; SEGMENT_BYTES] };
        file[..out.len()].copy_from_slice(&out);
        self.segments.push((name, file));
    }

    fn append(&mut self, group: &Owned, recycled: bool) {
        let number = self.tail.group + 1;
        let Owned { commit, hard_state, entries, marker } = group;
        let view = Group { number, commit: *commit, hard_state: *hard_state, entries, marker: marker.as_ref() };
        if self.tail.offset as usize + group_bytes(&view) + HINT_BYTES > SEGMENT_BYTES {
            self.roll(recycled);
        }
        let mut out = Vec::new();
        let offset = self.tail.offset as usize;
        let mut locations = Vec::new();
        self.tail = encode_group(&self.tail, &view, &mut out, &mut locations);
        assert_eq!(locations.len(), entries.len());
        let segment = self.segments.len() - 1;
        self.segments[segment].1[offset..offset + out.len()].copy_from_slice(&out);
        self.places.push((segment, offset, offset + out.len()));
        self.model.apply(group);
        let last = self.model.entries.last().map(|entry| (entry.index, entry.term));
        let marker = self.model.marker.as_ref().map(|marker| (marker.meta.index, marker.meta.term));
        self.last = last.or(marker).unwrap_or((0, 0));
        self.history.push(self.model.clone());
    }

    fn scan(&self) -> Result<Recovery, Error> {
        scan(&self.segments, 0)
    }

    /// The entries that the recovered index points to, read back through their records.
    fn read(&self, recovery: &Recovery) -> Model {
        let index = &recovery.index;
        let read = |at| {
            let location = index.location(at).expect("an index inside the log");
            let (_, bytes) = self.segments.iter().find(|(name, _)| name.seq == location.seq).expect("its segment");
            let start = location.offset as usize;
            let record = Bytes::copy_from_slice(&bytes[start..start + location.bytes as usize]);
            let id = recovery.segments.iter().find(|segment| segment.name.seq == location.seq).expect("scanned").id;
            decode_entry(&record, id).expect("a record that the scan verified").entry
        };
        Model {
            first: index.first(),
            entries: (index.first()..=index.last()).map(read).collect(),
            hard_state: recovery.hard_state,
            commit: recovery.commit,
            marker: recovery.marker.clone(),
        }
    }
}

fn scan(segments: &[(SegmentName, Vec<u8>)], durable_applied: u64) -> Result<Recovery, Error> {
    let mut scan = Scan::new(IDENTITY);
    for (position, (name, bytes)) in segments.iter().enumerate() {
        scan.segment(*name, bytes, position + 1 == segments.len())?;
    }
    Ok(scan.finish(durable_applied)?.expect("there is a segment"))
}

/// Groups that raft could write: entries continue or overwrite uncommitted ones, terms and commit never fall.
fn groups(seeds: &[(u8, u8, u16, bool)]) -> Vec<Owned> {
    let (mut term, mut last, mut commit) = (1, 0, 0);
    let mut groups = Vec::new();
    for (position, &(kind, count, size, vote)) in seeds.iter().enumerate() {
        let mut marker = None;
        match kind {
            0..=9 => term += 1,
            10..=14 => {
                last += 1 + u64::from(count);
                commit = last;
                let meta = SnapshotMeta { index: last, term, conf_state: conf_state() };
                marker = Some(SnapshotMarker { meta, directory: format!("{position:016x}") });
            }
            15..=40 if last > commit => last = commit + (last - commit) / 2,
            _ => commit += (last - commit) * u64::from(kind) / 255,
        }
        let entries = (0..u64::from(count % 4))
            .map(|step| {
                let data = vec![position as u8 ^ step as u8; usize::from(size) % 1500];
                entry(last + 1 + step, term, &data)
            })
            .collect::<Vec<_>>();
        last += entries.len() as u64;
        let hard_state = vote.then_some(HardState { term, vote: u64::from(size), commit });
        groups.push(Owned { commit, hard_state, entries, marker });
    }
    groups
}

fn conf_state() -> ConfState {
    ConfState { voters: vec![1, 2, 3], learners: vec![9], auto_leave: true, ..ConfState::default() }
}

fn log_of(seeds: &[(u8, u8, u16, bool)], recycled: bool) -> Log {
    let mut log = Log::new(recycled);
    for group in groups(seeds) {
        log.append(&group, recycled);
    }
    log
}

fn seeds() -> impl Strategy<Value = Vec<(u8, u8, u16, bool)>> {
    prop::collection::vec(any::<(u8, u8, u16, bool)>(), 1..40)
}

/// One entry a group; each group knows all entries before its own as committed.
fn simple(count: u64) -> Log {
    numbered(count, u64::MAX)
}

fn numbered(count: u64, commit_max: u64) -> Log {
    let mut log = Log::new(false);
    for index in 1..=count {
        let entries = vec![entry(index, 1, b"value")];
        let commit = commit_max.min(index - 1);
        let hard_state = Some(HardState { term: 1, vote: 1, commit });
        log.append(&Owned { commit, hard_state, entries, marker: None }, false);
    }
    log
}

proptest! {
    #[test]
    fn a_log_reads_back_as_what_was_written(seeds in seeds(), recycled: bool) {
        let log = log_of(&seeds, recycled);
        let recovery = log.scan().expect("nothing is wrong with it");
        prop_assert_eq!(log.read(&recovery), log.model.clone());
        prop_assert_eq!(recovery.tail, log.tail);
        prop_assert_eq!(recovery.torn, None);
    }

    #[test]
    fn a_last_group_with_any_part_missing_is_dropped_whole(seeds in seeds(), recycled: bool, parts: u64, size in 1usize..600) {
        let mut log = log_of(&seeds, recycled);
        let (segment, start, end) = *log.places.last().expect("one group at least");
        let before = if recycled { stale() } else { vec![0; SEGMENT_BYTES] };
        let mut lost = false;
        for (part, at) in (start..end).step_by(size).enumerate() {
            if parts >> (part % 64) & 1 == 0 {
                let to = (at + size).min(end);
                lost |= log.segments[segment].1[at..to] != before[at..to];
                log.segments[segment].1[at..to].copy_from_slice(&before[at..to]);
            }
        }
        let kept = log.history.len() - 1 - usize::from(lost);
        let recovery = log.scan().expect("a torn tail is not corruption");
        // Lost padding is no loss: then the group is whole.
        let found = log.read(&recovery);
        prop_assert!(found == log.history[kept] || (lost && found == log.model), "{:?}", recovery);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_costs_the_last_group_only(seeds in seeds(), recycled: bool, at: prop::sample::Index, bit in 0u8..8) {
        let mut log = log_of(&seeds, recycled);
        let mut offset = at.index(log.segments.len() * SEGMENT_BYTES);
        let segment = offset / SEGMENT_BYTES;
        offset %= SEGMENT_BYTES;
        log.segments[segment].1[offset] ^= 1 << bit;
        let in_last = log.places.last().is_some_and(|&(s, start, end)| s == segment && (start..end).contains(&offset));
        match log.scan() {
            Err(error) => prop_assert!(!in_last || matches!(error, Error::Short { .. }), "{error}"),
            Ok(recovery) => {
                let found = log.read(&recovery);
                let last = log.history.len() - 1;
                prop_assert!(found == log.model || (in_last && found == log.history[last - 1]));
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_holds_whole_groups_or_is_refused(seeds in seeds(), at: prop::sample::Index) {
        let mut log = log_of(&seeds, false);
        let last = log.segments.len() - 1;
        let cut = at.index(SEGMENT_BYTES);
        log.segments[last].1.truncate(cut);
        let whole = log.places.iter().filter(|&&(segment, _, end)| segment < last || end <= cut).count();
        match log.scan() {
            Ok(recovery) => prop_assert_eq!(log.read(&recovery), log.history[whole].clone()),
            Err(error) => prop_assert!(cut < SEGMENT_START_BYTES || matches!(error, Error::Short { .. }), "{error}"),
        }
    }
}

#[test]
fn a_bad_group_before_a_later_one_is_corruption_that_names_file_and_offset() {
    let mut log = simple(5);
    let (_, start, end) = log.places[2];
    log.segments[0].1[end - 10] ^= 4;
    let Err(Error::Corrupt { file, offset, fault, later }) = log.scan() else { panic!("{:?}", log.scan()) };
    assert_eq!((file, later), (log.segments[0].0, 4));
    assert!((start as u64..end as u64).contains(&offset));
    assert_eq!(fault, Fault::Checksum);
}

#[test]
fn a_bad_group_at_the_end_of_an_older_segment_is_corruption() {
    let mut log = simple(200);
    let rolled = log.places.iter().position(|place| place.0 == 1).expect("200 groups fill more than one segment");
    let (segment, _, end) = log.places[rolled - 1];
    log.segments[segment].1[end - 10] ^= 1;
    let error = log.scan().expect_err("the next segment was begun after the group was durable");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn a_missing_segment_is_named() {
    let mut log = simple(500);
    assert!(log.segments.len() >= 3);
    log.segments.remove(1);
    assert!(matches!(log.scan(), Err(Error::Missing { expected: 2, .. })));
}

#[test]
fn segments_below_a_cut_may_be_gone() {
    let log = simple(500);
    let later = &log.segments[1..];
    let base = later[0].0.base;
    let recovery = scan(later, base - 1).expect("the database has all that was cut");
    assert_eq!((recovery.index.first(), recovery.index.last()), (base, 500));
    assert_eq!(recovery.index.term(base - 1), Some(1));
    assert_eq!(recovery.hard_state, HardState { term: 1, vote: 1, commit: 499 });
    assert!(matches!(scan(later, base - 2), Err(Error::Late { .. })));
}

#[test]
fn a_log_that_lacks_committed_or_applied_entries_is_refused() {
    let log = simple(5);
    assert!(scan(&log.segments, 5).is_ok());
    let error = scan(&log.segments, 6).expect_err("entry 6 was applied");
    assert!(matches!(error, Error::Short { last: 5, needed: 6, .. }), "{error}");
    let error = Scan::new(IDENTITY).finish(3).expect_err("three entries were applied");
    assert_eq!(error, Error::Empty { applied: 3 });
    assert_eq!(Scan::new(IDENTITY).finish(0), Ok(None));
}

#[test]
fn the_log_of_another_directory_or_a_later_version_is_refused() {
    let log = simple(1);
    let (name, bytes) = &log.segments[0];
    let error = Scan::new([7; 16]).segment(*name, bytes, true).expect_err("another identity");
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    let mut future = bytes.clone();
    future[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let check = crc32c::crc32c(&future[..12]);
    future[12..16].copy_from_slice(&check.to_le_bytes());
    let error = Scan::new(IDENTITY).segment(*name, &future, true).expect_err("a later format");
    assert_eq!(error, Error::Format { file: *name, found: FORMAT + 1 });
    let other = SegmentName { seq: 4, ..*name };
    assert!(matches!(Scan::new(IDENTITY).segment(other, bytes, true), Err(Error::Name { .. })));
}

#[test]
fn a_hint_raises_the_hinted_commit_only_and_a_bad_one_is_ignored() {
    let mut log = simple(5);
    let offset = log.tail.offset as usize;
    let mut hint = Vec::new();
    encode_hint(&log.tail, 5, &mut hint);
    assert_eq!(hint.len(), HINT_BYTES);
    log.segments[0].1[offset..offset + hint.len()].copy_from_slice(&hint);
    let recovery = log.scan().expect("a hint is no fault");
    assert_eq!((recovery.commit, recovery.hint), (4, 5));
    assert_eq!(recovery.torn, None);
    for byte in 0..HINT_BYTES {
        let mut bad = hint.clone();
        bad[byte] ^= 0x10;
        log.segments[0].1[offset..offset + hint.len()].copy_from_slice(&bad);
        let recovery = log.scan().expect("a bad hint is no corruption");
        assert_eq!((recovery.commit, recovery.hint, recovery.index.last()), (4, 4, 5));
    }
}

#[test]
fn a_bad_last_group_before_a_hint_is_corruption_that_names_file_and_offset() {
    let mut log = simple(5);
    let (file, &(_, start, end)) = (log.segments[0].0, log.places.last().expect("five groups"));
    let mut hint = Vec::new();
    encode_hint(&log.tail, 5, &mut hint);
    log.segments[0].1[end..end + hint.len()].copy_from_slice(&hint);
    // The padding behind a record is not covered by its checksum.
    for at in (start..start + RECORD_HEAD_BYTES).chain(end - 16..end - 8) {
        log.segments[0].1[at] ^= 0x20;
        match log.scan() {
            Err(Error::Synced { file: named, offset, fault: _, group }) => {
                assert_eq!((named, group), (file, 5), "byte {at}");
                assert!((start as u64..end as u64).contains(&offset), "byte {at}: {offset}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        log.segments[0].1[at] ^= 0x20;
    }
    assert!(log.scan().is_ok());
}

#[test]
fn a_bad_last_group_before_a_bad_hint_or_an_older_one_is_a_torn_tail() {
    let mut log = simple(4);
    let mut older = Vec::new();
    encode_hint(&log.tail, 4, &mut older);
    log.append(&Owned { commit: 4, hard_state: None, entries: vec![entry(5, 1, b"five")], marker: None }, false);
    let (_, start, end) = log.places[4];
    let mut newer = Vec::new();
    encode_hint(&log.tail, 5, &mut newer);
    newer[20] ^= 1;
    log.segments[0].1[start + 50] ^= 1;
    // The older one speaks of the group before.
    for hint in [newer, older] {
        log.segments[0].1[end..end + hint.len()].copy_from_slice(&hint);
        let recovery = log.scan().expect("it may never have been acknowledged");
        assert_eq!((recovery.index.last(), recovery.torn.map(|torn| torn.group)), (4, Some(5)));
    }
}

#[test]
fn a_hint_beyond_the_last_entry_is_not_believed() {
    let mut log = simple(2);
    let offset = log.tail.offset as usize;
    let mut hint = Vec::new();
    encode_hint(&log.tail, 9, &mut hint);
    log.segments[0].1[offset..offset + hint.len()].copy_from_slice(&hint);
    assert_eq!(log.scan().expect("a hint is no fault").hint, 1);
}

#[test]
fn an_overwritten_suffix_survives_a_cut_between_its_two_lives() {
    let mut log = numbered(300, 50);
    let base = log.segments[1].0.base;
    // Entries from before the second segment are written again with a higher term, in the last one.
    let entries = (base - 3..base + 3).map(|index| entry(index, 2, b"again")).collect::<Vec<_>>();
    log.append(&Owned { commit: 50, hard_state: None, entries: entries.clone(), marker: None }, false);
    let recovery = scan(&log.segments[1..], base - 1).expect("the rewritten entries are in the last segment");
    assert_eq!((recovery.index.first(), recovery.index.last()), (base, base + 2));
    assert_eq!(recovery.index.term(base - 1), Some(2));
    assert_eq!(log.read(&recovery).entries, entries[3..]);
}

/// A log with everything that the format can hold.
fn everything() -> (Vec<u8>, Model) {
    let mut log = Log::new(false);
    let membership = Entry { kind: EntryKind::Membership, ..entry(1, 1, b"member") };
    let hard_state = Some(HardState { term: 2, vote: 3, commit: 1 });
    let meta = SnapshotMeta { index: 9, term: 2, conf_state: conf_state() };
    let marker = Some(SnapshotMarker { meta, directory: "0000000000000002".to_owned() });
    for group in [
        Owned { commit: 0, hard_state: None, entries: vec![membership, entry(2, 1, b"put")], marker: None },
        Owned { commit: 1, hard_state, entries: vec![], marker: None },
        Owned { commit: 9, hard_state, entries: vec![entry(10, 2, b"")], marker },
    ] {
        log.append(&group, false);
    }
    let mut bytes = log.segments.remove(0).1;
    bytes.truncate(log.tail.offset as usize);
    encode_hint(&log.tail, 10, &mut bytes);
    (bytes, log.model)
}

/// The bytes of format 1, kept as text so that a change of them is seen in review. A change needs a new format version.
#[test]
fn format_1_is_written_and_read_as_it_was_released() {
    const RELEASED: &str = include_str!("../../testdata/wal_format/v1.hex");
    let (bytes, model) = everything();
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    assert_eq!(lines.collect::<String>(), RELEASED);
    let name = SegmentName { seq: 1, base: 1 };
    let recovery = scan(&[(name, bytes)], 0).expect("it was released");
    assert_eq!((recovery.index.first(), recovery.index.last(), recovery.hint), (10, 10, 10));
    assert_eq!((recovery.hard_state, recovery.commit), (model.hard_state, model.commit));
    assert_eq!(recovery.marker, model.marker);
}

#[test]
fn segment_names_read_back() {
    let name = SegmentName { seq: 3, base: 0x1f };
    assert_eq!(name.to_string(), "0000000000000003-000000000000001f.wal");
    assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    for bad in ["", "3-1f.wal", "0000000000000003-000000000000001f", "spare-1", "0000000000000003-00000000000000zz.wal"]
    {
        assert_eq!(SegmentName::parse(bad), None, "{bad}");
    }
}
