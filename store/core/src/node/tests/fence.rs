//! A member that is kept out of raft, and let in again (`node/fence.rs`).

use super::hand::Hand;
use super::*;

impl Cluster {
    /// As the server does it: the fence is durable first.
    pub(super) fn fence(&mut self, id: MemberId, fenced: bool) {
        self.world.fences += u64::from(fenced);
        self.hosts.get_mut(&id).unwrap().disk.fenced = fenced;
        self.turn(id, Some(Event::Fence { fenced }));
    }
}

impl Hand {
    fn fence(&mut self, id: MemberId, fenced: bool) {
        self.cluster.fence(id, fenced);
        self.act(id, None);
    }
}

#[test]
fn a_fenced_leader_falls_silent_and_follows_its_successor_when_it_is_lifted() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.fence(1, true);
    hand.cluster.network.clear();
    for _ in 0..3 * ELECTION_TICKS {
        hand.tick(1);
    }
    let counter = hand.propose(1);
    assert!(hand.cluster.network.is_empty(), "a fenced member sends nothing");
    assert_eq!((hand.status(1).role, hand.status(1).leader), (Role::Follower, 0));
    // The clock of one runs ahead, so that their votes do not split.
    for round in 0..8 * ELECTION_TICKS {
        hand.tick(2 + u64::from(round % 3 == 0));
        hand.settle();
    }
    let successor = hand.cluster.leader().expect("the two others have a majority");
    hand.assert_works(successor);
    assert!(hand.status(1).applied < hand.status(successor).applied, "it hears nothing either");
    assert!(!hand.cluster.world.acknowledged.contains_key(&counter), "what it refused never happens");

    hand.fence(1, false);
    hand.pass(2);
    let follower = Status { role: Role::Follower, leads_with_commit: false, ..hand.status(successor) };
    assert_eq!(hand.status(1), follower);
    hand.assert_works(1);
}

#[test]
fn a_leader_that_nobody_replaced_leads_on_when_it_is_lifted() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    let term = hand.status(1).term;
    // An append that is lost with the fence.
    hand.cut.extend([(1, 2), (1, 3)]);
    let counter = hand.propose(1);
    hand.fence(1, true);
    hand.settle();
    hand.cut.clear();
    hand.fence(1, false);
    hand.pass(2);
    assert_eq!((hand.status(1).role, hand.status(1).term), (Role::Leader, term));
    assert!(hand.cluster.world.acknowledged.contains_key(&counter), "what is in its log goes on");
    hand.read(1);
    hand.settle();
    assert!(hand.host(1).reads.is_empty());
}

#[test]
fn reads_of_a_fenced_member_wait_and_are_confirmed_by_a_round_after_it() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    // The round's request is on the way when the fence comes.
    hand.read(2);
    hand.fence(2, true);
    hand.settle();
    assert_eq!(hand.host(2).reads.len(), 1, "the answer to the request was not heard");
    hand.assert_works(1);
    hand.fence(2, false);
    hand.pass(2);
    assert!(hand.host(2).reads.is_empty());
}

#[test]
fn a_fenced_member_stays_out_over_a_restart() {
    let mut hand = Hand::found(&[1], 1);
    hand.elect(1);
    let counter = hand.propose(1);
    hand.fence(1, true);
    hand.restart(1);
    for _ in 0..3 * ELECTION_TICKS {
        hand.tick(1);
    }
    assert_eq!(hand.status(1).role, Role::Follower, "a sole voter would lead with the first tick");
    hand.fence(1, false);
    hand.elect(1);
    assert!(hand.cluster.world.acknowledged.contains_key(&counter));
    hand.assert_works(1);
}

#[test]
fn proposals_of_others_that_wait_go_back_to_them() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    let term = hand.status(1).term;
    hand.fence(1, true);
    let id = CommandId { member: 2, boot: 1, counter: 7 };
    let proposals = vec![Proposal { id, payload: Payload::Command(Bytes::from_static(&[0; 8])) }];
    let forwarded = Event::Forwarded { from: 2, boot: 1, sequence: 1, term, proposals: proposals.clone() };
    hand.act(1, Some(forwarded));
    let [(1, 2, Event::Refused { proposals: refused })] = &hand.cluster.network[..] else {
        panic!("{:?}", hand.cluster.network)
    };
    assert_eq!(*refused, proposals);
}

#[test]
fn members_agree_and_lose_nothing_when_they_are_fenced_and_timed_anew_at_any_moment() {
    let (mut fences, mut crashes, mut reads, mut other_timers) = (0, 0, 0, 0);
    for seed in 101..=130 {
        let (world, _) = run_with(seed, |cluster| {
            let id = 1 + cluster.chance.below(3) as u64;
            if cluster.chance.one_in(300) {
                let fenced = cluster.hosts[&id].disk.fenced;
                cluster.fence(id, !fenced);
            }
            if cluster.chance.one_in(200) {
                let ticks = 2 + cluster.chance.below(20);
                cluster.world.other_timers += 1;
                cluster.turn(id, Some(Event::Timers { tick_ms: TICK_MS, election_ticks: ticks }));
            }
        });
        fences += world.fences;
        crashes += world.crashes;
        reads += world.confirmed_reads;
        other_timers += world.other_timers;
    }
    let counts = format!("{fences} fences, {other_timers} other timers, {crashes} crashes, {reads} reads");
    assert!(fences > 300 && other_timers > 1_000 && crashes > 100 && reads > 500, "{counts}");
}

#[test]
fn a_member_is_leaderless_only_after_a_whole_election_timeout_in_which_it_could_have_heard_a_leader() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    let leaderless = |hand: &Hand, id| hand.cluster.hosts[&id].node.as_ref().unwrap().is_leaderless();
    // A follower that misses nothing, then one that a fence makes deaf, whatever time passes.
    assert!(!leaderless(&hand, 2) && !leaderless(&hand, 1));
    hand.fence(2, true);
    for _ in 0..5 * ELECTION_TICKS {
        hand.tick(2);
    }
    assert!(!leaderless(&hand, 2), "it heard its leader until the fence");
    // Lifted alone: it gives its leader up after one timeout at least, and counts another.
    hand.fence(2, false);
    let mut ticks = 0;
    while !leaderless(&hand, 2) {
        hand.tick(2);
        hand.cluster.network.clear();
        ticks += 1;
    }
    assert!(ticks >= 2 * ELECTION_TICKS, "leaderless after {ticks} ticks");
    hand.fence(2, true);
    assert!(leaderless(&hand, 2), "a fenced member says what it was");
    hand.fence(2, false);
    hand.fence(2, true);
    assert!(!leaderless(&hand, 2), "what it was before a fence says nothing about now");
}
