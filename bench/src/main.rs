//! The `quorate-bench` binary: reads arguments, runs on one thread (the servers need the other cores), shows the results.

use std::process::ExitCode;

use clap::Parser;
use quorate_bench::arguments::{Arguments, Command};
use quorate_bench::{Error, Result, run};
use quorate_harness::Interrupt;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Command::Run(arguments) = Arguments::parse().command;
    if cfg!(debug_assertions) {
        eprintln!(
            "quorate-bench: this loader is built without optimisation; its figures are too low: use a release build"
        );
    }
    match measure(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-bench: {error}");
            match error {
                Error::Interrupted(interrupted) => interrupted.exit_code(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn measure(arguments: quorate_bench::arguments::Run) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    // Dropping the run kills its server and removes its data.
    local.block_on(&runtime, interrupt.or(run::run(&arguments)))?
}
