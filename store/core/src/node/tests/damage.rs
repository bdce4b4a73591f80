//! A member that cannot apply what is committed, or whose log lost what it acknowledged.

use super::hand::Hand;
use super::*;

fn normal(index: Index) -> Entry {
    Entry { index, term: 1, kind: EntryKind::Normal, data: Bytes::from_static(b"entry") }
}

/// What a node is handed to apply.
fn handed(effects: &[Effect]) -> Vec<Index> {
    let applied = effects.iter().filter_map(|effect| match effect {
        Effect::Apply(entries) => Some(entries.iter().map(|entry| entry.index).collect::<Vec<_>>()),
        _ => None,
    });
    applied.flatten().collect()
}

/// A member that starts with entries 1 to 3 committed and not applied, and was handed them.
fn replaying() -> (Node, Vec<Entry>) {
    let entries: Vec<Entry> = (1..=3).map(normal).collect();
    let log = Arc::new(Mutex::new(entries.clone()));
    let start = Start {
        id: 1,
        hard_state: HardState { term: 1, vote: 0, commit: 3 },
        conf_state: ConfState { voters: vec![1, 2], ..Default::default() },
        applied: 0,
        truncated: (0, 0),
        last_index: 3,
        memory_bytes_max: 16,
        seed: 1,
        timing: Timing { election_ticks: ELECTION_TICKS, pre_vote: true },
        window: Window::default(),
    };
    let mut node = Node::new(start, 1, Box::new(Reader(log)), NEVER);
    assert_eq!(handed(&node.turn(None)), [1, 2, 3]);
    (node, entries)
}

#[test]
fn nothing_more_is_handed_over_when_entries_could_not_be_applied() {
    let (mut node, entries) = replaying();
    assert!(handed(&node.turn([Event::CannotApply { entries }])).is_empty());
    for _ in 0..3 * ELECTION_TICKS {
        assert!(handed(&node.turn([Event::Tick])).is_empty());
    }
    assert_eq!((node.status().applied, node.status().commit), (0, 3));
}

#[test]
fn a_snapshot_ends_that_and_what_comes_after_it_is_handed_over() {
    let (mut node, entries) = replaying();
    node.turn([Event::CannotApply { entries }]);
    node.apply.restart_at(2);
    let mut effects = Vec::new();
    node.hand_to_apply(&mut effects);
    assert_eq!(handed(&effects), [3]);
}

#[test]
#[should_panic(expected = "what was handed over comes back whole")]
fn a_part_of_what_was_handed_over_is_not_taken_back() {
    let (mut node, mut entries) = replaying();
    entries.pop();
    node.turn([Event::CannotApply { entries }]);
}

#[test]
fn a_damaged_member_whose_log_the_others_need_leads_until_another_has_it() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.pass(1);
    hand.cluster.flush(2);
    // Members 1 and 2 commit what 3 does not hear of.
    hand.cut.extend([(1, 3), (2, 3)]);
    hand.assert_works(1);
    hand.pass(1);
    let commit = hand.status(2).commit;
    assert!(hand.status(3).commit < commit);
    // Then 1 is gone, and 2, whose log says what is committed, meets damage when it replays.
    hand.stop(1);
    hand.cluster.hosts.get_mut(&2).unwrap().disk.hard_state.commit = commit;
    hand.damaged.insert(2);
    hand.restart(2);
    hand.cut.clear();
    hand.pass_of(&[2, 3], 6 * ELECTION_TICKS);
    assert_eq!(hand.status(3).leader, 3, "{:?}", hand.status(2));
    assert!(hand.status(3).applied >= commit && hand.status(2).applied < commit);
    hand.assert_works(3);
}

#[test]
fn a_damaged_member_does_not_lead_past_a_membership_change_that_it_cannot_apply() {
    let mut hand = Hand::found(&[1, 2, 3], 4);
    hand.elect(1);
    hand.pass(1);
    hand.cluster.flush(2);
    hand.cut.extend([(1, 3), (2, 3)]);
    hand.change(1, Change::AddLearner(member(4)));
    hand.settle();
    hand.pass(1);
    hand.stop(1);
    hand.cluster.hosts.get_mut(&2).unwrap().disk.hard_state.commit = hand.status(2).commit;
    hand.damaged.insert(2);
    hand.restart(2);
    hand.cut.clear();
    let term = hand.status(2).term;
    hand.pass_of(&[2, 3], 6 * ELECTION_TICKS);
    // Its configuration is that from before the change, so nobody may rely on its majority.
    assert_eq!((hand.status(2).role, hand.status(2).term), (Role::Follower, term));
}

/// A cluster whose member 3 lost the last entry that it acknowledged to leader 1, and was started again; and that entry's index.
fn with_a_loss() -> (Hand, Index) {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.assert_works(1);
    hand.pass(1);
    let last = hand.node(3).last_index();
    assert_eq!(hand.status(1).commit, last);
    hand.stop(3);
    let disk = &mut hand.cluster.hosts.get_mut(&3).unwrap().disk;
    disk.log.lock().unwrap().pop();
    disk.hard_state.commit = last - 1;
    hand.restart(3);
    hand.cluster.network.clear();
    (hand, last)
}

#[test]
fn a_member_whose_log_lost_what_it_acknowledged_is_told_by_its_leader_and_ends() {
    let (mut hand, last) = with_a_loss();
    hand.tick(1);
    for (_, to, event) in std::mem::take(&mut hand.cluster.network) {
        if to == 3 {
            hand.cluster.turn(3, Some(event));
        }
    }
    let ends = hand.host(3).effects.iter().filter_map(|effect| match effect {
        Effect::End(loss) => Some(loss.clone()),
        _ => None,
    });
    let ends: Vec<Loss> = ends.collect();
    assert_eq!(ends, [Loss { leader: 1, acknowledged: last, last: last - 1 }]);
    assert!(ends[0].to_string().contains("rebuild this member"), "{}", ends[0]);
}

#[test]
fn a_new_leader_gives_a_member_what_its_log_lost() {
    let (mut hand, last) = with_a_loss();
    hand.stop(1);
    hand.elect(2);
    hand.pass_of(&[2, 3], 2);
    assert!(hand.status(3).applied >= last, "{:?}", hand.status(3));
    hand.assert_works(2);
}
