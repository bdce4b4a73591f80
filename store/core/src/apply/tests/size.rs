//! Sizes over many buckets of revisions, and keys with many versions.

use super::fixture::*;
use crate::mvcc::size::BUCKET_REVISIONS;
use crate::mvcc::{BASE_BYTES, logical_bytes};

/// Bytes of etcd's row of a key of one byte with a value of three, at a revision whose varint has two bytes (128 to 16 383).
fn row_bytes(create_revision_bytes: u64, version_bytes: u64) -> u64 {
    // Backend key, then key, create revision, mod revision, version, value.
    17 + 3 + (1 + create_revision_bytes) + 3 + (1 + version_bytes) + 5
}

#[test]
fn compacting_frees_whole_buckets_and_the_exact_part_of_the_last() {
    let mut store = Store::new();
    let last = 3 * BUCKET_REVISIONS + 100;
    let entry = (2..=last).map(|_| put("k", "val")).collect();
    store.turn(vec![entry]);
    assert_eq!(store.machine.revision(), last);
    let full = store.machine.size_in_use_bytes();
    let mut before = full;
    let mut watermark = 300;
    store.compact(watermark).unwrap();
    assert!(store.machine.size_in_use_bytes() < before);
    before = store.machine.size_in_use_bytes();
    for (revision, swept) in [(301, true), (BUCKET_REVISIONS, false), (2 * BUCKET_REVISIONS + 7, true), (last, false)] {
        store.compact(revision).unwrap();
        let freed = u64::try_from(revision - watermark).unwrap() * row_bytes(1, 2);
        assert_eq!(before - store.machine.size_in_use_bytes(), freed, "from {watermark} to {revision}");
        (watermark, before) = (revision, store.machine.size_in_use_bytes());
        if swept {
            store.sweep(500);
        }
    }
    assert_eq!(store.machine.size_in_use_bytes(), BASE_BYTES + row_bytes(1, 2), "one row is left");
    assert_eq!(logical_bytes(&store.rows).unwrap(), row_bytes(1, 2));
    store.delete("k", "");
    store.put("l", "val");
    store.compact(last + 2).unwrap();
    assert_eq!(store.machine.size_in_use_bytes(), BASE_BYTES + row_bytes(2, 1), "the tombstone went too");
}

#[test]
fn many_versions_of_a_key_are_passed_over_to_the_one_that_is_read() {
    let mut store = Store::new();
    for round in 0..40 {
        store.put("a", &round.to_string());
        store.put("b", &round.to_string());
        store.put("b\0", &round.to_string());
    }
    store.delete("b", "");
    for (revision, expected) in [
        (122, vec![("a", 119), ("b\0", 121)]),
        (121, vec![("a", 119), ("b", 120), ("b\0", 121)]),
        (61, vec![("a", 59), ("b", 60), ("b\0", 61)]),
        (60, vec![("a", 59), ("b", 60), ("b\0", 58)]),
        (3, vec![("a", 2), ("b", 3)]),
        (2, vec![("a", 2)]),
        (1, vec![]),
    ] {
        let request = quorate_api::etcdserverpb::RangeRequest { revision, ..range("a", "\0") };
        let response = store.range(request).unwrap();
        let found: Vec<_> =
            response.kvs.iter().map(|kv| (std::str::from_utf8(&kv.key).unwrap(), kv.mod_revision)).collect();
        assert_eq!(found, expected, "at {revision}");
    }
}
