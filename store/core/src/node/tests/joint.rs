//! Joint changes: both halves decide, whoever leads ends it, and neither crashes nor the loss of the leader leave it open.

use super::hand::Hand;
use super::*;

/// Voters 1 to 3 with member 1 leading, and caught-up learners 4 and 5.
fn three_and_two_learners() -> Hand {
    let mut hand = Hand::found(&[1, 2, 3], 5);
    hand.elect(1);
    let learner = |id| Change::AddLearner(Member { learner: true, ..member(id) });
    hand.change(1, Change::Joint(vec![learner(4), learner(5)]));
    hand.settle();
    hand.pass(2);
    assert_eq!((hand.voters(4), hand.voters(5)), (vec![1, 2, 3], vec![1, 2, 3]));
    assert!(!hand.host(1).membership.is_joint());
    hand
}

fn replace(with: MemberId, gone: MemberId) -> Change {
    Change::Joint(vec![Change::Promote(with), Change::Remove(gone)])
}

/// Turns the whole old cluster but its leader over: two voters of each half are not in the other.
fn exchange() -> Change {
    Change::Joint(vec![Change::Promote(4), Change::Promote(5), Change::Remove(2), Change::Remove(3)])
}

/// All members have applied the change of `exchange`, and nobody has the entry that ends it.
fn in_a_joint_configuration() -> Hand {
    let mut hand = three_and_two_learners();
    hand.change(1, exchange());
    for _ in 0..20 {
        if (1..=5).all(|id| hand.host(id).membership.is_joint()) {
            break;
        }
        // The leader proposes the end as soon as it is in: its log must not reach anybody.
        if hand.host(1).membership.is_joint() {
            hand.cluster.network.retain(|(from, _, event)| *from != 1 || !carries_entries(event));
        }
        hand.deliver();
        hand.tick(1);
    }
    hand.cluster.network.clear();
    assert!((1..=5).all(|id| hand.host(id).membership.is_joint()));
    hand
}

fn carries_entries(event: &Event) -> bool {
    matches!(event, Event::Message(message) if message.entries() > 0)
}

#[test]
fn a_voter_is_replaced_in_one_step() {
    let mut hand = three_and_two_learners();
    hand.change(1, replace(4, 2));
    hand.settle();
    hand.pass(2);
    for id in [1, 2, 3, 4, 5] {
        assert_eq!(hand.voters(id), [1, 3, 4], "at member {id}");
    }
    hand.isolate(2);
    hand.assert_works(1);
}

#[test]
fn the_leader_itself_is_replaced() {
    let mut hand = three_and_two_learners();
    hand.change(1, replace(4, 1));
    hand.settle();
    assert_eq!(hand.status(1).role, Role::Follower);
    hand.isolate(1);
    hand.pass(3 * ELECTION_TICKS);
    let leader = hand.cluster.leader().unwrap();
    assert_eq!(hand.voters(leader), [2, 3, 4]);
    hand.assert_works(leader);
}

#[test]
fn nothing_is_committed_without_the_old_majority_and_nothing_without_the_new_one() {
    for absent in [[2, 3], [4, 5]] {
        let mut hand = in_a_joint_configuration();
        absent.iter().for_each(|id| hand.isolate(*id));
        let commit = hand.status(1).commit;
        hand.propose(1);
        hand.settle();
        hand.tick(1);
        hand.settle();
        assert_eq!(hand.status(1).commit, commit, "without {absent:?}");
        hand.pass(3 * ELECTION_TICKS);
        assert!((1..=5).all(|id| hand.status(id).role != Role::Leader), "nobody leads without {absent:?}");
        // One of each half is enough for both.
        hand.cut.clear();
        hand.isolate(absent[0]);
        hand.pass(6 * ELECTION_TICKS);
        let leader = hand.cluster.leader().unwrap();
        hand.cut.clear();
        hand.pass(3 * ELECTION_TICKS);
        let leader = hand.cluster.leader().unwrap_or(leader);
        assert_eq!(hand.voters(leader), [1, 4, 5]);
        assert!(!hand.host(leader).membership.is_joint());
        hand.assert_works(leader);
    }
}

#[test]
fn another_leader_ends_what_a_lost_one_began() {
    let mut hand = in_a_joint_configuration();
    hand.stop(1);
    hand.pass(8 * ELECTION_TICKS);
    let leader = hand.cluster.leader().unwrap();
    assert!(leader != 1 && !hand.host(leader).membership.is_joint());
    for id in 4..=5 {
        assert_eq!(hand.voters(id), [1, 4, 5]);
    }
}

#[test]
fn a_joint_configuration_survives_the_power_cut_of_everybody() {
    for flushed in [false, true] {
        let mut hand = in_a_joint_configuration();
        if flushed {
            (1..=5).for_each(|id| hand.cluster.flush(id));
        }
        (1..=5).for_each(|id| hand.restart(id));
        let restored = hand.host(4).membership.conf_state();
        if flushed {
            assert_eq!((restored.voters, restored.outgoing), (vec![1, 4, 5], vec![1, 2, 3]));
        }
        hand.pass(8 * ELECTION_TICKS);
        let leader = hand.cluster.leader().unwrap();
        assert_eq!(hand.voters(leader), [1, 4, 5]);
        hand.assert_works(leader);
    }
}

#[test]
fn of_two_that_leave_none_goes_before_the_new_majority_knows() {
    let mut hand = Hand::found(&[1, 2, 3, 4, 5], 5);
    hand.elect(1);
    hand.change(1, Change::Joint(vec![Change::Remove(4), Change::Remove(5)]));
    // Member 3 hears nothing, and 2 nothing after it has the entry that ends it: with 2 it is committed, which only the leader knows.
    hand.cut.insert((1, 3));
    for _ in 0..20 {
        if hand.host(1).membership.is_joint() && hand.node(2).last_index() == hand.node(1).last_index() {
            break;
        }
        hand.deliver();
    }
    hand.cut.insert((1, 2));
    hand.settle();
    hand.tick(1);
    hand.settle();
    let end = hand.node(1).last_index();
    assert_eq!(hand.status(1).commit, end);
    for id in [4, 5] {
        assert!(hand.status(id).commit < end && hand.host(id).membership.is_joint(), "member {id} may not know yet");
    }
    hand.cut.remove(&(1, 2));
    hand.pass(3);
    assert_eq!((hand.voters(4), hand.voters(5)), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!(hand.voters(2), [1, 2, 3]);
    // Now the leader may be gone for ever too: 2 knows, and 3 learns of it.
    hand.cut.clear();
    hand.stop(1);
    hand.stop(4);
    hand.stop(5);
    hand.pass(8 * ELECTION_TICKS);
    let leader = hand.cluster.leader().unwrap();
    hand.assert_works(leader);
}

/// The changes of a random run, each proposed when the one before is done: two learners, two replacements, growth to five, and back.
fn next_change(membership: &Membership, leader: MemberId, step: usize, chance: &mut Chance) -> Option<Change> {
    let learner = |id| Change::AddLearner(Member { learner: true, ..member(id) });
    let voters = membership.conf_state().voters;
    let pick = voters[chance.below(voters.len())];
    let other = *voters.iter().find(|id| **id != leader)?;
    Some(match step {
        0 => Change::Joint(vec![learner(4), learner(5)]),
        1 => replace(4, pick),
        2 => replace(5, leader),
        3 => Change::Joint(vec![learner(6), learner(7)]),
        4 => Change::Joint(vec![Change::Promote(6), Change::Promote(7)]),
        5 => Change::Joint(vec![Change::Remove(leader), Change::Remove(other)]),
        _ => return None,
    })
}

/// Runs one seed; returns how many changes were done.
fn run_joint(seed: u64) -> usize {
    let mut cluster = Cluster::with(seed, &[1, 2, 3], 7, OFTEN);
    let (mut counter, mut done, mut proposed_at) = (0, 0, 0);
    let mut last_index = 3;
    for step in 0..24_000 {
        cluster.happen(true);
        let id = 1 + cluster.chance.below(7) as u64;
        if step % 20 == 0 {
            counter += 1;
            cluster.propose(id, counter);
        }
        if step % 37 == 0 {
            cluster.read(id);
        }
        let Some(leader) = cluster.leader().filter(|_| step % 100 == 0) else { continue };
        let membership = cluster.hosts[&leader].membership.clone();
        if membership.is_joint() {
            continue;
        }
        // Each joint change takes two entries: it is done when the second one moved the index.
        if membership.index() > last_index {
            last_index = membership.index();
            done += 1;
            proposed_at = 0;
        }
        if (proposed_at == 0 || step > proposed_at + 2_000)
            && let Some(change) = next_change(&membership, leader, done, &mut cluster.chance)
        {
            cluster.change(leader, change);
            proposed_at = step;
        }
    }
    for _ in 0..100_000 {
        cluster.happen(false);
    }
    counter += 1;
    let leader = cluster.leader().unwrap_or_else(|| panic!("seed {seed}: no leader after the faults ended"));
    cluster.propose(leader, counter);
    for _ in 0..60_000 {
        cluster.happen(false);
    }
    let membership = &cluster.hosts[&leader].membership;
    assert!(!membership.is_joint(), "seed {seed}: the joint change did not end");
    assert!(cluster.world.acknowledged.contains_key(&counter), "seed {seed}: a proposal to leader {leader} got lost");
    let last = *cluster.world.applied.keys().last().unwrap();
    for id in membership.members().map(|member| member.id) {
        let applied = cluster.hosts[&id].node.as_ref().unwrap().status().applied;
        assert_eq!(applied, last, "seed {seed}: member {id} did not catch up");
    }
    done
}

#[test]
fn joint_changes_under_crashes_between_any_two_effects_end_and_lose_nothing() {
    let done: usize = (1..=20).map(run_joint).sum();
    assert!(done > 60, "only {done} of 120 joint changes were done");
}
