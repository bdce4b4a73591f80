//! Put, delete, range and compact: what clients of etcd rely on.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;

use super::fixture::*;
use crate::apply::Response;
use crate::command::Request;
use crate::mvcc::{self, Error};

fn keys(response: &pb::RangeResponse) -> Vec<String> {
    response.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

#[test]
fn an_empty_store_has_revision_one_and_each_write_that_changes_takes_the_next() {
    let mut store = Store::new();
    assert_eq!((store.machine.revision(), store.machine.compact_revision()), (1, -1));
    assert_eq!(store.put("k", "v"), 2);
    assert_eq!(store.delete("missing", "").header.unwrap().revision, 2);
    assert_eq!(store.delete("k", "").header.unwrap().revision, 3);
    assert_eq!(store.delete("k", "").deleted, 0);
    store.grant(5);
    store.revoke(5, None).unwrap();
    assert_eq!(store.machine.revision(), 3);
}

#[test]
fn versions_count_puts_and_begin_again_after_a_delete() {
    let mut store = Store::new();
    store.put("k", "1");
    store.put("k", "1");
    let kv = store.get("k").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    store.delete("k", "");
    store.put("k", "");
    let kv = store.get("k").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn what_a_put_keeps_must_exist() {
    let mut store = Store::new();
    store.grant(7);
    let request = |ignore_value, ignore_lease, lease| {
        Request::Put(pb::PutRequest {
            key: bytes("k"),
            lease,
            ignore_value,
            ignore_lease,
            prev_kv: true,
            ..Default::default()
        })
    };
    assert_eq!(store.apply(request(true, false, 0)), Err(ApiError::KeyNotFound));
    assert_eq!(store.apply(request(false, true, 0)), Err(ApiError::KeyNotFound));
    // The lease is tested first.
    assert_eq!(store.apply(request(true, false, 8)), Err(ApiError::LeaseNotFound));
    store.put("k", "v");
    let Response::Put(response) = store.apply(request(true, false, 7)).unwrap() else { panic!() };
    assert_eq!(response.prev_kv.unwrap().value, "v");
    let kv = store.get("k").unwrap();
    assert_eq!((&kv.value[..], kv.lease), (&b"v"[..], 7));
    store.apply(request(false, true, 0)).unwrap();
    let kv = store.get("k").unwrap();
    assert_eq!((&kv.value[..], kv.lease), (&b""[..], 7));
}

#[test]
fn the_watermark_itself_is_readable_and_headers_tell_the_newest_revision() {
    let mut store = Store::new();
    for _ in 0..5 {
        store.put("k", "v");
    }
    store.compact(4).unwrap();
    let at = |revision| store.range(pb::RangeRequest { revision, ..range("k", "") });
    let response = at(4).unwrap();
    assert_eq!((response.kvs[0].mod_revision, response.header.unwrap().revision), (4, 6));
    assert!(matches!(at(3), Err(Error::Compacted)));
    assert!(matches!(at(7), Err(Error::FutureRevision)));
    assert_eq!(at(-3).unwrap().kvs[0].mod_revision, 6);
}

#[test]
fn compaction_refuses_what_is_compacted_or_to_come() {
    let mut store = Store::new();
    store.put("k", "v");
    let compacted = |revision| {
        Ok(Response::Compact(pb::CompactionResponse {
            header: Some(pb::ResponseHeader { revision, ..Default::default() }),
        }))
    };
    for (revision, expected) in [
        (-1, Err(ApiError::Compacted)),
        // Before the first compaction the watermark is -1.
        (0, compacted(2)),
        (0, Err(ApiError::Compacted)),
        (3, Err(ApiError::FutureRev)),
        (2, compacted(2)),
        (2, Err(ApiError::Compacted)),
    ] {
        assert_eq!(store.compact(revision), expected, "{revision}");
    }
}

#[test]
fn a_tombstone_stays_at_exactly_the_watermark_and_goes_above() {
    let mut store = Store::new();
    store.put("k", "v");
    store.delete("k", "");
    store.put("other", "v");
    let events = |store: &Store| {
        let limits = mvcc::EventLimits { events_max: 10, bytes_max: 1 << 20 };
        let read = mvcc::events(&store.rows, mvcc::Revision::new(0, 0), 9, limits).unwrap();
        read.events.iter().map(|event| event.revision.main).collect::<Vec<_>>()
    };
    store.compact(3).unwrap();
    store.sweep(1);
    assert_eq!(events(&store), vec![3, 4]);
    store.compact(4).unwrap();
    store.sweep(1);
    assert_eq!(events(&store), vec![4]);
}

#[test]
fn counts_ignore_the_limit_and_the_filters() {
    let mut store = Store::new();
    for key in ["a", "b", "c", "d"] {
        store.put(key, "v");
    }
    let response = store.range(pb::RangeRequest { limit: 2, ..range("a", "\0") }).unwrap();
    assert_eq!((keys(&response), response.more, response.count), (vec!["a".into(), "b".into()], true, 4));
    let response = store.range(pb::RangeRequest { limit: 1, min_mod_revision: 4, ..range("a", "\0") }).unwrap();
    assert_eq!((keys(&response), response.more, response.count), (vec!["c".into()], true, 4));
    let response = store.range(pb::RangeRequest { limit: 1, count_only: true, ..range("b", "d") }).unwrap();
    assert_eq!((response.kvs.len(), response.more, response.count), (0, false, 2));
    let response =
        mvcc::range_uncounted(&store.rows, &store.state(), &pb::RangeRequest { limit: 2, ..range("a", "\0") });
    assert!(response.unwrap().more);
    for (start, end) in [("c", "b"), ("c", "c")] {
        assert_eq!(store.range(range(start, end)).unwrap().count, 0, "{start} {end}");
        assert_eq!(store.delete(start, end).deleted, 0);
    }
}

#[test]
fn a_target_without_an_order_sorts_only_the_first_keys() {
    let mut store = Store::new();
    for key in ["c", "b", "a"] {
        store.put(key, "v");
    }
    let by_mod = |sort_order| pb::RangeRequest { limit: 1, sort_target: 3, sort_order, ..range("a", "\0") };
    // a and b were fetched, b is older.
    assert_eq!(keys(&store.range(by_mod(0)).unwrap()), ["b"]);
    assert_eq!(keys(&store.range(by_mod(1)).unwrap()), ["c"]);
    assert_eq!(keys(&store.range(by_mod(2)).unwrap()), ["a"]);
    // Equal elements keep the order of keys in both directions.
    for sort_order in [1, 2] {
        let by_value = pb::RangeRequest { sort_target: 4, sort_order, ..range("a", "\0") };
        assert_eq!(keys(&store.range(by_value).unwrap()), ["a", "b", "c"]);
    }
}

#[test]
fn keys_only_has_no_lease_unless_it_was_sorted_by_value() {
    let mut store = Store::new();
    store.grant(7);
    store.apply(put_leased("k", 7)).unwrap();
    store.apply(put_leased("k", 7)).unwrap();
    for (revision, sort_target, lease) in [(0, 0, 0), (2, 0, 0), (0, 4, 7), (2, 4, 7)] {
        for end in ["", "\0"] {
            let request = pb::RangeRequest { keys_only: true, revision, sort_target, ..range("k", end) };
            let kv = &store.range(request).unwrap().kvs[0];
            assert_eq!(
                (kv.value.len(), kv.lease, kv.create_revision),
                (0, lease, 2),
                "{revision} {sort_target} {end:?}"
            );
            assert_eq!(kv.version, if revision == 0 { 2 } else { 1 });
        }
    }
}

#[test]
fn a_delete_tells_what_it_deleted_in_key_order_and_its_event_has_only_key_and_revision() {
    let mut store = Store::new();
    for key in ["b", "a", "c"] {
        store.put(key, key);
    }
    let request = pb::DeleteRangeRequest { prev_kv: true, ..delete_request("a", "c") };
    let applied = store.turn(vec![vec![Request::DeleteRange(request)]]);
    let Ok(Response::DeleteRange(response)) = &applied.outcomes[0].result else { panic!() };
    let values: Vec<_> = response.prev_kvs.iter().map(|kv| &kv.value[..]).collect();
    assert_eq!((response.deleted, values), (2, vec![&b"a"[..], b"b"]));
    let event = &applied.events[1];
    assert_eq!((event.revision, &event.key[..]), (mvcc::Revision::new(5, 1), &b"b"[..]));
    let expected = quorate_api::mvccpb::KeyValue { key: bytes("b"), mod_revision: 5, ..Default::default() };
    assert_eq!(event.kv, expected);
}

#[test]
fn a_later_command_of_an_entry_sees_the_earlier_ones_and_each_has_its_own_outcome() {
    let mut store = Store::new();
    let applied = store.turn(vec![
        vec![put("k", "1"), put_leased("k", 9), grant(9), put_leased("k", 9)],
        vec![],
        vec![delete("k", ""), put("k", "2"), Request::Compact(pb::CompactionRequest { revision: 4, physical: false })],
    ]);
    let ok: Vec<_> = applied.outcomes.iter().map(|outcome| outcome.result.is_ok()).collect();
    assert_eq!(ok, [true, false, true, true, true, true, true]);
    assert!(applied.outcomes.is_sorted_by_key(|outcome| outcome.id));
    assert_eq!((applied.revision, applied.compact_revision, applied.applied.index), (5, 4, 3));
    assert_eq!(store.get("k").unwrap().create_revision, 5);
    let mains: Vec<_> = applied.events.iter().map(|event| event.revision.main).collect();
    assert_eq!(mains, [2, 3, 4, 5]);
}
