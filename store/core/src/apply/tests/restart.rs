//! What a member finds again, and what it refuses to go on with.

use bytes::Bytes;

use super::fixture::*;
use crate::apply::{AppliedIndex, Error, Machine};
use crate::backend::{Family, View, WriteBatch};
use crate::command::{CommandId, Request};
use crate::log::ConfState;
use crate::membership::{Change, Member, Proposed, Refused};
use crate::mvcc::APPLIED_KEY;

fn change(store: &mut Store, index: u64, change: Change) -> crate::apply::Applied {
    let id = CommandId { member: 1, boot: 1, counter: index };
    let proposed = Proposed { id, change, expected_index: None, learners_max: 1 };
    let rows = store.rows.clone();
    let mut turn = store.machine.turn(&rows, store.limits);
    turn.change(index, 1, proposed.encode()).unwrap();
    let applied = turn.finish();
    store.rows.write(&applied.batch);
    assert_eq!(Machine::open(&store.rows).unwrap(), store.machine);
    applied
}

#[test]
fn every_family_tells_the_applied_index_and_term() {
    let mut store = Store::new();
    store.term = 3;
    let applied = store.turn(vec![vec![put("k", "v")], vec![]]);
    assert_eq!(applied.applied, AppliedIndex { index: 2, term: 3 });
    for family in Family::ALL {
        let value = store.rows.get(family, APPLIED_KEY).unwrap().unwrap();
        assert_eq!(AppliedIndex::decode(family, &value).unwrap(), applied.applied);
    }
}

#[test]
fn families_that_stand_at_different_points_are_refused() {
    let mut store = Store::new();
    store.put("k", "v");
    let before = store.rows.get(Family::Log, APPLIED_KEY).unwrap().unwrap();
    store.put("k", "v");
    let mut batch = WriteBatch::default();
    batch.put(Family::Log, APPLIED_KEY, before);
    store.rows.write(&batch);
    let error = Machine::open(&store.rows).unwrap_err();
    assert!(matches!(error, Error::Torn { family: "log", .. }), "{error}");
}

#[test]
fn a_row_of_another_format_is_named_and_stops_the_turn() {
    let mut store = Store::new();
    store.put("k", "v");
    let mut batch = WriteBatch::default();
    batch.put(Family::Keys, &b"k"[..], &b"\x02zz"[..]);
    store.rows.write(&batch);
    let rows = store.rows.clone();
    let mut turn = store.machine.turn(&rows, store.limits);
    let mut entry = crate::command::BatchBuilder::default();
    entry.push(&crate::command::Command {
        id: CommandId::default(),
        user: String::new(),
        auth_revision: 0,
        request: put("k", "w"),
    });
    let error = turn.entry(2, 1, entry.finish()).unwrap_err().to_string();
    assert!(error.contains("row 6b of family keys"), "{error}");
    assert!(store.range(range("k", "")).is_err());
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_member() {
    let mut store = Store::new();
    let rows = store.rows.clone();
    let mut turn = store.machine.turn(&rows, store.limits);
    let error = turn.entry(1, 1, Bytes::from_static(&[99])).unwrap_err();
    assert!(matches!(error, Error::Command { index: 1, .. }), "{error}");
}

#[test]
fn membership_attributes_and_feature_level_are_part_of_the_state() {
    let mut store = Store::new();
    let member = |id: u64| Member { id, peer_urls: vec![format!("http://p{id}:2380")], ..Default::default() };
    let applied = change(&mut store, 1, Change::AddVoter(member(1)));
    let expected = ConfState { voters: vec![1], ..Default::default() };
    assert_eq!(applied.change.unwrap().result, Ok(expected.clone()));
    assert!(applied.members_changed);
    change(&mut store, 2, Change::AddLearner(member(2)));
    let refused = change(&mut store, 3, Change::AddLearner(member(3)));
    let too_many = Refused::Api(quorate_api::Error::TooManyLearners);
    assert_eq!(refused.change.unwrap().result, Err(too_many));
    assert_eq!((refused.members_changed, refused.applied.index), (false, 3));
    let publish =
        |member| Request::MemberAttributes { member, name: "one".into(), client_urls: vec!["http://c:2379".into()] };
    let applied = store.turn(vec![vec![publish(1), publish(77), Request::FeatureLevel(2), Request::FeatureLevel(1)]]);
    assert!(applied.members_changed);
    assert_eq!(store.machine.membership().get(1).unwrap().name, "one");
    assert_eq!(store.machine.feature_level(), 2);
    change(&mut store, 5, Change::Remove(2));
    assert!(store.machine.membership().is_removed(2));
    assert_eq!(store.machine.conf_state(), expected);
}

#[test]
#[should_panic(expected = "entries are applied in order, each once")]
fn a_gap_in_the_log_is_a_bug_that_stops_the_member() {
    let mut store = Store::new();
    let rows = store.rows.clone();
    let _ = store.machine.turn(&rows, store.limits).entry(2, 1, Bytes::new());
}
