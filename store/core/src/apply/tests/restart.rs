//! What a member finds again, and what it refuses to go on with.

use bytes::Bytes;
use proptest::prelude::*;

use super::fixture::*;
use crate::apply::{AppliedIndex, Error, Machine};
use crate::backend::{Family, View, WriteBatch};
use crate::command::{CommandId, Request};
use crate::log::ConfState;
use crate::membership::{Change, Member, Proposed, Refused};
use crate::mvcc::{self, APPLIED_KEY, Position, State};

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

proptest! {
    #[test]
    fn a_damaged_row_is_an_error_or_another_value_but_never_a_panic(
        family in prop::sample::select(&Family::ALL[..]),
        row in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        damage in prop_oneof![Just(None), any::<u8>().prop_map(Some)],
        in_key in prop::bool::weighted(0.3),
    ) {
        let mut store = Store::new();
        change(&mut store, 1, Change::AddVoter(Member { id: 1, ..Default::default() }));
        store.grant(1);
        let alarm = quorate_api::etcdserverpb::AlarmRequest { action: 1, member_id: 1, alarm: 2 };
        store.turn(vec![vec![put_leased("a", 1), put("b", "1"), put("b", "2"), delete("b", ""), put("c", "v")]]);
        store.compact(4).unwrap();
        let step = mvcc::sweep(&store.rows, &store.state(), Position::load(&store.rows).unwrap(), 1).unwrap();
        store.rows.write(&step.batch);
        store.apply(Request::Alarm(alarm)).unwrap();
        store.apply(Request::Alarm(quorate_api::etcdserverpb::AlarmRequest { action: 2, ..alarm })).unwrap();

        let rows: Vec<_> = store.rows.rows(family).map(|(key, value)| (key.clone(), value.clone())).collect();
        let (key, value) = &rows[row.index(rows.len())];
        let mut damaged = if in_key { key.to_vec() } else { value.to_vec() };
        match damage {
            Some(mask) if !damaged.is_empty() => {
                let at = byte.index(damaged.len());
                damaged[at] ^= mask;
            }
            _ => damaged.truncate(byte.index(damaged.len() + 1)),
        }
        let mut batch = WriteBatch::default();
        batch.delete(family, key.clone());
        match in_key {
            true => batch.put(family, damaged, value.clone()),
            false => batch.put(family, key.clone(), damaged),
        }
        store.rows.write(&batch);
        read_and_write_everything(&store);
    }
}

/// Each step may fail; the next goes on with what there is.
fn read_and_write_everything(store: &Store) {
    let state = State::load(&store.rows).unwrap_or_default();
    for revision in [0, 4, 5] {
        let request = quorate_api::etcdserverpb::RangeRequest { revision, ..range("\0", "\0") };
        let _ = mvcc::range(&store.rows, &state, &request);
        let _ =
            mvcc::range(&store.rows, &state, &quorate_api::etcdserverpb::RangeRequest { keys_only: true, ..request });
        let _ = mvcc::hash_kv(&store.rows, &state, revision);
    }
    let _ = mvcc::events(&store.rows, mvcc::Revision::new(0, 0), 9, mvcc::EventLimits { events_max: 2, bytes_max: 2 });
    if let Ok(position) = Position::load(&store.rows) {
        let _ = mvcc::sweep(&store.rows, &state, position, 2);
    }
    let Ok(mut machine) = Machine::open(&store.rows) else { return };
    let index = machine.applied().index + 1;
    for request in [
        put("a", "w"),
        delete("\0", "\0"),
        Request::LeaseRevoke { id: 1, expiry: None },
        Request::Compact(quorate_api::etcdserverpb::CompactionRequest { revision: 5, physical: false }),
    ] {
        let mut entry = crate::command::BatchBuilder::default();
        entry.push(&crate::command::Command {
            id: CommandId::default(),
            user: String::new(),
            auth_revision: 0,
            request,
        });
        let mut machine = machine.clone();
        let _ = machine.turn(&store.rows, store.limits).entry(index, u64::MAX, entry.finish());
    }
    let _ = machine.turn(&store.rows, store.limits).finish();
}
