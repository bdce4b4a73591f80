//! Damage of every bit and row of `values` and `keys`, against the scrub.

use super::fixture::Store;
use crate::backend::{Family, View, WriteBatch};
use crate::memory::Memory;
use crate::mvcc::{APPLIED_KEY, Position, Revision, ScrubLimits, scrub, sweep};

const ALL: ScrubLimits = ScrubLimits { versions: usize::MAX, bytes: usize::MAX };

/// Keys with several versions, leases and tombstones, compacted and half swept.
fn store() -> Store {
    let mut store = Store::new();
    for round in 0..3 {
        for key in ["a", "b", "c"] {
            store.put(key, &format!("{key}{round}"));
        }
    }
    store.delete("b", "");
    store.put("b", "again");
    store.delete("c", "");
    store.compact(9).unwrap();
    let position = Position::load(&store.rows).unwrap();
    let swept = sweep(&store.rows, &store.state(), position, 3).unwrap();
    store.rows.write(&swept.batch);
    store
}

fn rows(view: &Memory, family: Family) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = view.cursor(family, &[], None).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = cursor.next().unwrap() {
        // The applied index stands in every family; opening compares it.
        if row.key != APPLIED_KEY {
            rows.push((row.key.to_vec(), row.value.to_vec()));
        }
    }
    rows
}

#[test]
fn everything_is_reread_once_in_steps_of_any_size() {
    let store = store();
    let whole = scrub(&store.rows, Revision::default(), ALL).unwrap();
    assert_eq!((whole.next, whole.versions), (None, rows(&store.rows, Family::Log).len()));
    for limits in [ScrubLimits { versions: 1, ..ALL }, ScrubLimits { versions: 4, bytes: 90 }] {
        let (mut from, mut versions) = (Some(Revision::default()), 0);
        while let Some(at) = from {
            let step = scrub(&store.rows, at, limits).unwrap();
            (from, versions) = (step.next, versions + step.versions);
        }
        assert_eq!(versions, whole.versions, "{limits:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_value_or_a_key_and_every_lost_row_is_found() {
    let store = store();
    let mut tried = 0;
    for family in [Family::Values, Family::Keys] {
        for (key, value) in rows(&store.rows, family) {
            let flipped = (0..value.len() * 8).map(|bit| {
                let mut damaged = value.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                Some(damaged)
            });
            for damaged in flipped.chain([None]) {
                let mut view = store.rows.clone();
                let mut batch = WriteBatch::default();
                match &damaged {
                    Some(damaged) => batch.put(family, key.clone(), damaged.clone()),
                    None => batch.delete(family, key.clone()),
                }
                view.write(&batch);
                let found = scrub(&view, Revision::default(), ALL);
                let error = found.expect_err(&format!("{family:?} {key:?} {value:?} as {damaged:?}"));
                assert!(error.for_client().is_none(), "{error}");
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000, "{tried}");
}
