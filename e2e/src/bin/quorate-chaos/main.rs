//! `quorate-chaos`: breaks clusters of real members and judges what their clients saw. See `quorate_e2e::chaos`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use quorate_e2e::chaos::{Error, Kind, Plan, catch_up, hours, liveness, run};
use quorate_e2e::crash;
use quorate_harness::Interrupt;

#[derive(Parser)]
#[command(about = "Break clusters of real quorate members and judge what their clients saw (needs root)")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Strike a cluster with faults drawn from a seed, under load, and judge its history
    Run(Run),
    /// Measure how a follower catches up under load: one that was away, and one that lost its disk
    CatchUp {
        /// Revisions that are written while the follower is away
        #[arg(long, default_value_t = 1_000_000)]
        revisions: u64,
        /// Puts a second of the steady load at the leader
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// Seconds for which each phase is measured
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Bytes of the log that members keep for one that is away, so that it comes back by the log
        #[arg(long)]
        wal_keep_bytes: Option<u64>,
        /// How fast members send what another misses; 0 is as fast as it goes
        #[arg(long)]
        catch_up_bytes_per_second: Option<u64>,
        /// Give the follower a processor of its own and the others the rest, as if it ran on another machine. With TMPDIR in memory
        /// it does not share a disk either
        #[arg(long)]
        apart: bool,
        /// How often each way back is measured
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
    /// Measure how soon leadership leaves a stalled or slow disk, and five members with two of them dead
    Liveness {
        /// How often a leader's disk stalls
        #[arg(long, default_value_t = 5)]
        stalls: u32,
        /// Puts a second of the steady load
        #[arg(long, default_value_t = 300)]
        rate: u32,
        /// Seconds for which latencies are measured
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Print the hours that runs have taken on this machine, by commit
    Hours {
        /// Write them between the marks of this page
        #[arg(long, value_name = "FILE")]
        write_page: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Run {
    /// Members of the cluster: 3 or 5
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Seconds for which faults strike; about half a minute comes on top
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Draws the same faults again; a random one when left out
    #[arg(long)]
    seed: Option<u64>,
    /// Plain connections instead of TLS with certificates of clients and peers
    #[arg(long)]
    no_tls: bool,
    /// Draw only these kinds of faults (separated by commas)
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    faults: Vec<Kind>,
    /// Say nothing of the single steps
    #[arg(long, short)]
    quiet: bool,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quorate-chaos: {error}");
            match error {
                Error::Interrupted(interrupted) => interrupted.exit_code(),
                _ => ExitCode::from(2),
            }
        }
    }
}

/// Whether nothing was violated.
fn perform(command: Command) -> Result<bool, Error> {
    // Before anything is made that would have to be removed.
    let interrupt = Interrupt::listen().map_err(crash::Error::io("wait for signals of", "this process"))?;
    match command {
        Command::Run(arguments) => strike(arguments, &interrupt),
        Command::CatchUp {
            revisions,
            rate,
            seconds,
            seed,
            wal_keep_bytes,
            catch_up_bytes_per_second,
            apart,
            rounds,
        } => {
            let phase = Duration::from_secs(seconds);
            let scenario = catch_up::Scenario {
                revisions,
                rate,
                phase,
                seed,
                wal_keep_bytes,
                catch_up_bytes_per_second,
                apart,
                rounds,
            };
            show_catch_up(scenario, &interrupt).map(|()| true)
        }
        Command::Liveness { stalls, rate, seconds, seed } => {
            let phase = Duration::from_secs(seconds);
            show_liveness(liveness::Scenario { stalls, rate, phase, seed }, &interrupt)
        }
        Command::Hours { write_page } => show_hours(write_page).map(|()| true),
    }
}

/// Whether nothing was violated.
fn strike(arguments: Run, interrupt: &Interrupt) -> Result<bool, Error> {
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    let kinds = if arguments.faults.is_empty() { Kind::default_mix() } else { arguments.faults };
    let duration = Duration::from_secs(arguments.seconds);
    let plan = Plan { members: arguments.members, duration, seed, tls: !arguments.no_tls, kinds };
    println!("seed {seed}: {} members for {} s", plan.members, arguments.seconds);
    let quiet = arguments.quiet;
    let report = run(plan, interrupt, move |line| {
        if !quiet {
            println!("{line}");
        }
    })?;
    if let Some(interrupted) = report.interrupted {
        // Hours are those of runs that were judged.
        println!("{report}");
        return Err(interrupted.into());
    }
    hours::append(&hours::log_path(), &report)?;
    println!("{report}");
    Ok(report.violations.is_empty())
}

fn show_catch_up(scenario: catch_up::Scenario, interrupt: &Interrupt) -> Result<(), Error> {
    println!("{}", catch_up::run(scenario, interrupt, |line| println!("{line}"))?);
    Ok(())
}

/// Whether the bounds hold.
fn show_liveness(scenario: liveness::Scenario, interrupt: &Interrupt) -> Result<bool, Error> {
    let report = liveness::run(scenario, interrupt, |line| println!("{line}"))?;
    println!("{report}");
    let broken = report.broken();
    for bound in &broken {
        println!("BROKEN {bound}");
    }
    Ok(broken.is_empty())
}

fn show_hours(page: Option<PathBuf>) -> Result<(), Error> {
    let log = hours::log_path();
    print!("{}", hours::table(&log)?);
    match page {
        Some(page) => hours::write_page(&log, &page),
        None => Ok(()),
    }
}
