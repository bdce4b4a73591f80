//! Who leads, and for how long: no storm of elections, a minority that dies, learners.

use super::hand::Hand;
use super::*;

#[test]
fn five_members_with_two_dead_go_on() {
    let mut hand = Hand::found(&[1, 2, 3, 4, 5], 5);
    hand.elect(1);
    // The leader among them.
    hand.stop(1);
    hand.stop(2);
    hand.pass_of(&[3, 4, 5], 6 * ELECTION_TICKS);
    let leader = hand.cluster.leader().unwrap();
    let term = hand.status(leader).term;
    for _ in 0..20 {
        hand.assert_works(leader);
        hand.pass_of(&[3, 4, 5], ELECTION_TICKS);
    }
    assert_eq!((hand.status(leader).role, hand.status(leader).term), (Role::Leader, term), "nobody campaigned again");
}

#[test]
fn a_member_that_comes_back_from_a_long_cut_disturbs_nobody() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    let term = hand.status(1).term;
    for id in [2, 3] {
        hand.isolate(id);
        // Its clock runs: it asks for votes many times over.
        hand.pass(30 * ELECTION_TICKS);
        hand.cut.clear();
        hand.pass(3 * ELECTION_TICKS);
        assert_eq!((hand.status(1).role, hand.status(1).term), (Role::Leader, term), "member {id} came back");
        hand.assert_works(1);
    }
}

#[test]
fn after_a_pause_of_everybody_at_most_two_terms_pass() {
    let mut hand = Hand::found(&[1, 2, 3, 4, 5], 5);
    hand.elect(1);
    let term = hand.status(1).term;
    // All clocks run on without a message, as after the suspension of a host; then what was sent arrives at once.
    for _ in 0..3 * ELECTION_TICKS {
        for id in 1..=5 {
            hand.tick(id);
        }
    }
    hand.settle();
    hand.pass(6 * ELECTION_TICKS);
    let leader = hand.cluster.leader().unwrap();
    assert!(hand.status(leader).term <= term + 2, "term {term}, then {}", hand.status(leader).term);
    hand.assert_works(leader);
}

#[test]
fn a_learner_never_campaigns_and_its_vote_is_never_asked() {
    let mut hand = Hand::found(&[1, 2], 4);
    hand.elect(1);
    for id in [3, 4] {
        hand.change(1, Change::AddLearner(Member { learner: true, ..member(id) }));
        hand.settle();
        hand.pass(2);
    }
    let term = hand.status(3).term;
    hand.stop(1);
    hand.pass_of(&[2, 3, 4], 20 * ELECTION_TICKS);
    // Two learners and one of two voters are no majority, and the learners do not even try.
    for id in [3, 4] {
        assert_eq!((hand.status(id).role, hand.status(id).term), (Role::Follower, term));
    }
    assert_ne!(hand.status(2).role, Role::Leader);
}

#[test]
fn what_a_leader_gives_back_goes_to_it_again_at_the_next_tick_and_not_before() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    let counter = hand.propose(2);
    let Some((2, 1, Event::Forwarded { proposals, .. })) = hand.cluster.network.pop() else {
        panic!("{:?}", hand.cluster.network)
    };
    hand.act(2, Some(Event::Refused { proposals }));
    assert!(hand.cluster.network.is_empty(), "it would be given back again, without end: {:?}", hand.cluster.network);
    hand.tick(2);
    hand.settle();
    assert!(hand.cluster.world.acknowledged.contains_key(&counter));
}
