//! What of its log a member lets go, and what a leader keeps for followers that may still ask for it.

use super::hand::Hand;
use super::*;

/// What this member lets go when everything that it applied is durable, but for the last two entries.
fn cut(hand: &mut Hand, id: MemberId) -> Option<(Index, Index)> {
    let applied = hand.status(id).applied;
    cut_below(hand, id, applied)
}

fn cut_below(hand: &mut Hand, id: MemberId, applied: Index) -> Option<(Index, Index)> {
    let node = hand.cluster.hosts.get_mut(&id).unwrap().node.as_mut().unwrap();
    let mut effects = Vec::new();
    node.cut_log(applied, 2, &mut effects);
    effects.into_iter().find_map(|effect| match effect {
        Effect::CutLog { below, wanted_from } => Some((below, wanted_from)),
        _ => None,
    })
}

#[test]
fn a_leader_keeps_what_a_follower_that_answers_may_ask_for() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.propose(1);
    hand.settle();
    let (next, applied) = (hand.node(1).last_index() + 1, hand.status(1).applied);
    assert_eq!(cut(&mut hand, 1), Some((applied - 2, next)), "everybody has everything");
    // What is sent to 3 is lost, and it is still heard.
    hand.cut.insert((1, 3));
    for _ in 0..3 {
        hand.propose(1);
        hand.settle();
    }
    assert_eq!((hand.node(1).last_index(), hand.status(1).applied), (next + 2, applied + 3));
    assert_eq!(cut(&mut hand, 1), Some((applied + 1, next)), "3 lacks them");
    hand.isolate(3);
    hand.pass(150);
    let (next, applied) = (hand.node(1).last_index() + 1, hand.status(1).applied);
    assert_eq!(cut(&mut hand, 1), Some((applied - 2, next)), "3 was not heard of for long");
    let next = hand.node(2).last_index() + 1;
    assert_eq!(cut(&mut hand, 2).map(|(_, wanted_from)| wanted_from), Some(next), "nobody asks a follower");
}

#[test]
fn nothing_is_let_go_that_is_not_applied_or_shall_stay() {
    let mut hand = Hand::found(&[1], 1);
    hand.elect(1);
    for _ in 0..3 {
        hand.propose(1);
        hand.settle();
    }
    let applied = hand.status(1).applied;
    assert_eq!(cut_below(&mut hand, 1, 2), None, "two entries stay");
    let below = cut_below(&mut hand, 1, applied + 100).map(|(below, _)| below);
    assert_eq!(below, Some(applied - 2), "what is said to be durable and is not applied");
}
