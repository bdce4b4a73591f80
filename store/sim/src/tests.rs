//! The suite: seeds that must hold, planted bugs that must be found, and replay.

mod disk;
mod membership;

use super::*;

/// Short runs, so that many fit into the time that unit tests have.
fn short() -> Options {
    Options { fault_micros: 12_000_000, ..Options::default() }
}

#[test]
fn nothing_acknowledged_is_lost_under_any_fault() {
    let mut counts = Counts::default();
    for seed in 1..=110 {
        let report = run(seed, &short());
        assert_eq!(report.violation, None, "seed {seed}\n{}", trace::text());
        counts.merge(&report.counts);
    }
    assert_eq!(counts.missing(), Vec::<&str>::new(), "faults and checks that never happened: {counts:?}");
}

#[test]
fn a_seed_replays_bit_by_bit() {
    let (first, second) = (run(7, &short()), run(7, &short()));
    assert_eq!(first, second);
    assert_ne!(first.trace_hash, run(8, &short()).trace_hash);
}

/// Seeds within which a planted bug must be found.
const SEEDS_MAX: u64 = 40;

/// Runs seeds until one fails; says which and why.
fn find(bug: Bug, seeds_max: u64) -> (u64, String) {
    let options = Options { bug: Some(bug), ..short() };
    for seed in 1..=seeds_max {
        if let Some(violation) = run(seed, &options).violation {
            return (seed, violation);
        }
    }
    panic!("{bug:?} was not found in {seeds_max} seeds");
}

fn found_as(bug: Bug, signs: &[&str]) {
    found_within(SEEDS_MAX, bug, signs);
}

/// Any one of these texts, of a checker or of an assertion of the core, names the damage.
fn found_within(seeds_max: u64, bug: Bug, signs: &[&str]) {
    let (seed, why) = find(bug, seeds_max);
    println!("{bug:?}: seed {seed}: {why}");
    assert!(signs.iter().any(|sign| why.contains(sign)), "{bug:?} at seed {seed} was found as something else: {why}");
}

#[test]
fn reporting_entries_durable_before_the_sync_is_found() {
    found_as(Bug::SkipSync, &["applies an entry of term", "is lost", "does not start", "applies entry", "beyond"]);
}

#[test]
fn forgetting_a_term_or_a_vote_is_found() {
    found_as(
        Bug::LoseTerm,
        &["both lead term", "applies an entry of term", "term", "a linearizable read sees revision"],
    );
}

#[test]
fn answering_before_commit_is_found() {
    found_as(Bug::AnswerAtPropose, &["was answered", "is lost"]);
}

#[test]
fn applying_a_command_twice_is_found() {
    found_as(Bug::ApplyTwice, &["stands at revision", "HashKV", "was answered"]);
}

#[test]
fn proposing_a_command_twice_is_found() {
    found_as(Bug::ProposeTwice, &["and again at"]);
}

#[test]
fn a_linearizable_read_from_local_state_is_found() {
    found_as(Bug::LocalRead, &["a linearizable read sees revision"]);
}

#[test]
fn a_member_started_on_a_stale_disk_is_found() {
    found_as(
        Bug::StaleDisk,
        &[
            "applies an entry of term",
            "is lost",
            "both lead term",
            "does not start",
            "has this member's word",
            "beyond",
            "out of range",
        ],
    );
}
