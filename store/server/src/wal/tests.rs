//! The log on a real directory: reopening, rolling, recycling, torn and corrupt files, readers beside the writer.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::log::{ConfState, Entry, EntryKind, SnapshotMeta};
use quorate_core::wal_format::SnapshotMarker;
use tempfile::TempDir;

use super::*;

/// Syncs are left out where no test can tell: what a power cut loses is tested on real disks, not here.
const SMALL: Options =
    Options { identity: [7; 16], segment_bytes: 16 << 10, keep_bytes: 0, keep_wanted_bytes: 0, fsync: false };

fn open(directory: &TempDir, applied: Index) -> Result<(Wal, Recovered), Error> {
    Wal::open(&directory.path().join("wal"), SMALL, applied)
}

fn entry(index: Index, term: Term, bytes: usize) -> Entry {
    let data = Bytes::from(vec![index as u8; bytes]);
    Entry { index, term, kind: EntryKind::Normal, data }
}

fn append(wal: &mut Wal, commit: Index, entries: &[Entry]) {
    let term = entries.last().map_or(1, |entry| entry.term).max(wal.hard_state().term);
    let hard_state = Some(HardState { term, vote: 1, commit });
    let group = Group { number: wal.last_group() + 1, commit, hard_state, entries, marker: None };
    wal.append(group).unwrap();
}

/// Appends `count` groups of one entry each, all before it committed.
fn fill(wal: &mut Wal, count: u64) {
    for _ in 0..count {
        let next = wal.reader().last_index() + 1;
        append(wal, next - 1, &[entry(next, 1, 200)]);
    }
}

fn files(directory: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path().join("wal")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_log_is_empty_and_reopens_with_what_was_appended() {
    let directory = TempDir::new().unwrap();
    let (mut wal, recovered) = open(&directory, 0).unwrap();
    assert_eq!((recovered.first_index, recovered.last_index, recovered.last_group), (1, 0, 0));
    append(&mut wal, 0, &[entry(1, 1, 10), entry(2, 1, 0)]);
    append(&mut wal, 2, &[]);
    drop(wal);
    let (wal, recovered) = open(&directory, 2).unwrap();
    assert_eq!((recovered.first_index, recovered.last_index, recovered.commit), (1, 2, 2));
    assert_eq!(recovered.hard_state, HardState { term: 1, vote: 1, commit: 2 });
    assert_eq!(recovered.torn, None);
    assert_eq!(wal.reader().entries(1, 3, u64::MAX).unwrap(), [entry(1, 1, 10), entry(2, 1, 0)]);
}

#[test]
fn a_log_with_syncs_holds_the_same() {
    let directory = TempDir::new().unwrap();
    let synced = Options { fsync: true, ..SMALL };
    let (mut wal, _) = Wal::open(directory.path(), synced, 0).unwrap();
    fill(&mut wal, 60);
    wal.hint_commit(60).unwrap();
    drop(wal);
    let (_, recovered) = Wal::open(directory.path(), synced, 0).unwrap();
    assert_eq!((recovered.last_index, recovered.commit, recovered.hinted_commit), (60, 59, 60));
}

#[test]
fn a_log_that_failed_names_the_first_cause_whatever_is_asked_of_it_next() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    fill(&mut wal, 3);
    // A handle that takes no writes.
    let SegmentFile { name, id, ref path, bytes, .. } = *wal.current;
    let file = File::open(path).unwrap();
    wal.current = Arc::new(SegmentFile { name, id, path: path.clone(), file, bytes });
    let first = wal.hint_commit(3).unwrap_err();
    assert!(matches!(&first, Error::Io { operation: "write", .. }), "{first}");
    let group = Group { number: wal.last_group() + 1, commit: 3, hard_state: None, entries: &[], marker: None };
    let later = [wal.append(group).unwrap_err(), wal.cut(3, 3).unwrap_err(), wal.failure().unwrap_err()];
    assert_eq!(later.map(|error| error.to_string()), [0; 3].map(|_| first.to_string()));
}

#[test]
fn segments_roll_and_are_recycled_after_a_cut_without_their_old_content() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    for round in 1..=5 {
        let reader = wal.reader();
        fill(&mut wal, 300);
        let last = reader.last_index();
        assert_eq!(last, round * 300);
        wal.cut(last, last).unwrap();
        assert!(reader.first_index() <= last);
        assert!(reader.first_index() > last - 300, "whole segments went");
        assert_eq!(reader.term(reader.first_index() - 1), Some(1), "raft asks for the term before the first");
        wal.spares.settle();
        assert!(wal.spares.ready() >= SPARES);
        drop(wal);
        let recovered;
        (wal, recovered) = open(&directory, last).unwrap();
        assert_eq!((recovered.last_index, recovered.torn), (last, None));
    }
    let error = wal.reader().entries(1, 2, 100).unwrap_err();
    assert!(matches!(error, ReadError::Compacted { index: 1, .. }), "{error}");
    assert!(files(&directory).len() <= 8, "{:?}", files(&directory));
}

#[test]
fn what_is_kept_for_followers_is_bounded_in_bytes_and_goes_first_when_space_is_short() {
    let directory = TempDir::new().unwrap();
    let segment_bytes = SMALL.segment_bytes;
    let options = Options { keep_bytes: 3 * segment_bytes, keep_wanted_bytes: 48 * segment_bytes, ..SMALL };
    let (mut wal, _) = Wal::open(directory.path(), options, 0).unwrap();
    let kept = |wal: &Wal| wal.shared.read().segments.iter().map(|segment| segment.bytes).sum::<u64>();
    while wal.tail.seq < 12 {
        fill(&mut wal, 100);
    }
    let last = wal.reader().last_index();
    wal.cut(last, last).unwrap();
    assert!((3 * segment_bytes..6 * segment_bytes).contains(&kept(&wal)), "{} of {segment_bytes}", kept(&wal));
    let first = wal.reader().first_index();
    // Somebody wants what is left.
    while kept(&wal) < 8 * segment_bytes {
        fill(&mut wal, 100);
        wal.cut(wal.reader().last_index(), first).unwrap();
    }
    assert_eq!(wal.reader().first_index(), first);
    while wal.tail.seq < 80 {
        fill(&mut wal, 100);
        wal.cut(wal.reader().last_index(), first).unwrap();
    }
    assert!(wal.reader().first_index() > first, "not without end");
    assert!(kept(&wal) <= 50 * segment_bytes, "{} of {segment_bytes}", kept(&wal));
    let cut = Cut { below: 10, wanted_from: 4, keep_bytes: 0, keep_wanted_bytes: 0 };
    assert!(cut.lets_go(10, 0) && !cut.lets_go(11, 0), "without space everything goes that the database holds");
}

#[test]
fn the_bytes_behind_an_entry_are_those_of_its_followers_over_all_segments() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(directory.path(), SMALL, 0).unwrap();
    assert_eq!(wal.reader().bytes_above(0), 0);
    while wal.tail.seq < 5 {
        fill(&mut wal, 100);
    }
    let (reader, written) = (wal.reader(), 4 * SMALL.segment_bytes + wal.tail.offset);
    let last = reader.last_index();
    assert_eq!(reader.bytes_above(last), 0);
    assert!((1..=last).all(|index| reader.bytes_above(index) < reader.bytes_above(index - 1)));
    let whole = reader.bytes_above(0);
    assert!(whole < written && whole > written / 2, "{whole} of {written}");
    wal.cut(last, last).unwrap();
    assert_eq!(reader.bytes_above(0), reader.bytes_above(reader.first_index() - 1));
}

#[test]
fn what_is_kept_by_default_is_known_before_the_directory_is_made() {
    let directory = TempDir::new().unwrap();
    let kept = keep_wanted_bytes(directory.path());
    assert!(kept > 0 && kept <= KEEP_WANTED_BYTES, "{kept}");
    assert_eq!(keep_wanted_bytes(&directory.path().join("not/yet/there")), kept);
}

#[test]
fn a_log_whose_segments_are_cut_as_fast_as_they_fill_creates_no_files() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    let mut inodes = std::collections::BTreeSet::new();
    for _ in 0..40 {
        fill(&mut wal, 60);
        wal.cut(wal.reader().last_index(), Index::MAX).unwrap();
        inodes.insert(wal.current.file.metadata().unwrap().ino());
    }
    assert!(wal.tail.seq > 30, "{} segments", wal.tail.seq);
    assert!(inodes.len() <= 1 + 2 * SPARES, "the same files serve again: {inodes:?}");
}

#[test]
fn segments_grow_to_their_full_size_so_that_a_small_log_is_small() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(directory.path(), Options::new([7; 16]), 0).unwrap();
    wal.spares.settle();
    let mut sizes: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len() >> 20)
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [4, 8, 16]);
}

/// Runs on a thread with a mount namespace of its own, on a volume of `bytes`; nothing of it is left behind.
fn on_a_small_volume(bytes: u64, test: impl FnOnce(&Path) + Send) {
    use nix::mount::{MsFlags, mount};
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    std::thread::scope(|scope| {
        let body = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("mounting needs root");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let options = format!("size={bytes}");
            mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
            test(path);
        };
        scope.spawn(body).join().unwrap();
    });
}

#[test]
fn a_full_disk_is_reported_while_writes_still_succeed_and_costs_nothing_in_the_end() {
    on_a_small_volume(256 << 10, |volume| {
        let path = volume.join("wal");
        let options = Options { segment_bytes: 64 << 10, ..SMALL };
        let (mut wal, _) = Wal::open(&path, options, 0).unwrap();
        wal.spares.settle();
        wal.check_space().unwrap();
        let ballast = volume.join("ballast");
        std::fs::write(&ballast, vec![1; 50 << 10]).unwrap();
        while wal.tail.seq == 1 {
            fill(&mut wal, 1);
        }
        wal.spares.settle();
        assert!(wal.check_space().unwrap_err().is_no_space());
        let refused = loop {
            let next = wal.reader().last_index() + 1;
            let entries = [entry(next, 1, 200)];
            let group = Group {
                number: wal.last_group() + 1,
                commit: next - 1,
                hard_state: None,
                entries: &entries,
                marker: None,
            };
            if let Err(error) = wal.append(group) {
                break error;
            }
        };
        assert!(refused.is_no_space(), "{refused}");
        assert_eq!(wal.tail.seq, 3, "both spares were written first");
        let last = wal.reader().last_index();
        std::fs::remove_file(&ballast).unwrap();
        fill(&mut wal, 5);
        assert_eq!(wal.reader().last_index(), last + 5);
        drop(wal);
        let (_, recovered) = Wal::open(&path, options, last).unwrap();
        assert_eq!((recovered.last_index, recovered.torn), (last + 5, None));
    });
}

#[test]
fn a_reader_keeps_the_segment_that_it_reads_although_it_is_cut() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    fill(&mut wal, 300);
    let held = Arc::clone(&wal.shared.read().segments[0]);
    let before = std::fs::read(&held.path).unwrap();
    wal.cut(300, 300).unwrap();
    fill(&mut wal, 300);
    let mut after = vec![0; before.len()];
    held.file.read_exact_at(&mut after, 0).unwrap();
    assert!(before == after, "its bytes are still those of the log");
}

#[test]
fn a_group_larger_than_a_segment_gets_a_larger_one() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    append(&mut wal, 0, &[entry(1, 1, 100 << 10), entry(2, 1, 5)]);
    fill(&mut wal, 3);
    drop(wal);
    let (wal, recovered) = open(&directory, 0).unwrap();
    assert_eq!(recovered.last_index, 5);
    assert_eq!(wal.reader().entries(1, 2, 10).unwrap(), [entry(1, 1, 100 << 10)]);
}

#[test]
fn a_lower_index_replaces_the_suffix_for_readers_and_after_reopening() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    append(&mut wal, 0, &[entry(1, 1, 5), entry(2, 1, 5), entry(3, 1, 5)]);
    append(&mut wal, 1, &[entry(2, 2, 9)]);
    let check = |wal: &Wal| {
        let reader = wal.reader();
        assert_eq!((reader.last_index(), reader.term(2), reader.term(3)), (2, Some(2), None));
        assert_eq!(reader.entries(1, 3, u64::MAX).unwrap(), [entry(1, 1, 5), entry(2, 2, 9)]);
        assert!(matches!(reader.entries(2, 4, 9), Err(ReadError::Unavailable { index: 3, last: 2 })));
    };
    check(&wal);
    drop(wal);
    check(&open(&directory, 1).unwrap().0);
}

#[test]
fn a_marker_discards_every_entry_and_older_segments_can_go() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    let entries: Vec<_> = (1..=400).map(|index| entry(index, 1, 200)).collect();
    for entry in &entries {
        append(&mut wal, 10.min(entry.index - 1), std::slice::from_ref(entry));
    }
    let conf_state = ConfState { voters: vec![1, 2], learners: vec![3], ..ConfState::default() };
    let marker =
        SnapshotMarker { meta: SnapshotMeta { index: 100, term: 4, conf_state }, directory: "0000000000000002".into() };
    let hard_state = Some(HardState { term: 5, vote: 0, commit: 100 });
    let number = wal.last_group() + 1;
    wal.append(Group { number, commit: 100, hard_state, entries: &[], marker: Some(&marker) }).unwrap();
    assert_eq!((wal.reader().first_index(), wal.reader().last_index(), wal.term(100)), (101, 100, Some(4)));
    wal.cut(101, 101).unwrap();
    append(&mut wal, 100, &[entry(101, 5, 1)]);
    assert_eq!(files(&directory).iter().filter(|name| !name.starts_with("spare")).count(), 1);
    drop(wal);
    let (wal, recovered) = open(&directory, 10).unwrap();
    assert_eq!(recovered.marker, Some(marker));
    assert_eq!((recovered.first_index, recovered.last_index, recovered.commit), (101, 101, 100));
    assert_eq!(wal.term(100), Some(4));
}

#[test]
fn a_hint_survives_reopening_and_the_next_group_overwrites_it() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    append(&mut wal, 0, &[entry(1, 1, 5), entry(2, 1, 5)]);
    wal.hint_commit(2).unwrap();
    drop(wal);
    let (mut wal, recovered) = open(&directory, 0).unwrap();
    assert_eq!((recovered.commit, recovered.hinted_commit, recovered.torn), (0, 2, None));
    append(&mut wal, 1, &[entry(3, 1, 5)]);
    drop(wal);
    let (_, recovered) = open(&directory, 0).unwrap();
    assert_eq!((recovered.commit, recovered.hinted_commit, recovered.last_index), (1, 1, 3));
}

#[test]
fn a_torn_tail_is_dropped_erased_and_written_over() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    fill(&mut wal, 3);
    let torn_at = wal.tail.offset;
    append(&mut wal, 3, &[entry(4, 1, 3000), entry(5, 1, 3000)]);
    wal.current.file.write_all_at(&[0xee; 64], torn_at).unwrap();
    drop(wal);
    let (mut wal, recovered) = open(&directory, 3).unwrap();
    let torn = recovered.torn.expect("the second record of the group is still there");
    assert_eq!((torn.offset, torn.group, recovered.last_index), (torn_at, 4, 3));
    append(&mut wal, 3, &[entry(4, 2, 10)]);
    drop(wal);
    let (_, recovered) = open(&directory, 3).unwrap();
    assert_eq!((recovered.last_index, recovered.torn), (4, None));
}

#[test]
fn corruption_in_the_middle_refuses_to_open_and_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    fill(&mut wal, 2);
    let bad = wal.tail.offset;
    fill(&mut wal, 2);
    let path = wal.current.path.clone();
    wal.current.file.write_all_at(&[0xee], bad + 20).unwrap();
    drop(wal);
    let before = std::fs::read(&path).unwrap();
    let error = open(&directory, 0).err().expect("it is corrupt").to_string();
    assert!(error.contains("0000000000000001-0000000000000001.wal"), "{error}");
    assert!(error.contains(&format!("offset {bad}")), "{error}");
    assert!(error.contains("rebuild this member"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "a refused log is left as it is");
}

#[test]
fn a_damaged_last_group_is_refused_when_a_hint_stands_behind_it() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    fill(&mut wal, 3);
    let bad = wal.tail.offset;
    fill(&mut wal, 1);
    wal.hint_commit(4).unwrap();
    let path = wal.current.path.clone();
    wal.current.file.write_all_at(&[0xee], bad + 20).unwrap();
    drop(wal);
    let before = std::fs::read(&path).unwrap();
    let error = open(&directory, 0).err().expect("the hint was written after the sync").to_string();
    assert!(error.contains(&format!("offset {bad}")) && error.contains("group 4 was synced"), "{error}");
    assert!(error.contains("rebuild this member"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "a refused log is left as it is");
}

#[test]
fn a_log_that_ends_before_the_database_is_refused() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    fill(&mut wal, 2);
    drop(wal);
    assert!(open(&directory, 2).is_ok());
    let error = open(&directory, 3).err().expect("entry 3 is missing").to_string();
    assert!(error.contains("entry 3 was applied to the database"), "{error}");
}

#[test]
fn files_are_private_and_leftovers_of_an_interrupted_fill_go() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    drop(open(&directory, 0).unwrap());
    let path = directory.path().join("wal");
    std::fs::write(path.join("spare-00000000000000ff.new"), b"half").unwrap();
    std::fs::write(path.join("spare-00000000000000fe.tmp"), b"wrong size").unwrap();
    drop(open(&directory, 0).unwrap());
    assert_eq!(files(&directory).len(), 1 + SPARES, "the helper finishes what it was asked for");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for name in files(&directory) {
        let metadata = path.join(&name).metadata().unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, SMALL.segment_bytes), "{name}");
    }
}

#[test]
#[should_panic(expected = "replaces a committed one")]
fn a_group_that_replaces_a_committed_entry_is_a_bug() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    append(&mut wal, 0, &[entry(1, 1, 5)]);
    append(&mut wal, 1, &[entry(2, 1, 5)]);
    append(&mut wal, 1, &[entry(1, 2, 5)]);
}

#[test]
fn readers_on_other_threads_see_whole_durable_groups_while_the_log_rolls_and_is_cut() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = open(&directory, 0).unwrap();
    let reader = wal.reader();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = reader.clone();
                scope.spawn(move || {
                    let mut seen = 0;
                    while seen < 2000 {
                        let (first, last) = (reader.first_index().max(seen + 1), reader.last_index());
                        match reader.entries(first, (last + 1).max(first), 8 << 10) {
                            Ok(entries) => {
                                for (index, found) in (first..).zip(entries) {
                                    assert_eq!(found, entry(index, 1, 200));
                                    seen = index;
                                }
                            }
                            Err(ReadError::Compacted { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            fill(&mut wal, 100);
            let last = wal.reader().last_index();
            wal.cut(last - 50, last).unwrap();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Random groups, cuts, hints and reopenings against a plain list of entries.
    #[test]
    fn the_log_matches_a_list(steps in prop::collection::vec((0u8..10, 1u64..6, 0usize..3000), 1..40)) {
        let directory = TempDir::new().unwrap();
        let (mut wal, _) = open(&directory, 0).unwrap();
        let mut model: Vec<Entry> = Vec::new();
        let (mut term, mut commit, mut cut) = (1, 0u64, 1);
        for (kind, count, size) in steps {
            let last = model.len() as u64;
            match kind {
                0 => {
                    drop(wal);
                    let recovered;
                    (wal, recovered) = open(&directory, commit).unwrap();
                    prop_assert_eq!((recovered.last_index, recovered.torn), (last, None));
                    prop_assert_eq!(recovered.commit, commit);
                }
                1 => {
                    cut = commit.max(1);
                    wal.cut(cut, cut).unwrap();
                }
                2 => wal.hint_commit(last).unwrap(),
                3 if last > commit => {
                    term += 1;
                    let from = commit + 1;
                    model.truncate(commit as usize);
                    let entries: Vec<_> = (from..from + count).map(|index| entry(index, term, size)).collect();
                    append(&mut wal, commit, &entries);
                    model.extend(entries);
                }
                _ => {
                    commit += (last - commit) / 2;
                    let entries: Vec<_> = (last + 1..=last + count).map(|index| entry(index, term, size)).collect();
                    append(&mut wal, commit, &entries);
                    model.extend(entries);
                }
            }
            let reader = wal.reader();
            let last = model.len() as u64;
            prop_assert_eq!(reader.last_index(), last);
            prop_assert!(reader.first_index() <= cut);
            let low = reader.first_index();
            prop_assert_eq!(reader.entries(low, last + 1, u64::MAX).unwrap(), &model[low as usize - 1..]);
        }
    }
}
