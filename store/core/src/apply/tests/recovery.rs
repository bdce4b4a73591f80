//! A recovery changes the configuration and the alarms of those that are lost, and nothing else.

use quorate_api::etcdserverpb::{self as pb, AlarmType, alarm_request::AlarmAction};

use super::fixture::{Store, put_leased};
use crate::apply::{Applied, Machine};
use crate::backend::{Family, View};
use crate::command::{CommandId, Request};
use crate::log::{ConfState, MemberId};
use crate::membership::{self, Change, Member, Proposed};

fn member(id: MemberId) -> Member {
    Member { id, peer_urls: vec![format!("http://p{id}:2380")], ..Default::default() }
}

fn change(store: &mut Store, change: Change) {
    let proposed = Proposed { id: CommandId::default(), change, expected_index: None, learners_max: 0 };
    let rows = store.rows.clone();
    let index = store.machine.applied().index + 1;
    let mut turn = store.machine.turn(&rows, store.limits);
    turn.change(index, store.term, proposed.encode()).unwrap();
    let applied = turn.finish();
    assert!(applied.members_changed);
    store.rows.write(&applied.batch);
}

fn recover(store: &mut Store, survivor: Member) -> Applied {
    let rows = store.rows.clone();
    let index = store.machine.applied().index + 1;
    let mut turn = store.machine.turn(&rows, store.limits);
    turn.recover(index, store.term + 1, survivor);
    let applied = turn.finish();
    store.rows.write(&applied.batch);
    assert_eq!(Machine::open(&store.rows).unwrap(), store.machine, "the rows tell the same state");
    applied
}

fn raise(alarm: AlarmType, member_id: MemberId) -> Request {
    Request::Alarm(pb::AlarmRequest { action: AlarmAction::Activate.into(), member_id, alarm: alarm.into() })
}

#[test]
fn the_data_stay_and_alarms_of_the_lost_go() {
    let mut store = Store::new();
    for id in 1..=3 {
        change(&mut store, Change::AddVoter(member(id)));
    }
    store.grant(7);
    store.apply(put_leased("k", 7)).unwrap();
    store.turn(vec![vec![raise(AlarmType::Nospace, 1), raise(AlarmType::Nospace, 2), raise(AlarmType::Corrupt, 3)]]);
    let (revision, leases, hashes) =
        (store.machine.revision(), store.machine.leases().clone(), store.machine.integrity().report());
    let survivor = store.machine.membership().get(1).unwrap().clone();
    let applied = recover(&mut store, survivor);
    assert!(applied.members_changed && applied.alarms_changed);
    assert_eq!(store.machine.conf_state(), ConfState { voters: vec![1], ..Default::default() });
    assert!(store.machine.membership().is_removed(2) && store.machine.membership().is_removed(3));
    let left: Vec<_> = store.machine.alarms().iter().map(|alarm| (alarm.alarm(), alarm.member_id)).collect();
    assert_eq!(left, [(AlarmType::Nospace, 1)], "its own disk is as full as before");
    assert_eq!(store.machine.revision(), revision);
    assert_eq!(store.machine.leases(), &leases);
    assert_eq!(store.machine.integrity().report(), hashes);
    assert!(store.get("k").is_some());
}

#[test]
fn a_survivor_whose_removal_was_in_the_log_is_no_removed_member_also_after_a_restart() {
    let mut store = Store::new();
    for id in 1..=3 {
        change(&mut store, Change::AddVoter(member(id)));
    }
    change(&mut store, Change::Remove(2));
    assert!(store.rows.get(Family::Members, &membership::removed_key(2)).unwrap().is_some());
    recover(&mut store, member(2));
    assert!(store.machine.membership().is_alone(2));
    assert!(store.rows.get(Family::Members, &membership::removed_key(2)).unwrap().is_none());
}
