//! Real servers killed, cut off from power and with a file system that fails, under load: no acknowledged write is lost. Five rounds of each kind;
//! with QUORATE_TEST_LONG=1 (`make test-long`) thirty. QUORATE_CRASH_SEED repeats a run's draws.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_e2e::crash::checker::Violation;
use quorate_e2e::crash::{Fault, Plan, Report, run};

fn rounds() -> u32 {
    if std::env::var_os("QUORATE_TEST_LONG").is_some() { 30 } else { 5 }
}

fn seed() -> u64 {
    match std::env::var("QUORATE_CRASH_SEED") {
        Ok(seed) => seed.parse().expect("QUORATE_CRASH_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into(),
    }
}

async fn report(members: usize, fault: Fault, rounds: u32, fsync: bool) -> Report {
    let plan = Plan { members, fault, rounds, seed: seed(), fsync };
    println!("{plan:?}");
    let report = run(plan).await.unwrap_or_else(|error| panic!("the harness failed: {error}"));
    println!("{report}");
    report
}

async fn nothing_is_lost(members: usize, fault: Fault) {
    let report = report(members, fault, rounds(), true).await;
    assert!(report.violations.is_empty(), "{report}");
    assert_eq!(report.rounds, rounds());
    assert!(report.strikes >= report.rounds as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_member_keeps_what_it_acknowledged_when_it_is_killed() {
    nothing_is_lost(1, Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_keep_what_they_acknowledged_when_any_or_all_are_killed() {
    nothing_is_lost(3, Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_member_keeps_what_it_acknowledged_when_its_power_is_cut() {
    nothing_is_lost(1, Fault::PowerCut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_keep_what_they_acknowledged_when_the_power_of_any_or_all_is_cut() {
    nothing_is_lost(3, Fault::PowerCut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_member_whose_file_system_turns_read_only_ends_says_why_and_keeps_what_it_acknowledged() {
    nothing_is_lost(1, Fault::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_members_one_whose_file_system_turns_read_only_ends_and_the_others_go_on() {
    nothing_is_lost(3, Fault::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_fdatasync_a_power_cut_is_found_out() {
    let report = report(1, Fault::PowerCut, rounds(), false).await;
    // It has lost what it acknowledged, or finds out itself that its log is shorter than its database; that it hangs proves nothing.
    let found = |violation: &Violation| match violation {
        Violation::Lost { .. } => true,
        Violation::Refused(refusal) => refusal.log.contains("rebuild this member"),
        _ => false,
    };
    assert!(report.violations.iter().any(found), "the checker would miss a server that never syncs: {report}");
}
