//! Clusters of real members under all faults that are drawn by default, judged by what their clients saw: three and five
//! members, one after the other. QUORATE_CHAOS_SEED repeats a run's draws.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_e2e::chaos::{Kind, Plan, hours, run};

/// Two clusters at once would starve each other on two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// With founding, way back and the end of all leases a run takes about a minute.
const STRIKE_FOR: Duration = Duration::from_secs(40);

fn seed() -> u64 {
    match std::env::var("QUORATE_CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("QUORATE_CHAOS_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into(),
    }
}

fn nothing_is_violated(members: usize) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = Plan { members, duration: STRIKE_FOR, seed: seed(), tls: true, kinds: Kind::default_mix() };
    println!("{plan:?}");
    let report = run(plan, |line| println!("{line}")).unwrap_or_else(|error| panic!("the harness failed: {error}"));
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
