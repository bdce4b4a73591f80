//! The election timeout changes while raft runs (`replica/clock.rs`).

use super::hand::Hand;
use super::*;

fn timers(election_ticks: usize) -> Event {
    Event::Timers { tick_ms: TICK_MS, election_ticks }
}

/// Ticks of one member alone until it campaigns.
fn ticks_to_campaign(hand: &mut Hand, id: MemberId) -> usize {
    let before = (hand.status(id).term, hand.status(id).role);
    for ticks in 1.. {
        hand.tick(id);
        if (hand.status(id).term, hand.status(id).role) != before {
            return ticks;
        }
        assert!(ticks < 10_000, "it never campaigns");
    }
    unreachable!("the loop ends by itself")
}

#[test]
fn a_follower_campaigns_after_the_new_timeout_and_keeps_the_share_that_has_passed() {
    for ticks in [3, 40] {
        let mut hand = Hand::found(&[1, 2, 3], 3);
        hand.elect(1);
        hand.act(2, Some(timers(ticks)));
        // A heartbeat, and silence from then on.
        hand.tick(1);
        hand.settle();
        hand.isolate(1);
        let waited = ticks_to_campaign(&mut hand, 2);
        assert!((ticks..2 * ticks).contains(&waited), "{waited} ticks with a timeout of {ticks}");
    }
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.tick(1);
    hand.settle();
    hand.isolate(1);
    (0..ELECTION_TICKS / 2).for_each(|_| hand.tick(2));
    hand.act(2, Some(timers(100)));
    let waited = ticks_to_campaign(&mut hand, 2);
    assert!((50..150).contains(&waited), "half of the timeout had passed, {waited} ticks more of 100 to 199");
}

#[test]
fn a_leader_without_a_quorum_steps_down_after_the_new_timeout() {
    for ticks in [2, 30] {
        let mut hand = Hand::found(&[1, 2, 3], 3);
        hand.elect(1);
        hand.act(1, Some(timers(ticks)));
        // The answers to the last heartbeat are in, so two whole timeouts pass at most.
        hand.tick(1);
        hand.settle();
        hand.isolate(1);
        let led = (1..=2 * ticks).take_while(|_| {
            hand.tick(1);
            hand.status(1).role == Role::Leader
        });
        let led = led.count();
        assert!((ticks - 1..2 * ticks).contains(&led), "it led {led} ticks with a timeout of {ticks}");
    }
}

#[test]
fn a_change_moves_nothing_else() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    let before = hand.status(1);
    // An append and a read are on the way while every member gets another timeout.
    let counter = hand.propose(1);
    hand.read(1);
    (1..=3).for_each(|id| hand.act(id, Some(timers(25))));
    hand.settle();
    hand.pass(60);
    assert!(hand.cluster.world.acknowledged.contains_key(&counter));
    assert!(hand.host(1).reads.is_empty());
    assert_eq!((hand.status(1).role, hand.status(1).term), (before.role, before.term));
}
