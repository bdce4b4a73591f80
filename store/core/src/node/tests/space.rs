//! Members whose disk is full, or does not answer.

use super::hand::Hand;
use super::*;

#[test]
fn a_leader_whose_disk_is_full_hands_over_and_leads_again_only_when_nobody_else_can() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.act(1, Some(Event::DiskFull));
    hand.settle();
    let leader = hand.status(1).leader;
    assert_ne!(leader, 1, "{:?}", hand.status(1));
    hand.assert_works(leader);
    // It follows, and acknowledges what its log has room for.
    let commit = hand.status(leader).commit;
    assert_eq!(hand.status(1).commit, commit);
    // With all disks full leadership does not run in circles.
    for id in [2, 3] {
        hand.act(id, Some(Event::DiskFull));
    }
    hand.settle();
    let term = (1..=3).map(|id| hand.status(id).term).max();
    hand.pass(ELECTION_TICKS);
    assert!((1..=3).map(|id| hand.status(id).term).max() <= term.map(|term| term + 1), "{:?}", hand.status(1));
}

#[test]
fn a_sole_voter_with_a_full_disk_goes_on_leading() {
    let mut hand = Hand::found(&[1], 1);
    hand.elect(1);
    hand.act(1, Some(Event::DiskFull));
    hand.pass(ELECTION_TICKS);
    hand.assert_works(1);
}

#[test]
fn a_follower_that_owes_many_syncs_to_a_full_disk_takes_no_more_and_catches_up_afterwards() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.act(3, Some(Event::DiskFull));
    // Its log is stuck: what it is asked to persist waits.
    for _ in 0..200 {
        hand.propose(1);
        for (_, to, event) in std::mem::take(&mut hand.cluster.network) {
            if to == 3 {
                hand.cluster.turn(3, Some(event));
            } else {
                hand.act(to, Some(event));
            }
        }
        hand.tick(1);
    }
    let owed = hand.host(3).effects.iter().filter(|effect| matches!(effect, Effect::Persist { .. })).count();
    assert!((1..=64).contains(&owed), "{owed} syncs are owed");
    assert!(hand.status(1).commit > 200, "the others went on");
    hand.act(3, Some(Event::DiskBack));
    hand.pass(4);
    assert_eq!(hand.status(3).commit, hand.status(1).commit);
}

#[test]
fn a_leader_whose_disk_does_not_answer_hands_over_within_two_election_timeouts() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.stalled.insert(1);
    let before = hand.status(1).commit;
    hand.propose(1);
    hand.pass(ELECTION_TICKS - 2);
    assert_eq!(hand.status(2).leader, 1, "a slow sync is no reason yet");
    assert!(hand.status(1).commit > before, "the others are a majority");
    hand.pass(ELECTION_TICKS + 2);
    let leader = hand.status(2).leader;
    assert_ne!(leader, 1);
    assert_eq!(hand.status(3).leader, leader);
    hand.assert_works(leader);
}
