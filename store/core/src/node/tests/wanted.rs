//! What of its log a leader knows that followers may still ask for.

use super::hand::Hand;

#[test]
fn a_leader_knows_the_first_entry_that_a_follower_which_answers_may_ask_for() {
    let mut hand = Hand::found(&[1, 2, 3], 3);
    hand.elect(1);
    hand.propose(1);
    hand.settle();
    let next = hand.node(1).last_index() + 1;
    assert_eq!(hand.node(1).log_wanted_from(), next, "everybody has everything");
    // What is sent to 3 is lost, and it is still heard.
    hand.cut.insert((1, 3));
    for _ in 0..3 {
        hand.propose(1);
        hand.settle();
    }
    assert_eq!(hand.node(1).last_index(), next + 2);
    assert_eq!(hand.node(1).log_wanted_from(), next, "3 lacks them");
    hand.isolate(3);
    hand.pass(150);
    assert_eq!(hand.node(1).log_wanted_from(), hand.node(1).last_index() + 1, "3 was not heard of for long");
    assert_eq!(hand.node(2).log_wanted_from(), hand.node(2).last_index() + 1, "nobody asks a follower");
}
