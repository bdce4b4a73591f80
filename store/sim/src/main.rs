//! `quorate-sim`: runs seeds and says what they showed.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use quorate_sim::{CHECKS, Counts, FAULTS, Options, run, trace};

/// Runs whole clusters, each as a function of its seed, under faults, and checks that nothing acknowledged is lost.
#[derive(Parser)]
#[command(name = "quorate-sim", version)]
struct Arguments {
    /// Run this one seed and print its trace's hash
    #[arg(long, conflicts_with_all = ["seeds", "first_seed"])]
    seed: Option<u64>,
    /// How many seeds to run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Most voters of a cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=7))]
    members: u64,
    /// Simulated seconds under faults; a calm of 19 seconds follows
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options =
        Options { members: arguments.members, fault_micros: arguments.seconds * 1_000_000, ..Options::default() };
    let shown = format!("--members {} --seconds {}", arguments.members, arguments.seconds);
    let replay = shown.clone();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let (seed, tail) = trace::tail();
        eprint!("{tail}");
        default(panic);
        eprintln!("seed {seed} failed: an assertion of the core. Replay: quorate-sim --seed {seed} {replay}");
    }));
    let (first, count) = arguments.seed.map_or((arguments.first_seed, arguments.seeds), |seed| (seed, 1));
    let began = Instant::now();
    let (mut counts, mut micros) = (Counts::default(), 0);
    for seed in first..first.saturating_add(count) {
        let report = run(seed, &options);
        if let Some(violation) = report.violation {
            eprint!("{}", trace::tail().1);
            eprintln!("seed {seed} failed: {violation}\nReplay: quorate-sim --seed {seed} {shown}");
            return ExitCode::FAILURE;
        }
        if arguments.seed.is_some() {
            println!("seed {seed}: trace hash {:016x}", report.trace_hash);
        }
        counts.merge(&report.counts);
        micros += report.simulated_micros;
    }
    summarize(&counts, count, micros, began.elapsed().as_secs_f64());
    let missing = counts.missing();
    if arguments.seed.is_none() && !missing.is_empty() {
        eprintln!("never happened: {}; run more seeds (--seeds)", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn summarize(counts: &Counts, seeds: u64, micros: u64, wall_seconds: f64) {
    for (title, names) in [("Faults", &FAULTS[..]), ("Checks", &CHECKS[..])] {
        println!("{title}");
        for name in names {
            println!("  {name:<52} {:>12}", counts.get(name));
        }
    }
    let seconds = micros as f64 / 1e6;
    println!(
        "{seeds} seeds, {:.2} simulated hours in {wall_seconds:.1} s ({:.0} simulated seconds a second), no violation",
        seconds / 3600.0,
        seconds / wall_seconds.max(1e-9),
    );
}
