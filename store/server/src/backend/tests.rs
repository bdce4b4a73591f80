//! The database against an ordered map, and against crashes.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::backend::{Cursor, View};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tempfile::TempDir;

use super::*;

const SMALL: Options = Options { memory_bytes: 16 << 20, compaction_threads: 1, write_bytes_per_second: 1 << 30 };

fn applied(index: Index, term: Term) -> Bytes {
    AppliedIndex { index, term }.encode()
}

fn open(directory: &TempDir) -> Backend {
    Backend::open(&directory.path().join("db"), SMALL).unwrap()
}

/// A batch as the state machine makes it: rows, and the applied row in every family.
fn batch(index: Index, rows: &[(Family, &str, &str)]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for (family, key, value) in rows {
        batch.put(*family, Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    }
    Family::ALL.iter().for_each(|family| batch.put(*family, APPLIED_KEY, applied(index, 1)));
    batch
}

/// What a crash at this moment leaves: a copy of the files, without the memory. Nothing writes meanwhile.
fn crash_image(backend: &Backend) -> TempDir {
    backend.database.rocks.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
    let image = TempDir::new().unwrap();
    let target = image.path().join("db");
    std::fs::create_dir(&target).unwrap();
    for entry in std::fs::read_dir(backend.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
        }
    }
    image
}

#[test]
fn after_a_crash_all_families_stand_at_the_last_flush() {
    let directory = TempDir::new().unwrap();
    let backend = open(&directory);
    assert_eq!(backend.durable_applied().unwrap(), (0, 0));
    backend.write(&batch(5, &[(Family::Keys, "a", "1"), (Family::Log, "b", "1")])).unwrap();
    assert_eq!(backend.durable_applied().unwrap(), (0, 0), "nothing was flushed");
    assert!(backend.unflushed_bytes() > 0);
    backend.flush().unwrap();
    assert_eq!(backend.durable_applied().unwrap(), (5, 1));
    assert_eq!(backend.unflushed_bytes(), 0);
    backend.write(&batch(6, &[(Family::Keys, "a", "2"), (Family::Lease, "c", "1")])).unwrap();
    assert_eq!(backend.durable_applied().unwrap(), (5, 1));

    let image = crash_image(&backend);
    let reopened = open(&image);
    assert_eq!(reopened.durable_applied().unwrap(), (5, 1));
    let live = reopened.live();
    assert_eq!(live.get(Family::Keys, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(live.get(Family::Lease, b"c").unwrap(), None);
    for family in Family::ALL {
        assert_eq!(live.get(family, APPLIED_KEY).unwrap(), Some(applied(5, 1)), "{}", family.name());
    }
}

#[test]
fn flushes_while_writing_leave_the_families_at_one_point() {
    let directory = TempDir::new().unwrap();
    let backend = open(&directory);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for index in 1..=2000 {
                backend.write(&batch(index, &[(Family::Values, "k", "v")])).unwrap();
            }
        });
        while !writer.is_finished() {
            backend.flush().unwrap();
        }
    });
    let durable = backend.durable_applied().unwrap();
    // Opening asserts that the families agree.
    let image = crash_image(&backend);
    assert_eq!(open(&image).durable_applied().unwrap(), durable);
}

#[test]
fn a_snapshot_sees_neither_later_writes_nor_later_deletes_and_outlives_the_backend() {
    let directory = TempDir::new().unwrap();
    let backend = open(&directory);
    backend.write(&batch(1, &[(Family::Keys, "a", "1"), (Family::Keys, "b", "1")])).unwrap();
    let snapshot = backend.snapshot();
    let mut change = batch(2, &[(Family::Keys, "a", "2"), (Family::Keys, "c", "2")]);
    change.delete(Family::Keys, &b"b"[..]);
    backend.write(&change).unwrap();
    backend.flush().unwrap();
    backend.compact(Family::Keys).unwrap();
    assert_eq!(backend.live().get(Family::Keys, b"b").unwrap(), None);
    assert_eq!(backend.metrics().snapshots, 1);
    drop(backend);
    let rows = std::thread::spawn(move || rows(&snapshot, Family::Keys, b"a", None)).join().unwrap();
    assert_eq!(rows, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())]);
    // The database was closed with the snapshot: it can be opened again.
    assert_eq!(open(&directory).live().get(Family::Keys, b"a").unwrap().as_deref(), Some(&b"2"[..]));
}

fn rows(view: &impl View, family: Family, lower: &[u8], upper: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = view.cursor(family, lower, upper).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = cursor.next().unwrap() {
        rows.push((row.key.to_vec(), row.value.to_vec()));
    }
    rows
}

#[test]
fn a_later_write_of_a_batch_wins() {
    let directory = TempDir::new().unwrap();
    let backend = open(&directory);
    let mut change = batch(1, &[(Family::Meta, "a", "1"), (Family::Meta, "a", "2"), (Family::Meta, "b", "1")]);
    change.delete(Family::Meta, &b"b"[..]);
    backend.write(&change).unwrap();
    assert_eq!(rows(&backend.live(), Family::Meta, b"a", None), [(b"a".to_vec(), b"2".to_vec())]);
}

#[test]
fn a_checkpoint_is_a_database_of_its_own_at_the_point_it_was_taken() {
    let directory = TempDir::new().unwrap();
    let backend = open(&directory);
    backend.write(&batch(7, &[(Family::Values, "a", "1")])).unwrap();
    let path = directory.path().join("checkpoint");
    backend.checkpoint(&path).unwrap();
    backend.write(&batch(8, &[(Family::Values, "a", "2")])).unwrap();
    let copy = Backend::open(&path, SMALL).unwrap();
    assert_eq!(copy.durable_applied().unwrap(), (7, 1));
    assert_eq!(copy.live().get(Family::Values, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(backend.checkpoint(&path).is_err(), "the directory exists");
}

#[test]
fn compaction_gives_the_space_of_deleted_rows_back() {
    let directory = TempDir::new().unwrap();
    let backend = open(&directory);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut fill = batch(1, &[]);
    let mut clear = batch(2, &[]);
    for number in 0..2000u32 {
        let mut value = vec![0; 500];
        random.fill_bytes(&mut value);
        fill.put(Family::Values, number.to_be_bytes().to_vec(), value);
        clear.delete(Family::Values, number.to_be_bytes().to_vec());
    }
    backend.write(&fill).unwrap();
    backend.flush().unwrap();
    let full = backend.metrics().live_file_bytes;
    backend.write(&clear).unwrap();
    backend.flush().unwrap();
    backend.compact(Family::Values).unwrap();
    let empty = backend.metrics().live_file_bytes;
    assert!(empty < full / 2, "{full} bytes before, {empty} after");
}

#[test]
fn families_at_different_points_are_refused() {
    let directory = TempDir::new().unwrap();
    let backend = open(&directory);
    backend.write(&batch(5, &[])).unwrap();
    let mut torn = WriteBatch::default();
    torn.put(Family::Meta, APPLIED_KEY, applied(6, 1));
    backend.write(&torn).unwrap();
    backend.flush().unwrap();
    drop(backend);
    let error = Backend::open(&directory.path().join("db"), SMALL).err().expect("meta is ahead").to_string();
    assert!(error.contains("keys at 5 of term 1") && error.contains("meta at 6 of term 1"), "{error}");
}

#[test]
fn an_unknown_family_is_refused_before_it_is_touched() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("db");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    let mut rocks = DB::open(&options, &path).unwrap();
    rocks.create_cf("future", &options).unwrap();
    drop(rocks);
    let error = Backend::open(&path, SMALL).err().expect("the family is unknown");
    assert!(matches!(&error, OpenError::UnknownFamily { family, .. } if family == "future"), "{error}");
}

#[test]
fn one_process_opens_a_database_once() {
    let directory = TempDir::new().unwrap();
    let _backend = open(&directory);
    assert!(matches!(Backend::open(&directory.path().join("db"), SMALL), Err(OpenError::RocksDb { .. })));
}

/// One step of a cursor.
#[derive(Debug, Clone)]
enum Step {
    Seek(Vec<u8>),
    SeekBack(Vec<u8>),
    Next,
    Back,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', b'b', 0xff]), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![key().prop_map(Step::Seek), key().prop_map(Step::SeekBack), Just(Step::Next), Just(Step::Back)]
}

/// The rows between the bounds and a place among them: `2 * i + 1` is row i, even numbers lie between rows.
struct Model {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    place: Option<usize>,
}

impl Model {
    fn step(&mut self, step: &Step) -> Option<&(Vec<u8>, Vec<u8>)> {
        let count = self.rows.len();
        let row = match step {
            Step::Seek(key) => self.rows.iter().position(|(at, _)| at >= key),
            Step::SeekBack(key) => self.rows.iter().rposition(|(at, _)| at <= key),
            // Where the cursor was never moved, it stands before the first row for `next` and behind the last for `back`.
            Step::Next => Some(self.place.map_or(0, |place| place.div_ceil(2))),
            Step::Back => self.place.map_or(count, |place| place / 2).checked_sub(1),
        };
        let row = row.filter(|row| *row < count);
        self.place = Some(match (row, step) {
            (Some(row), _) => 2 * row + 1,
            (None, Step::Seek(_) | Step::Next) => 2 * count,
            (None, Step::SeekBack(_) | Step::Back) => 0,
        });
        row.map(|row| &self.rows[row])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cursors_walk_like_those_of_an_ordered_map(
        puts in prop::collection::vec((key(), any::<bool>()), 0..60),
        walks in prop::collection::vec((key(), prop::option::of(key()), prop::collection::vec(step(), 1..20)), 1..20),
        flush_at in 0usize..60,
    ) {
        let directory = TempDir::new().unwrap();
        let backend = open(&directory);
        let mut map = BTreeMap::new();
        for (number, (key, is_delete)) in puts.into_iter().enumerate() {
            let mut change = WriteBatch::default();
            if is_delete && number % 3 == 0 {
                change.delete(Family::Values, key.clone());
                map.remove(&key);
            } else {
                let value = number.to_be_bytes().to_vec();
                change.put(Family::Values, key.clone(), value.clone());
                map.insert(key, value);
            }
            backend.write(&change).unwrap();
            if number == flush_at {
                backend.flush().unwrap();
            }
        }
        let (live, snapshot) = (backend.live(), backend.snapshot());
        for (lower, upper, steps) in walks {
            let inside = |key: &Vec<u8>| *key >= lower && upper.as_ref().is_none_or(|upper| key < upper);
            let rows: Vec<_> = map.iter().filter(|(key, _)| inside(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
            let mut model = Model { rows, place: None };
            let mut cursors = [
                live.cursor(Family::Values, &lower, upper.as_deref()).unwrap(),
                snapshot.cursor(Family::Values, &lower, upper.as_deref()).unwrap(),
            ];
            for step in &steps {
                let expected = model.step(step).cloned();
                for cursor in &mut cursors {
                    let found = take(cursor.as_mut(), step);
                    prop_assert_eq!(&found, &expected, "{:?} in {:?}..{:?}", step, lower, upper);
                }
            }
        }
    }
}

fn take(cursor: &mut dyn Cursor, step: &Step) -> Option<(Vec<u8>, Vec<u8>)> {
    let row = match step {
        Step::Seek(key) => cursor.seek(key),
        Step::SeekBack(key) => cursor.seek_back(key),
        Step::Next => cursor.next(),
        Step::Back => cursor.back(),
    };
    row.unwrap().map(|row| (row.key.to_vec(), row.value.to_vec()))
}

#[test]
fn a_database_on_a_disk_that_fails_is_not_said_to_need_a_rebuild() {
    for (reason, remedy) in [
        ("IO error: While fsync: a directory: Input/output error", "see to the disk"),
        ("IO error: Read-only file system: While open a file for appending: /db/000044.dbtmp", "mount it again"),
    ] {
        let error = OpenError::of(Path::new("/db"), reason.to_owned());
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains(remedy) && !text.contains("rebuild"), "{text}");
        assert!(!error.is_refusal());
    }
}
