//! The stale reads that others had, drawn by hand. The harness asserts of each confirmed read that its index covers everything that
//! was acknowledged to anybody before the read was asked (`Cluster::perform`).

use super::hand::Hand;
use super::*;

fn three() -> Hand {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.assert_works(1);
    hand
}

fn waiting(hand: &Hand, id: MemberId) -> usize {
    hand.host(id).reads.len()
}

/// For an election timeout this member hears nobody, and nobody hears it: from then on it votes.
fn forget_leader(hand: &mut Hand, id: MemberId) {
    (0..ELECTION_TICKS).for_each(|_| hand.tick(id));
    hand.cluster.network.clear();
}

/// Leadership goes from 1 to 2, of which 1 hears nothing, and 2 acknowledges a write.
fn another_leads(hand: &mut Hand) {
    hand.isolate(1);
    forget_leader(hand, 3);
    hand.elect(2);
    hand.assert_works(2);
    assert_eq!(hand.status(1).role, Role::Leader, "it was not told");
}

#[test]
fn a_paused_old_leader_confirms_nothing_that_was_asked_after_the_pause() {
    let mut hand = three();
    another_leads(&mut hand);
    hand.read(1);
    hand.settle();
    hand.tick(1);
    hand.settle();
    assert_eq!(waiting(&hand, 1), 1);
    hand.cut.clear();
    hand.pass(3 * ELECTION_TICKS);
    assert_eq!(waiting(&hand, 1), 0, "the new leader confirmed it");
}

#[test]
fn a_follower_reads_across_a_network_that_is_slower_than_its_patience() {
    let mut hand = three();
    hand.read(2);
    // Each way takes seven ticks; there are four: to the leader, to the majority, back, and back again.
    let mut line: VecDeque<Vec<_>> = (0..6).map(|_| Vec::new()).collect();
    for tick in 0..4 * 7 {
        assert_eq!(waiting(&hand, 2), 1, "at tick {tick}");
        line.push_back(std::mem::take(&mut hand.cluster.network));
        hand.cluster.network = line.pop_front().unwrap();
        hand.deliver();
        [1, 2, 3].iter().for_each(|id| hand.tick(*id));
    }
    assert_eq!(waiting(&hand, 2), 0, "the first round is answered, late as it is");
}

#[test]
fn late_answers_to_an_old_leader_confirm_only_what_was_asked_before_them() {
    let mut hand = three();
    hand.read(1);
    hand.deliver();
    let answers = std::mem::take(&mut hand.cluster.network);
    assert!(!answers.is_empty(), "the answers to its round");
    another_leads(&mut hand);
    hand.read(1);
    hand.cluster.network = answers;
    hand.cut.clear();
    // They are of its own term, and it still leads for all that it knows.
    hand.deliver();
    assert_eq!(waiting(&hand, 1), 1, "the second read needs a round of its own");
    hand.pass(3 * ELECTION_TICKS);
    assert_eq!(waiting(&hand, 1), 0);
}

#[test]
fn the_answer_of_a_leader_that_was_replaced_confirms_nothing() {
    let mut hand = three();
    hand.read(3);
    // The question, the leader's round, its acknowledgements: its answer to member 3 is on the way.
    for _ in 0..3 {
        hand.deliver();
    }
    let late = std::mem::take(&mut hand.cluster.network);
    assert!(late.iter().any(|(from, to, _)| (*from, *to) == (1, 3)), "{late:?}");
    another_leads(&mut hand);
    assert_eq!(hand.status(3).leader, 2);
    hand.read(3);
    hand.cluster.network.extend(late);
    hand.cut.clear();
    hand.settle();
    hand.pass(ELECTION_TICKS);
    assert_eq!(waiting(&hand, 3), 0, "a round of the new leader confirmed both");
}

#[test]
fn a_leader_that_has_committed_nothing_in_its_term_confirms_nothing() {
    let mut hand = three();
    hand.isolate(1);
    forget_leader(&mut hand, 3);
    // Member 2 gets the vote of 3; what 3 says after it is lost.
    while hand.status(2).role != Role::Leader {
        if hand.cluster.network.is_empty() {
            hand.tick(2);
        }
        hand.deliver();
    }
    hand.cut.insert((3, 2));
    hand.settle();
    hand.read(2);
    hand.read(3);
    hand.tick(2);
    hand.settle();
    assert!(!hand.status(2).leads_with_commit);
    assert_eq!((waiting(&hand, 2), waiting(&hand, 3)), (1, 1));
    hand.cut.clear();
    hand.pass(4 * ELECTION_TICKS);
    assert_eq!((waiting(&hand, 2), waiting(&hand, 3)), (0, 0));
}

#[test]
fn contexts_of_rounds_are_never_used_again() {
    let mut contexts = BTreeSet::new();
    for (member, boot) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let mut rounds = read::Rounds::new(member, boot);
        for _ in 0..1_000 {
            assert!(contexts.insert(rounds.next_context()), "member {member}, boot {boot}");
        }
    }
}
