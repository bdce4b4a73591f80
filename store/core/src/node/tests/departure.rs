//! Who leaves the cluster goes only when those that stay know that it may (`replica/departure.rs`).

use super::hand::Hand;
use super::*;

/// Two voters; the leader has committed its own removal, and nothing of that has left it.
fn leader_that_committed_its_own_removal() -> Hand {
    let mut hand = Hand::found(&[1, 2], 2);
    hand.elect(1);
    hand.change(1, Change::Remove(1));
    // The append to the other, and its answer: now the leader alone knows of the commit.
    hand.deliver();
    hand.deliver();
    assert_eq!(hand.status(1).commit, hand.node(1).last_index());
    assert!(hand.status(2).commit < hand.status(1).commit);
    hand
}

#[test]
fn a_leader_of_two_stays_until_the_other_knows_of_its_removal() {
    let mut hand = leader_that_committed_its_own_removal();
    // What tells of the commit is lost for a while.
    hand.cluster.network.clear();
    for _ in 0..3 {
        hand.tick(1);
        hand.cluster.network.clear();
    }
    assert_eq!((hand.status(1).role, hand.voters(1)), (Role::Leader, vec![1, 2]), "it has not applied its removal");
    hand.tick(1);
    hand.settle();
    assert_eq!((hand.voters(1), hand.voters(2)), (vec![2], vec![2]));
    hand.isolate(1);
    hand.elect(2);
    hand.assert_works(2);
}

#[test]
fn the_one_that_stays_leads_also_when_the_other_went_and_its_own_power_failed() {
    let mut hand = leader_that_committed_its_own_removal();
    hand.deliver();
    assert!(hand.status(1).applied < hand.status(1).commit, "the answer that tells so is still on the way");
    hand.deliver();
    assert_eq!((hand.voters(1), hand.status(1).role), (vec![2], Role::Follower));
    hand.isolate(1);
    hand.restart(2);
    hand.elect(2);
    hand.assert_works(2);
}

#[test]
fn a_leader_that_lost_its_power_while_it_held_its_removal_back_still_lets_the_other_lead() {
    let mut hand = leader_that_committed_its_own_removal();
    hand.cluster.network.clear();
    hand.restart(1);
    assert_eq!(hand.voters(1), [1, 2], "the removal is known and durable, and held back");
    // It cannot campaign, and it votes.
    hand.elect(2);
    hand.pass(3);
    assert_eq!((hand.voters(1), hand.voters(2)), (vec![2], vec![2]));
    hand.isolate(1);
    hand.assert_works(2);
}

#[test]
fn a_leader_with_a_longer_log_than_the_one_that_stays_tells_it_of_the_commit_by_refusing_its_vote() {
    let mut hand = leader_that_committed_its_own_removal();
    hand.cluster.network.clear();
    // An entry that only the leaving one has.
    hand.propose(1);
    hand.cluster.network.clear();
    hand.restart(1);
    hand.elect(2);
    hand.isolate(1);
    hand.assert_works(2);
}

#[test]
fn a_follower_of_two_goes_when_the_leaders_knowledge_survives_a_power_cut() {
    let mut hand = Hand::found(&[1, 2], 2);
    hand.elect(1);
    hand.change(1, Change::Remove(2));
    hand.settle();
    assert_eq!((hand.voters(1), hand.voters(2)), (vec![1], vec![1]));
    hand.isolate(2);
    hand.restart(1);
    hand.elect(1);
    hand.assert_works(1);
}

#[test]
fn nothing_leaves_a_leader_before_the_commit_of_a_removal_is_durable() {
    let mut hand = Hand::found(&[1, 2], 2);
    hand.elect(1);
    hand.change(1, Change::Remove(2));
    hand.deliver();
    let answers = std::mem::take(&mut hand.cluster.network);
    for (_, to, event) in answers {
        hand.cluster.turn(to, Some(event));
    }
    // The leader knows of the commit and its disk has not synced that: nothing leaves before the persist.
    let effects = &hand.host(1).effects;
    assert!(matches!(effects.front(), Some(Effect::Persist { hard_state: Some(_), .. })), "{effects:?}");
    assert_eq!(effects.len(), 1, "{effects:?}");
}

#[test]
fn of_four_the_one_that_leaves_hears_of_it_after_two_of_those_that_stay() {
    let mut hand = Hand::found(&[1, 2, 3, 4], 4);
    hand.elect(1);
    // Members 2 and 4 have the change, and with the leader they are the majority; 3 hears nothing.
    hand.cut.extend([(1, 3), (3, 1)]);
    hand.change(1, Change::Remove(4));
    hand.deliver();
    hand.cut.extend([(1, 2), (2, 1)]);
    let answers = std::mem::take(&mut hand.cluster.network);
    for (_, to, event) in answers {
        hand.act(to, Some(event));
    }
    let committed = hand.node(1).last_index();
    assert_eq!(hand.status(1).commit, committed);
    hand.tick(1);
    hand.settle();
    assert!(hand.status(4).commit < committed, "the one that leaves may not know yet");
    assert_eq!(hand.voters(4), [1, 2, 3, 4]);
    // Were the leader gone for ever now, the three others would still find a majority of four.
    hand.cut.remove(&(1, 2));
    hand.cut.remove(&(2, 1));
    hand.tick(1);
    hand.settle();
    assert_eq!((hand.voters(1), hand.voters(2)), (vec![1, 2, 3], vec![1, 2, 3]));
    hand.tick(1);
    hand.settle();
    assert_eq!(hand.voters(4), [1, 2, 3]);
}

#[test]
fn a_removal_of_another_is_not_held_back_for_ever_by_a_dead_member() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.stop(2);
    hand.change(1, Change::Remove(3));
    hand.settle();
    assert_eq!(hand.voters(1), [1, 2, 3], "one of the two that stay is dead");
    for _ in 0..2 * ELECTION_TICKS {
        hand.tick(1);
        hand.settle();
    }
    assert_eq!((hand.voters(1), hand.voters(3)), (vec![1, 2], vec![1, 2]));
}
