//! Leases, alarms and the quota.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;

use super::fixture::*;
use crate::apply::{LeaseChange, Limits, Response, attached_keys};
use crate::command::{Expiry, Request};

fn alarm(store: &mut Store, action: i32, alarm: i32, member_id: u64) -> Vec<pb::AlarmMember> {
    match store.apply(Request::Alarm(pb::AlarmRequest { action, member_id, alarm })).unwrap() {
        Response::Alarm(response) => {
            assert_eq!(response.header.unwrap().revision, store.machine.revision());
            response.alarms
        }
        other => panic!("{other:?}"),
    }
}

const GET: i32 = 0;
const ACTIVATE: i32 = 1;
const DEACTIVATE: i32 = 2;
const NONE: i32 = 0;
const NOSPACE: i32 = 1;
const CORRUPT: i32 = 2;

#[test]
fn a_key_belongs_to_one_lease_and_moves_with_each_put() {
    let mut store = Store::new();
    store.grant(1);
    store.grant(-2);
    let attached = |store: &Store| [1, -2].map(|id| attached_keys(&store.rows, id).unwrap().len());
    for (lease, expected) in [(1, [1, 0]), (1, [1, 0]), (-2, [0, 1]), (0, [0, 0]), (-2, [0, 1])] {
        store.apply(put_leased("k", lease)).unwrap();
        assert_eq!(attached(&store), expected, "{lease}");
    }
    store.delete("k", "");
    assert_eq!(attached(&store), [0, 0]);
    assert_eq!(store.apply(put_leased("k", 3)), Err(ApiError::LeaseNotFound));
}

#[test]
fn a_revoke_deletes_its_keys_in_order_under_one_revision() {
    let mut store = Store::new();
    store.grant(-1);
    store.grant(2);
    for key in ["c", "a", "b"] {
        store.apply(put_leased(key, -1)).unwrap();
    }
    store.apply(put_leased("kept", 2)).unwrap();
    let applied = store.turn(vec![vec![Request::LeaseRevoke { id: -1, expiry: None }]]);
    let deleted: Vec<_> = applied.events.iter().map(|event| (&event.key[..], event.revision.sub)).collect();
    assert_eq!(deleted, [(&b"a"[..], 0), (b"b", 1), (b"c", 2)]);
    assert_eq!((applied.revision, applied.leases), (6, vec![LeaseChange::Revoked { id: -1 }]));
    assert!(store.get("kept").is_some());
    assert_eq!(store.revoke(-1, None), Err(ApiError::LeaseNotFound));
}

#[test]
fn an_expiry_has_effect_only_on_the_lease_and_in_the_term_it_was_seen_in() {
    let mut store = Store::new();
    store.term = 4;
    let applied = store.turn(vec![vec![grant(9)]]);
    let [LeaseChange::Granted { id: 9, ttl_seconds: 60, grant_index }] = applied.leases[..] else { panic!() };
    assert_eq!(grant_index, applied.applied.index);
    for late in [Expiry { grant_index: grant_index + 1, term: 4 }, Expiry { grant_index, term: 3 }] {
        assert_eq!(store.revoke(9, Some(late)), Ok(Response::Done), "{late:?}");
        assert!(store.machine.leases().contains_key(&9));
    }
    let expiry = Expiry { grant_index, term: 4 };
    assert!(matches!(store.revoke(9, Some(expiry)), Ok(Response::LeaseRevoke(_))));
    assert_eq!(store.revoke(9, Some(expiry)), Ok(Response::Done));
    // Granted again under the same id, it is another lease.
    store.grant(9);
    assert_eq!(store.revoke(9, Some(expiry)), Ok(Response::Done));
    assert!(store.machine.leases().contains_key(&9));
}

#[test]
fn grants_that_cannot_be() {
    let mut store = Store::new();
    store.grant(1);
    for (id, ttl, expected) in [
        (1, 60, ApiError::LeaseExist),
        (0, 60, ApiError::LeaseNotFound),
        (2, 9_000_000_001, ApiError::LeaseTTLTooLarge),
    ] {
        let request = Request::LeaseGrant(pb::LeaseGrantRequest { ttl, id });
        assert_eq!(store.apply(request), Err(expected), "{id} {ttl}");
    }
}

#[test]
fn alarms_are_raised_and_lowered_by_type_and_member() {
    let mut store = Store::new();
    let raised = |alarm, member_id| pb::AlarmMember { member_id, alarm };
    assert_eq!(alarm(&mut store, ACTIVATE, NONE, 5), vec![]);
    assert_eq!(alarm(&mut store, ACTIVATE, NOSPACE, 5), vec![raised(NOSPACE, 5)]);
    assert_eq!(alarm(&mut store, ACTIVATE, NOSPACE, 5), vec![raised(NOSPACE, 5)]);
    assert_eq!(alarm(&mut store, ACTIVATE, CORRUPT, 6), vec![raised(CORRUPT, 6)]);
    assert_eq!(alarm(&mut store, GET, NONE, 0), vec![raised(NOSPACE, 5), raised(CORRUPT, 6)]);
    assert_eq!(alarm(&mut store, GET, CORRUPT, 5), vec![raised(CORRUPT, 6)]);
    assert_eq!(alarm(&mut store, DEACTIVATE, NOSPACE, 6), vec![]);
    assert_eq!(alarm(&mut store, DEACTIVATE, NOSPACE, 5), vec![raised(NOSPACE, 5)]);
    assert_eq!(alarm(&mut store, GET, NONE, 0), vec![raised(CORRUPT, 6)]);
}

fn every_kind() -> Vec<(&'static str, Request)> {
    let nested = op(pb::request_op::Request::RequestTxn(txn(vec![], vec![], vec![op_put("n", "")])));
    vec![
        ("put", put("k", "v")),
        ("grant", grant(8)),
        ("txn with a put", Request::Txn(txn(vec![], vec![], vec![nested]))),
        ("txn of deletes", Request::Txn(txn(vec![], vec![op_delete("k", "")], vec![]))),
        ("delete", delete("k", "")),
        ("compact", Request::Compact(pb::CompactionRequest { revision: 2, physical: false })),
        ("revoke", Request::LeaseRevoke { id: 1, expiry: None }),
        ("alarm", Request::Alarm(pb::AlarmRequest::default())),
    ]
}

#[test]
fn alarms_refuse_writes_by_their_kind() {
    for (raised, grows, writes) in
        [(NOSPACE, Err(ApiError::NoSpace), Ok(())), (CORRUPT, Err(ApiError::Corrupt), Err(ApiError::Corrupt))]
    {
        for (kind, request) in every_kind() {
            let mut store = Store::new();
            store.put("k", "v");
            store.grant(1);
            alarm(&mut store, ACTIVATE, raised, 1);
            let expected = match kind {
                "put" | "grant" | "txn with a put" => &grows,
                "alarm" => &Ok(()),
                _ => &writes,
            };
            assert_eq!(&store.apply(request).map(drop), expected, "{kind} under alarm {raised}");
        }
    }
}

#[test]
fn over_the_quota_a_write_is_applied_and_yet_answered_with_no_space() {
    let store = Store::new();
    let size = store.machine.size_in_use_bytes();
    assert_eq!(size, 20_480);
    // etcd's estimate of a put is 256 bytes and its key and value; equal to the quota is over it.
    for (quota, unreclaimed, over) in [(size + 259, 0, false), (size + 258, 0, true), (size + 300, 42, true)] {
        let mut store = Store::new();
        store.limits = Limits { quota_bytes: Some(quota), unreclaimed_bytes: unreclaimed };
        let applied = store.turn(vec![vec![put("k", "v")]]);
        let expected = if over { Err(ApiError::NoSpace) } else { Ok(()) };
        assert_eq!(applied.outcomes[0].result.clone().map(drop), expected);
        assert_eq!((applied.no_space, applied.revision, applied.events.len()), (over, 2, 1));
        let others =
            store.turn(vec![vec![delete("k", ""), Request::Txn(txn(vec![], vec![op_delete("k", "")], vec![]))]]);
        assert!(others.outcomes.iter().all(|outcome| outcome.result.is_ok()) && !others.no_space);
    }
}
