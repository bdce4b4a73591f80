//! The suite: seeds that must hold, planted bugs that must be found, and replay.

use std::panic::{AssertUnwindSafe, catch_unwind};

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
        assert_eq!(report.violation, None, "seed {seed}\n{}", trace::tail().1);
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
fn find(bug: Bug) -> (u64, String) {
    let options = Options { bug: Some(bug), ..short() };
    for seed in 1..=SEEDS_MAX {
        match catch_unwind(AssertUnwindSafe(|| run(seed, &options))) {
            Ok(Report { violation: None, .. }) => {}
            Ok(Report { violation: Some(violation), .. }) => return (seed, violation),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                return (seed, text.unwrap_or_default());
            }
        }
    }
    panic!("{bug:?} was not found in {SEEDS_MAX} seeds");
}

/// Any one of these texts, of a checker or of an assertion of the core, names the damage.
fn found_as(bug: Bug, signs: &[&str]) {
    let (seed, why) = find(bug);
    println!("{bug:?}: seed {seed}: {why}");
    assert!(signs.iter().any(|sign| why.contains(sign)), "{bug:?} at seed {seed} was found as something else: {why}");
}

#[test]
fn reporting_entries_durable_before_the_sync_is_found() {
    found_as(Bug::SkipSync, &["applies an entry of term", "is lost", "does not start", "applies entry", "beyond"]);
}

#[test]
fn forgetting_a_term_or_a_vote_is_found() {
    found_as(Bug::LoseTerm, &["both lead term", "applies an entry of term", "term"]);
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
            "to_commit",
            "beyond",
            "out of range",
        ],
    );
}

/// Raft 0.7 looked for the progress of a leader that had applied its own removal, and panicked: at a sync, and at an append answer.
#[test]
fn a_leader_that_is_removed_steps_down() {
    let long = run(1045, &Options::default());
    assert_eq!((run(147, &short()).violation, long.violation), (None, None), "{}", trace::tail().1);
}

/// Raft 0.7 asserted that the log of a new leader is durable; a member that became the only voter campaigned before that.
#[test]
fn a_sole_voter_campaigns_when_its_log_is_durable() {
    assert_eq!(run(213, &short()).violation, None, "{}", trace::tail().1);
}
