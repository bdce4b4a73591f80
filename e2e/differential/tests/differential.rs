//! A real etcd and a real `quorate` beside each other: past findings and new sequences are answered the same, everything that there is
//! to reach is reached, and servers that do differ are found out. QUORATE_DIFFERENTIAL_SEED repeats a run's first sequence.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::time::Duration;

use quorate_differential::generate::{self, Sequence};
use quorate_differential::run::{Setting, play};
use quorate_differential::server::Programs;
use quorate_differential::step::Step;
use quorate_differential::suite::{self, Options};
use quorate_differential::{corpus, shrink};
use quorate_harness::Interrupt;

/// What `make test` gives to new sequences.
const DURATION: Duration = Duration::from_secs(100);
const STEPS: usize = 400;
/// The same sequences in every run, as far as the time goes; `make differential` draws new ones.
const SEED: u64 = 1;
const SHRINK: Duration = Duration::from_secs(90);

fn first_seed() -> u64 {
    match std::env::var("QUORATE_DIFFERENTIAL_SEED") {
        Ok(seed) => seed.parse().expect("QUORATE_DIFFERENTIAL_SEED is a number"),
        Err(_) => SEED,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorate_answers_as_etcd_and_everything_is_reached() {
    let programs = Programs::find().unwrap();
    let past = suite::replay(&programs).await.unwrap();
    assert!(past.again.is_empty(), "findings are back: {:#?}", past.again);
    let options =
        Options { first_seed: first_seed(), steps: STEPS, duration: DURATION, workers: 2, divergences_max: 1 };
    println!("{} past findings are answered the same; first seed {}", past.sequences, options.first_seed);
    let mut report = suite::run(&programs, &options, &Interrupt::never()).await.unwrap();
    report.coverage.merge(&past.coverage);
    println!("{}\n{}", report.coverage.table(), report.summary());
    if let Some(finding) = report.findings.into_iter().next() {
        let (seed, found) = (finding.seed, finding.divergence.clone());
        let (small, divergence) =
            shrink::shrink(&programs, finding.sequence, finding.divergence, SHRINK).await.unwrap();
        let small = corpus::write(&small, &format!("found by seed {seed}"));
        panic!("seed {seed} (--steps {STEPS}), {found}\nmade small, {divergence}\n{small}");
    }
    let missing = report.coverage.missing();
    assert!(missing.is_empty(), "never reached: {}", missing.join(", "));
}

/// Plays sequences until the servers differ, and makes the finding small.
async fn found_out(quorate_flags: &[&str], sequences: impl Iterator<Item = Sequence>) -> (Sequence, String) {
    let programs = Programs::find().unwrap();
    for mut sequence in sequences.take(20) {
        sequence.setting = Setting {
            quorate_flags: quorate_flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..sequence.setting
        };
        let played = play(&programs, &sequence.setting, &sequence.steps).await.unwrap();
        if let Some(divergence) = played.divergence {
            let (small, divergence) = shrink::shrink(&programs, sequence, divergence, SHRINK).await.unwrap();
            return (small, divergence.to_string());
        }
    }
    panic!("servers that differ were not found out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_smaller_transactions_is_found_out_by_a_single_request() {
    // Only sequences with one member and without low limits of their own.
    let plain =
        (1..).map(|seed| generate::sequence(seed, 150)).filter(|sequence| sequence.setting == Setting::default());
    let (small, said) = found_out(&["--max-txn-ops=2"], plain).await;
    assert_eq!(small.steps.len(), 1, "{said}");
    assert_eq!(small.steps[0].name(), "KV.Txn", "{said}");
    assert!(said.contains("too many operations"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_more_over_a_watch_stream_is_found_out() {
    let lines = [
        "KV.Put key: \"a\" value: \"1\"",
        "Watch.Watch/1 create_request { key: \"a\" progress_notify: true }",
        "Lease.LeaseGrant ID: 5 TTL: 1",
        // Takes two seconds, in which a server that tells progress does so.
        "gone ID: 5",
        "KV.Put key: \"a\" value: \"2\"",
    ];
    let steps = lines.iter().map(|line| Step::parse(line).unwrap()).collect();
    let sequence = Sequence { setting: Setting::default(), steps };
    let (small, said) = found_out(&["--watch-progress-notify-interval=100ms"], std::iter::once(sequence)).await;
    assert!(said.contains("watch stream 1 differs"), "{said}");
    assert!(small.steps.iter().any(|step| step.name() == "Watch.Watch"), "{said}");
}
