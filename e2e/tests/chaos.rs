//! Clusters of real members under all faults that are drawn by default, judged by what their clients saw: three and five
//! members, one after the other. QUORATE_CHAOS_SEED repeats a run's draws. And small versions of what `quorate-chaos catch-up`
//! and `quorate-chaos liveness` measure, without their bounds on time, which a busy machine does not keep.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_e2e::chaos::{Kind, Plan, catch_up, cut_off, hours, liveness, run};
use quorate_harness::Interrupt;

/// Two clusters at once would starve each other on two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// With founding, way back and the end of all leases a run takes three quarters of a minute.
const STRIKE_FOR: Duration = Duration::from_secs(30);

/// Far below what a member would hold if it kept all that a follower misses.
const MEMORY_MIB_MAX: u64 = 1_024;

fn seed() -> u64 {
    match std::env::var("QUORATE_CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("QUORATE_CHAOS_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into(),
    }
}

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nothing_is_violated(members: usize) {
    let _one = alone();
    let plan = Plan { members, duration: STRIKE_FOR, seed: seed(), tls: true, kinds: Kind::default_mix() };
    println!("{plan:?}");
    let report = run(plan, &Interrupt::never(), |line| println!("{line}"))
        .unwrap_or_else(|error| panic!("the harness failed: {error}"));
    hours::append(&hours::log_path(), &report).unwrap();
    println!("{report}");
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.fault_count() > 0);
    // What a run of any seed has: a zero says that a checker had nothing to judge.
    let judged = report.judged;
    for (name, count) in [
        ("acknowledged", judged.acknowledged),
        ("refused", judged.refused),
        ("conditions", judged.conditions),
        ("linearizable reads", judged.linearizable_reads),
        ("serializable reads", judged.serializable_reads),
        ("reads of the past", judged.past_reads),
        ("placed in real time", judged.ordered),
        ("watched events", judged.watched_events),
        ("leases", judged.leases),
        ("expiries", judged.expiries),
    ] {
        assert!(count > 0, "{name}: none was judged");
    }
}

#[test]
fn three_members_keep_every_promise_under_faults() {
    nothing_is_violated(3);
}

#[test]
fn five_members_keep_every_promise_under_faults() {
    nothing_is_violated(5);
}

#[test]
fn a_follower_that_was_away_and_one_that_lost_its_disk_catch_up_under_load() {
    let _one = alone();
    let scenario = catch_up::Scenario {
        revisions: 6_000,
        rate: 50,
        phase: Duration::from_secs(2),
        seed: 1,
        wal_keep_bytes: None,
        catch_up_bytes_per_second: None,
        apart: false,
        rounds: 1,
    };
    let report = catch_up::run(scenario, &Interrupt::never(), |line| println!("{line}")).unwrap();
    println!("{report}");
    assert_eq!(report.returns.len(), 2);
    for back in &report.returns {
        assert!(back.during.count() > 0, "{}: nobody was answered", back.how);
        assert_eq!(back.during.failed, 0, "{}", back.how);
        let memory = [back.leader_memory.peak, back.follower_memory.peak];
        assert!(memory.iter().all(|peak| (1..MEMORY_MIB_MAX).contains(peak)), "{}: {memory:?} MiB", back.how);
    }
}

/// Before peers gave up connections on which nothing is acknowledged, it took as long again as the cut: the retransmission after it.
#[test]
fn a_follower_that_was_cut_off_serves_soon_after_the_network_is_back() {
    let _one = alone();
    let after = cut_off::run(Duration::from_secs(16), 1).unwrap();
    println!("served {after:?} after the cut");
    assert!(after < Duration::from_secs(6), "{after:?}");
}

#[test]
fn leadership_leaves_a_stalled_disk_and_five_members_go_on_with_two_dead() {
    let _one = alone();
    let scenario = liveness::Scenario { stalls: 1, rate: 50, phase: Duration::from_secs(2), seed: 1 };
    let report = liveness::run(scenario, &Interrupt::never(), |line| println!("{line}")).unwrap();
    println!("{report}");
    assert!(report.stalls.iter().all(|stall| stall.moved.is_some()), "{report}");
    assert!(report.two_dead.count() > 0, "{report}");
    assert_eq!(report.two_dead.failed, 0, "{report}");
}
