//! Transactions: what binds beyond their single operations.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{
    self as pb, compare::TargetUnion, request_op::Request as Op, response_op::Response as Answer,
};

use super::fixture::*;
use crate::apply::Response;
use crate::command::Request;
use crate::mvcc;

fn compare(key: &str, target: i32, result: i32, target_union: Option<TargetUnion>) -> pb::Compare {
    pb::Compare { key: bytes(key), target, result, target_union, range_end: bytes("") }
}

fn run(store: &mut Store, request: pb::TxnRequest) -> Result<pb::TxnResponse, ApiError> {
    match store.apply(Request::Txn(request))? {
        Response::Txn(response) => Ok(response),
        other => panic!("{other:?}"),
    }
}

const EQUAL: i32 = 0;
const GREATER: i32 = 1;
const NOT_EQUAL: i32 = 3;

#[test]
fn a_value_compare_of_a_missing_key_is_false_even_when_asked_for_unequal() {
    let mut store = Store::new();
    store.put("k", "v");
    let value = |text: &str| Some(TargetUnion::Value(bytes(text)));
    for (compare, expected) in [
        (compare("missing", 3, NOT_EQUAL, value("v")), false),
        (compare("missing", 3, EQUAL, None), false),
        (compare("k", 3, NOT_EQUAL, value("w")), true),
        (pb::Compare { range_end: bytes("\0"), ..compare("l", 3, NOT_EQUAL, value("v")) }, false),
        (compare("missing", 0, EQUAL, Some(TargetUnion::Version(0))), true),
        (compare("missing", 1, EQUAL, None), true),
        (compare("missing", 4, NOT_EQUAL, Some(TargetUnion::Lease(1))), true),
        // A union member of another target means zero.
        (compare("k", 2, GREATER, Some(TargetUnion::Version(100))), true),
        (pb::Compare { range_end: bytes("\0"), ..compare("a", 0, EQUAL, Some(TargetUnion::Version(1))) }, true),
    ] {
        let response = run(&mut store, txn(vec![compare.clone()], vec![], vec![])).unwrap();
        assert_eq!(response.succeeded, expected, "{compare:?}");
    }
}

#[test]
fn every_key_of_a_compared_range_must_satisfy() {
    let mut store = Store::new();
    store.put("a", "v");
    store.put("b", "v");
    store.put("b", "v");
    let versions =
        |given| pb::Compare { range_end: bytes("c"), ..compare("a", 0, EQUAL, Some(TargetUnion::Version(given))) };
    assert!(!run(&mut store, txn(vec![versions(1)], vec![], vec![])).unwrap().succeeded);
    let values = pb::Compare { range_end: bytes("c"), ..compare("a", 3, EQUAL, Some(TargetUnion::Value(bytes("v")))) };
    assert!(run(&mut store, txn(vec![values], vec![], vec![])).unwrap().succeeded);
}

#[test]
fn nested_compares_see_the_state_before_and_nested_ranges_what_was_written() {
    let mut store = Store::new();
    let exists = compare("k", 0, NOT_EQUAL, Some(TargetUnion::Version(0)));
    let nested = txn(vec![exists], vec![op_put("then", "")], vec![op_range("k", ""), op_put("else", "")]);
    let request = txn(vec![], vec![op_put("k", "v"), op(Op::RequestTxn(nested))], vec![]);
    let response = run(&mut store, request).unwrap();
    assert_eq!(response.header.unwrap().revision, 2);
    let Some(Answer::ResponseTxn(nested)) = &response.responses[1].response else { panic!() };
    assert!(!nested.succeeded);
    assert_eq!(nested.header, Some(pb::ResponseHeader::default()), "present but empty");
    let Some(Answer::ResponseRange(range)) = &nested.responses[0].response else { panic!() };
    assert_eq!((range.kvs[0].mod_revision, range.header.unwrap().revision), (2, 2));
    assert_eq!(store.get("else").unwrap().mod_revision, 2);
}

#[test]
fn one_failed_check_on_the_path_applies_nothing_and_only_the_path_is_checked() {
    let mut store = Store::new();
    let leased = |lease| op(Op::RequestPut(pb::PutRequest { lease, ..put_request("l", "") }));
    let future = op(Op::RequestRange(pb::RangeRequest { revision: 9, ..range("a", "") }));
    let below = op(Op::RequestRange(pb::RangeRequest { revision: -5, ..range("a", "") }));
    for (bad, expected) in [
        (leased(3), ApiError::LeaseNotFound),
        (future, ApiError::FutureRev),
        // Only 0 is the newest here; -5 is below even the watermark before the first compaction.
        (below, ApiError::Compacted),
    ] {
        let request = txn(vec![], vec![op_put("k", "v"), bad.clone()], vec![]);
        assert_eq!(run(&mut store, request), Err(expected));
        assert_eq!((store.machine.revision(), store.get("k")), (1, None));
        assert!(run(&mut store, txn(vec![], vec![], vec![bad])).unwrap().succeeded);
    }
}

#[test]
fn a_key_may_change_more_than_once_under_one_revision() {
    let mut store = Store::new();
    // The delete of everything from a key on is not seen by the check of duplicates.
    let request = txn(vec![], vec![op_put("k", "1"), op_delete("a", "\0"), op_put("k2", "")], vec![]);
    assert_eq!(crate::validate::txn(&request, 128), Ok(()));
    let applied = store.turn(vec![vec![Request::Txn(request)]]);
    let revisions: Vec<_> = applied.events.iter().map(|event| (event.revision.main, event.revision.sub)).collect();
    assert_eq!(revisions, [(2, 0), (2, 1), (2, 2)]);
    assert_eq!(store.get("k"), None);
    store.compact(2).unwrap();
    store.sweep(1);
    // The put went, the tombstone stays: it is of exactly the watermark.
    let limits = mvcc::EventLimits { events_max: 1, bytes_max: 1 };
    let read = mvcc::events(&store.rows, mvcc::Revision::new(2, 0), 2, limits).unwrap();
    let subs: Vec<_> = read.events.iter().map(|event| event.revision.sub).collect();
    assert_eq!((subs, read.next_main), (vec![1, 2], 3), "a main revision is never split");
}

#[test]
fn a_put_that_keeps_the_value_of_a_key_deleted_before_it_is_refused() {
    let mut store = Store::new();
    store.put("k", "v");
    let keeps = op(Op::RequestPut(pb::PutRequest { ignore_value: true, ..put_request("k", "") }));
    let request = txn(vec![], vec![op_delete("a", "\0"), keeps], vec![]);
    assert_eq!(run(&mut store, request), Err(ApiError::KeyNotFound));
    assert!(store.get("k").is_some());
}

#[test]
fn a_transaction_without_effect_takes_no_revision() {
    let mut store = Store::new();
    store.put("k", "v");
    let response = run(&mut store, txn(vec![], vec![op_range("k", ""), op_delete("missing", "")], vec![])).unwrap();
    assert_eq!(response.header.unwrap().revision, 2);
    let Some(Answer::ResponseDeleteRange(delete)) = &response.responses[1].response else { panic!() };
    assert_eq!((delete.deleted, delete.header.unwrap().revision), (0, 2));
}

#[test]
fn only_plain_ranges_make_a_transaction_read_only() {
    let serializable = op(Op::RequestRange(pb::RangeRequest { serializable: true, ..range("k", "") }));
    let nested = op(Op::RequestTxn(txn(vec![], vec![op_range("k", "")], vec![])));
    for (request, read_only, serializable) in [
        (txn(vec![], vec![], vec![]), true, true),
        (txn(vec![], vec![op_range("k", "")], vec![serializable.clone()]), true, false),
        (txn(vec![], vec![serializable.clone()], vec![serializable]), true, true),
        (txn(vec![], vec![nested], vec![]), false, false),
        (txn(vec![], vec![op_range("k", "")], vec![op_put("k", "")]), false, false),
    ] {
        assert_eq!((mvcc::is_read_only(&request), mvcc::is_serializable(&request)), (read_only, serializable));
    }
}
