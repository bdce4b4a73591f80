//! RocksDB on a full disk: a flush waits for room instead of closing the database, and says so meanwhile. Alone in its process, as
//! RocksDB's threads must all see the small file system.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

#[path = "cluster/small_disk.rs"]
mod small_disk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::backend::{Backend, Options, Trouble};
use quorate_core::apply::AppliedIndex;
use quorate_core::backend::{Family, View, WriteBatch};
use quorate_core::mvcc::APPLIED_KEY;
use small_disk::SmallDisk;

const ROWS: u32 = 500;

/// A row that does not compress, with the applied rows that every batch has.
fn batch(index: u64, value: u8) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let mut state = index << 8 | u64::from(value);
    let noise = (0..16 << 10).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    batch.put(Family::Values, index.to_be_bytes().to_vec(), noise.collect::<Vec<u8>>());
    let applied = AppliedIndex { index, term: 1 }.encode();
    Family::ALL.iter().for_each(|family| batch.put(*family, APPLIED_KEY, applied.clone()));
    batch
}

#[test]
fn a_flush_waits_for_room_and_the_database_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), 64);
    let path = folder.path().join("db");
    let options = Options { memory_bytes: 64 << 20, compaction_threads: 1, write_bytes_per_second: 1 << 30 };
    let backend = Arc::new(Backend::open(&path, options).unwrap());
    for index in 1..=u64::from(ROWS) {
        backend.write(&batch(index, 0)).unwrap();
    }
    disk.fill(64 << 10);
    let flushing = backend.clone();
    let flush = std::thread::spawn(move || flushing.flush());
    let deadline = Instant::now() + Duration::from_secs(30);
    let trouble = loop {
        assert!(Instant::now() < deadline, "nothing was reported");
        if let Some(trouble) = backend.trouble() {
            break trouble;
        }
        std::thread::yield_now();
    };
    assert!(matches!(&trouble, Trouble::Full(text) if text.contains("No space left on device")), "{trouble:?}");
    assert_eq!(backend.durable_applied().unwrap(), (0, 0));
    // It still reads, and takes writes into memory.
    backend.write(&batch(u64::from(ROWS) + 1, 0)).unwrap();
    assert!(backend.live().get(Family::Values, &7u64.to_be_bytes()).unwrap().is_some());
    assert!(!flush.is_finished());

    disk.free();
    flush.join().unwrap().unwrap();
    assert_eq!(backend.trouble(), None);
    backend.flush().unwrap();
    assert_eq!(backend.durable_applied().unwrap(), (u64::from(ROWS) + 1, 1));
    drop(backend);
    let copy = Backend::open(&path, options).unwrap();
    for index in 1..=u64::from(ROWS) + 1 {
        assert!(copy.live().get(Family::Values, &index.to_be_bytes()).unwrap().is_some(), "row {index}");
    }

    // A member that is told to stop must not wait for room.
    copy.write(&batch(u64::from(ROWS) + 2, 0)).unwrap();
    disk.fill(4 << 10);
    let copy = Arc::new(copy);
    let flushing = copy.clone();
    let flush = std::thread::spawn(move || flushing.flush());
    while copy.trouble().is_none() {
        assert!(Instant::now() < deadline + Duration::from_secs(30), "nothing was reported");
        std::thread::yield_now();
    }
    copy.abandon();
    assert!(flush.join().unwrap().is_err(), "the flush was given up");
    drop(copy);
    disk.free();
    let copy = Backend::open(&path, options).unwrap();
    assert_eq!(copy.durable_applied().unwrap(), (u64::from(ROWS) + 1, 1));
}
