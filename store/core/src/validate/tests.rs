//! Shapes that etcd refuses, and those that slip through its checks and ours.

use super::*;

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn op_put(key: &'static str) -> pb::RequestOp {
    op(Request::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() }))
}

fn op_delete(key: &'static str, end: &'static str) -> pb::RequestOp {
    op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: false }))
}

fn branch(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

fn op_txn(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
    op(Request::RequestTxn(pb::TxnRequest { compare: vec![], success, failure }))
}

#[test]
fn single_requests() {
    let key = || bytes::Bytes::from_static(b"k");
    let with = |sort_order, sort_target| pb::RangeRequest { key: key(), sort_order, sort_target, ..Default::default() };
    assert_eq!(range(&pb::RangeRequest::default()), Err(Error::EmptyKey));
    assert_eq!(range(&with(3, 0)), Err(Error::InvalidSortOption));
    assert_eq!(range(&with(0, -1)), Err(Error::InvalidSortOption));
    assert_eq!(range(&with(2, 4)), Ok(()));
    let default = || pb::PutRequest { key: key(), ..Default::default() };
    assert_eq!(put(&pb::PutRequest { key: bytes::Bytes::new(), ..default() }), Err(Error::EmptyKey));
    assert_eq!(put(&pb::PutRequest { ignore_value: true, value: key(), ..default() }), Err(Error::ValueProvided));
    assert_eq!(put(&pb::PutRequest { ignore_lease: true, lease: 1, ..default() }), Err(Error::LeaseProvided));
    assert_eq!(put(&pb::PutRequest { ignore_lease: true, ignore_value: true, ..default() }), Ok(()));
    assert_eq!(delete_range(&pb::DeleteRangeRequest::default()), Err(Error::EmptyKey));
    assert_eq!(lease_grant(&pb::LeaseGrantRequest { ttl: 9_000_000_000, id: 0 }), Ok(()));
    assert_eq!(lease_grant(&pb::LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }), Err(Error::LeaseTTLTooLarge));
}

#[test]
fn operations_are_counted_by_the_longest_list_and_nested_ones_get_what_is_left() {
    let puts = |keys: &[&'static str]| keys.iter().map(|key| op_put(key)).collect::<Vec<_>>();
    assert_eq!(txn(&branch(puts(&["a", "b"])), 2), Ok(()));
    assert_eq!(txn(&branch(puts(&["a", "b", "c"])), 2), Err(Error::TooManyOps));
    // Each sibling has the whole rest for itself.
    let siblings = branch(vec![op_txn(puts(&["a"]), vec![]), op_txn(puts(&["b"]), vec![])]);
    assert_eq!(txn(&siblings, 3), Ok(()));
    assert_eq!(txn(&siblings, 2), Err(Error::TooManyOps));
    let compare = pb::TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() };
    assert_eq!(txn(&compare, 1), Err(Error::EmptyKey));
    assert_eq!(txn(&branch(vec![pb::RequestOp { request: None }]), 1), Err(Error::KeyNotFound));
    assert_eq!(txn(&branch(vec![op_put("")]), 1), Err(Error::EmptyKey));
}

#[test]
fn a_key_is_put_once_and_not_deleted_beside_it() {
    let (ok, duplicate) = (Ok(()), Err(Error::DuplicateKey));
    for (name, ops, expected) in [
        ("two puts", vec![op_put("a"), op_put("a")], &duplicate),
        ("put in a deleted range", vec![op_put("b"), op_delete("a", "c")], &duplicate),
        ("put of the deleted key", vec![op_delete("a", ""), op_put("a")], &duplicate),
        ("put at the end of a range", vec![op_delete("a", "c"), op_put("c")], &ok),
        ("overlapping deletes", vec![op_delete("a", "c"), op_delete("b", "d")], &ok),
        ("a delete from a key on is not seen", vec![op_delete("a", "\0"), op_put("b")], &ok),
        ("then and else share a key", vec![op_txn(vec![op_put("a")], vec![op_put("a")])], &ok),
        ("child and this level", vec![op_txn(vec![op_put("a")], vec![]), op_put("a")], &duplicate),
        ("else of a child and this level", vec![op_txn(vec![], vec![op_put("a")]), op_put("a")], &duplicate),
        ("siblings", vec![op_txn(vec![op_put("a")], vec![]), op_txn(vec![], vec![op_put("a")])], &duplicate),
        ("child's put, delete of this level", vec![op_txn(vec![op_put("a")], vec![]), op_delete("a", "b")], &duplicate),
        ("child's delete, put of this level", vec![op_txn(vec![op_delete("a", "b")], vec![]), op_put("a")], &duplicate),
        (
            "child's delete, later sibling's put",
            vec![op_txn(vec![op_delete("a", "b")], vec![]), op_txn(vec![op_put("a")], vec![])],
            &duplicate,
        ),
        (
            "child's delete, earlier sibling's put",
            vec![op_txn(vec![op_put("a")], vec![]), op_txn(vec![op_delete("a", "b")], vec![])],
            &ok,
        ),
        ("then puts, else deletes", vec![op_txn(vec![op_put("a")], vec![op_delete("a", "")])], &ok),
    ] {
        assert_eq!(&txn(&branch(ops.clone()), 16), expected, "{name}");
        let failure = pb::TxnRequest { failure: ops, ..Default::default() };
        assert_eq!(&txn(&failure, 16), expected, "{name}, in failure");
    }
}

#[test]
fn success_and_failure_are_apart() {
    let request = pb::TxnRequest { compare: vec![], success: vec![op_put("a")], failure: vec![op_put("a")] };
    assert_eq!(txn(&request, 16), Ok(()));
}
