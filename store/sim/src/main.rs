//! `quorate-sim`: runs seeds and says what they showed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_sim::hours::{self, Line};
use quorate_sim::suite::{Failure, Suite, Summary};
use quorate_sim::trace::{self, Keep};
use quorate_sim::{Bug, CHECKS, FAULTS, Options, RARE, run};

/// Runs whole clusters, each as a function of its seed, under faults, and checks that nothing acknowledged is lost.
#[derive(Parser)]
#[command(name = "quorate-sim", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Run this one seed and print its trace's hash
    #[arg(long, conflicts_with_all = ["seeds", "first_seed", "log", "jobs"])]
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
    /// Clients, each with one operation at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    clients: u64,
    /// Only these faults of the seed's plan, by number; empty for none (default: all)
    #[arg(long, value_delimiter = ',', num_args = 0..)]
    faults: Option<Vec<u32>>,
    /// Draws other delays for the same plan of faults
    #[arg(long, default_value_t = 0)]
    salt: u64,
    /// Plant this bug, to see what the checkers say of it
    #[arg(long, value_enum, hide_possible_values = true)]
    bug: Option<Bug>,
    /// Print everything that happens, not only landmarks and the end of a failing run
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Seeds that run at the same time (0 = one for each core)
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Failing seeds after which no new one begins
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    failures_max: u64,
    /// Runs that may be spent on making one failure smaller (0 = none)
    #[arg(long, default_value_t = 200)]
    shrink: u32,
    /// Add a line about this run to this log of hours
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The commit that the log of hours names
    #[arg(long, default_value = "unknown")]
    commit: String,
}

#[derive(Subcommand)]
enum Command {
    /// Sum up a log of hours
    Hours {
        /// The log, as --log writes it
        #[arg(long, value_name = "FILE")]
        log: PathBuf,
        /// Write the totals into the marked block of this page
        #[arg(long, value_name = "PAGE")]
        write_page: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Command::Hours { log, write_page }) => sum_up(log, write_page.as_deref()).map(|()| true),
        None => match arguments.seed {
            Some(seed) => Ok(run_one(seed, &arguments)),
            None => run_suite(&arguments),
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quorate-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &Arguments) -> Options {
    Options {
        members: arguments.members,
        fault_micros: arguments.seconds * 1_000_000,
        clients: arguments.clients,
        only: arguments.faults.clone().map(|faults| faults.into_iter().collect()),
        salt: arguments.salt,
        bug: arguments.bug,
        keep: if arguments.trace { Keep::All } else { Keep::Some },
        ..Options::default()
    }
}

fn sum_up(log: &Path, page: Option<&Path>) -> Result<(), hours::Error> {
    let lines = hours::read(log)?;
    print!("{}", hours::totals(&lines));
    page.map_or(Ok(()), |page| hours::write_page(page, &lines))
}

fn run_one(seed: u64, arguments: &Arguments) -> bool {
    let report = run(seed, &options(arguments));
    if arguments.trace || report.violation.is_some() {
        print!("{}", trace::text());
    }
    println!("seed {seed}: trace hash {:016x}", report.trace_hash);
    match report.violation {
        None => {
            let hours = report.simulated_micros as f64 / 3.6e9;
            println!("no violation in {hours:.4} simulated hours");
            true
        }
        Some(violation) => {
            println!("violation: {violation}");
            false
        }
    }
}

fn run_suite(arguments: &Arguments) -> Result<bool, hours::Error> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let suite = Suite {
        first_seed: arguments.first_seed,
        seeds: arguments.seeds,
        options: options(arguments),
        jobs: if arguments.jobs == 0 { cores() } else { arguments.jobs },
        failures_max: usize::try_from(arguments.failures_max).unwrap_or(usize::MAX),
        shrink_runs: arguments.shrink,
    };
    let summary = suite.run(tell);
    if let Some(log) = &arguments.log {
        hours::append(log, &Line::of(&suite, &summary, &arguments.commit))?;
    }
    let missing = summary.counts.missing();
    conclude(&suite, &summary);
    if summary.failures.is_empty() && !missing.is_empty() {
        println!("never happened: {}; run more seeds (--seeds)", missing.join(", "));
    }
    Ok(summary.failures.is_empty() && missing.is_empty())
}

/// Shows a failure when it was found.
fn tell(failure: &Failure) {
    let Failure { seed, violation, shrunk, trace } = failure;
    let seconds = shrunk.report.simulated_micros as f64 / 1e6;
    let smaller = shrunk.report.violation.as_deref().unwrap_or_default();
    println!(
        "{trace}seed {seed} failed: {violation}\n  shrunk in {} runs to {} faults and {seconds:.1} s: {smaller}\n  replay: {}\n",
        shrunk.runs,
        shrunk.faults,
        shrunk.options.command(*seed),
    );
}

fn conclude(suite: &Suite, summary: &Summary) {
    for (title, names) in [("Faults", &FAULTS[..]), ("Checks", &CHECKS[..]), ("Rare", &RARE[..])] {
        println!("{title}");
        for name in names {
            println!("  {name:<52} {:>12}", summary.counts.get(name));
        }
    }
    for failure in &summary.failures {
        println!("seed {} failed: {}", failure.seed, failure.violation);
        println!("  whole:  {}", suite.options.command(failure.seed));
        println!("  shrunk: {}", failure.shrunk.options.command(failure.seed));
    }
    let seconds = summary.simulated_micros as f64 / 1e6;
    let Summary { seeds, wall_seconds, failures, .. } = summary;
    let failed = match failures.len() {
        0 => "no violation".to_owned(),
        count => format!("{count} failed"),
    };
    println!(
        "{seeds} seeds, {:.2} simulated hours in {wall_seconds:.1} s on {} threads ({:.0} simulated seconds a second and \
         thread), {failed}",
        seconds / 3600.0,
        suite.jobs,
        seconds / wall_seconds.max(1e-9) / suite.jobs.max(1) as f64,
    );
}
