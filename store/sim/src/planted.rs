//! Bugs planted into watches, leases, alarms: each must be found by the checker that is there for it.

use super::*;

/// Seeds within which each must be found.
const SEEDS_MAX: u64 = 40;

fn found_by(bug: Bug, signs: &[&str]) {
    let options = Options { fault_micros: 12_000_000, bug: Some(bug), ..Options::default() };
    let found = (1..=SEEDS_MAX).find_map(|seed| Some((seed, run(seed, &options).violation?)));
    let Some((seed, why)) = found else { panic!("{bug:?} was not found in {SEEDS_MAX} seeds") };
    println!("{bug:?}: seed {seed}: {why}");
    assert!(signs.iter().any(|sign| why.contains(sign)), "{bug:?} at seed {seed} was found as something else: {why}");
}

#[test]
fn a_watch_event_that_is_left_out_is_found() {
    found_by(Bug::DropEvent, &["is split", "is skipped", "never gets revision", "is ahead"]);
}

#[test]
fn a_watch_event_that_is_repeated_is_found() {
    found_by(Bug::RepeatEvent, &["is repeated", "is followed by something else", "is skipped"]);
}

#[test]
fn a_revision_over_two_messages_is_found() {
    found_by(Bug::SplitRevision, &["is split"]);
}

#[test]
fn watch_events_in_another_order_are_found() {
    found_by(Bug::ReorderEvents, &["is skipped", "is followed by something else"]);
}

#[test]
fn progress_before_the_events_it_speaks_of_is_found() {
    found_by(Bug::HasteProgress, &["is ahead", "a header shows revision"]);
}

#[test]
fn a_wrong_previous_row_is_found() {
    found_by(Bug::WrongPrevious, &["the previous row of revision"]);
}

#[test]
fn a_keep_alive_answered_by_a_stale_leader_is_found() {
    found_by(Bug::StaleKeepAlive, &["answered by the stale leader"]);
}

#[test]
fn a_lease_that_expires_early_is_found() {
    found_by(Bug::ExpireEarly, &["before the time it was promised"]);
}

#[test]
fn an_expiry_that_ends_another_grant_is_found() {
    found_by(Bug::IgnoreGrant, &["answers CommandId", "has leases"]);
}

#[test]
fn a_lease_granted_under_an_id_that_is_taken_is_found() {
    found_by(Bug::ReuseLease, &["has leases", "answers CommandId", "which is not in the history"]);
}

#[test]
fn a_write_left_out_by_the_size_of_one_member_is_found() {
    found_by(Bug::QuotaBySize, &["stands at revision"]);
}
