//! `quorate-differential`: compares Quorate with etcd and says what they answered differently, as a small sequence to replay.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_differential::server::Programs;
use quorate_differential::suite::{self, Finding, Options, Replayed};
use quorate_differential::{Error, corpus, generate, run, shrink};
use quorate_harness::Interrupt;

/// Sends the same generated requests to a real etcd and to Quorate and compares every answer.
#[derive(Parser)]
#[command(name = "quorate-differential", version)]
struct Arguments {
    /// Play the sequence of this one seed
    #[arg(long, conflicts_with_all = ["duration", "replay"])]
    seed: Option<u64>,
    /// The seed of the first sequence [default: drawn]
    #[arg(long, conflicts_with = "seed")]
    first_seed: Option<u64>,
    /// Seconds in which sequences are begun
    #[arg(long, default_value_t = 120)]
    duration: u64,
    /// Steps of a sequence; with --seed the same number as in the run that found it
    #[arg(long, default_value_t = 500)]
    steps: usize,
    /// Sequences at the same time
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Differences after which the run ends
    #[arg(long, default_value_t = 1)]
    differences: usize,
    /// Play the sequence in this file and nothing else
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Seconds for making a difference small; 0: leave it as it is
    #[arg(long, default_value_t = 120)]
    shrink: u64,
    /// Print what was reached how often
    #[arg(long)]
    table: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match judge(&Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quorate-differential: {error}");
            match error {
                Error::Interrupted(interrupted) => interrupted.exit_code(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn judge(arguments: &Arguments) -> Result<ExitCode, Error> {
    // What is dropped ends its servers and removes its folders.
    let interrupt = Interrupt::listen().map_err(Error::io("wait for signals of", "this process"))?;
    let programs = Programs::find()?;
    if let Some(path) = &arguments.replay {
        return interrupt.or(one(&programs, arguments, corpus::read(path)?, 0)).await?;
    }
    if let Some(seed) = arguments.seed {
        return interrupt.or(one(&programs, arguments, generate::sequence(seed, arguments.steps), seed)).await?;
    }
    let Replayed { sequences, coverage, again } = interrupt.or(suite::replay(&programs)).await??;
    for (path, divergence) in &again {
        println!("{}: {divergence}", path.display());
    }
    println!("{sequences} past findings replayed, {} differ", again.len());
    let options = Options {
        first_seed: arguments.first_seed.unwrap_or_else(generate::fresh_seed),
        steps: arguments.steps,
        duration: Duration::from_secs(arguments.duration),
        workers: arguments.workers,
        divergences_max: arguments.differences,
    };
    println!("first seed {}, {} steps a sequence", options.first_seed, options.steps);
    let mut report = suite::run(&programs, &options, &interrupt).await?;
    report.coverage.merge(&coverage);
    if arguments.table {
        print!("{}", report.coverage.table());
    }
    let missing = report.coverage.missing();
    if let Some(interrupted) = report.interrupted {
        println!("{}", report.summary());
        return Err(interrupted.into());
    }
    for finding in report.findings.iter() {
        interrupt.or(show(&programs, arguments, finding)).await??;
    }
    println!("{}", report.summary());
    if !missing.is_empty() && report.findings.is_empty() {
        println!("never reached: {}; run longer (--duration)", missing.join(", "));
    }
    let same = report.findings.is_empty() && again.is_empty() && missing.is_empty();
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn one(
    programs: &Programs,
    arguments: &Arguments,
    sequence: generate::Sequence,
    seed: u64,
) -> Result<ExitCode, Error> {
    let played = run::play(programs, &sequence.setting, &sequence.steps).await?;
    if arguments.table {
        print!("{}", played.coverage.table());
    }
    match played.divergence {
        None => {
            println!("{} requests, no difference", played.requests);
            Ok(ExitCode::SUCCESS)
        }
        Some(divergence) => {
            show(programs, arguments, &Finding { seed, sequence, divergence }).await?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Prints a difference, small, as a file of the corpus.
async fn show(programs: &Programs, arguments: &Arguments, finding: &Finding) -> Result<(), Error> {
    let Finding { seed, sequence, divergence } = finding;
    println!("-- seed {seed} (--seed {seed} --steps {}), {divergence}", arguments.steps);
    if arguments.shrink > 0 {
        let within = Duration::from_secs(arguments.shrink);
        let (small, divergence) = shrink::shrink(programs, sequence.clone(), divergence.clone(), within).await?;
        println!("-- made small ({} steps), {divergence}", small.steps.len());
        print!("{}", corpus::write(&small, &format!("found by seed {seed}")));
    }
    Ok(())
}
