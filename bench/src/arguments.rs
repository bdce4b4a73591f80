//! The command line, and what a suite stands for.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::workload::Workload;

/// Measures Quorate beside a real etcd on this machine.
#[derive(Debug, Parser)]
#[command(name = "quorate-bench", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start etcd and Quorate in turn, load both alike and compare them
    Run(Run),
}

/// Arguments of `run`. What is not given is as the suite says.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// What to run where the options below say nothing
    #[arg(long, value_enum, default_value = "quick")]
    pub suite: Suite,
    /// Workloads, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
    pub workload: Option<Vec<Workload>>,
    /// Numbers of clients, each sending its next request when it has the answer to the last
    #[arg(long, value_delimiter = ',', value_name = "N,...", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub clients: Option<Vec<u16>>,
    /// How often each server runs each workload
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: Option<u16>,
    /// Length of one measurement in seconds, after the warm-up
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: Option<u64>,
    /// The etcd to compare with [default: tools/bin/etcd in the cache that `make setup` fills]
    #[arg(long, value_name = "PATH")]
    pub etcd: Option<PathBuf>,
    /// The Quorate to measure [default: the release build]
    #[arg(long, value_name = "PATH")]
    pub quorate: Option<PathBuf>,
    /// Folder on the disk that both servers write to, made and removed again [default: bench-data in the cache]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Write every measurement and the summary into this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the results as a page of documentation
    #[arg(long, value_name = "FILE")]
    pub write_page: Option<PathBuf>,
}

/// A named set of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Every workload with 1 and 256 clients, five rounds of 4 s: under ten minutes
    Quick,
}

/// What is measured, with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In this order within a round.
    pub workloads: Vec<Workload>,
    /// Each workload runs with each of these.
    pub clients: Vec<u16>,
    /// How often each server runs each workload.
    pub rounds: u16,
    /// Length of one measurement.
    pub seconds: u64,
}

impl Run {
    /// The suite with the given options put over it.
    pub fn plan(&self) -> Plan {
        let Plan { workloads, clients, rounds, seconds } = match self.suite {
            Suite::Quick => {
                Plan { workloads: Workload::value_variants().to_vec(), clients: vec![1, 256], rounds: 5, seconds: 4 }
            }
        };
        Plan {
            workloads: self.workload.clone().unwrap_or(workloads),
            clients: self.clients.clone().unwrap_or(clients),
            rounds: self.rounds.unwrap_or(rounds),
            seconds: self.seconds.unwrap_or(seconds),
        }
    }
}

impl Plan {
    /// The command that runs this plan.
    pub fn command(&self) -> String {
        let workloads: Vec<&str> = self.workloads.iter().map(|workload| workload.name()).collect();
        let clients: Vec<String> = self.clients.iter().map(u16::to_string).collect();
        format!(
            "quorate-bench run --workload {} --clients {} --rounds {} --seconds {}",
            workloads.join(","),
            clients.join(","),
            self.rounds,
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Plan {
        let all = ["quorate-bench", "run"].iter().chain(arguments);
        let Command::Run(run) = Arguments::try_parse_from(all).unwrap().command;
        run.plan()
    }

    #[test]
    fn nothing_given_is_the_quick_suite() {
        let expected = "quorate-bench run --workload put,get,get-serializable --clients 1,256 --rounds 5 --seconds 4";
        assert_eq!(plan(&[]).command(), expected);
        assert_eq!(plan(&["--suite", "quick"]), plan(&[]));
    }

    #[test]
    fn options_override_the_suite_one_by_one() {
        let seconds = plan(&["--suite", "quick", "--seconds", "9"]);
        assert_eq!(seconds, Plan { seconds: 9, ..plan(&[]) });
        let workload = plan(&["--workload", "get,put", "--clients", "16"]);
        assert_eq!(workload, Plan { workloads: vec![Workload::Get, Workload::Put], clients: vec![16], ..plan(&[]) });
    }

    #[test]
    fn the_command_of_a_plan_is_read_as_that_plan() {
        let given = plan(&["--workload", "get", "--clients", "3,7", "--rounds", "2", "--seconds", "1"]);
        let command = given.command();
        let words: Vec<&str> = command.split(' ').skip(2).collect();
        assert_eq!(plan(&words), given);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for wrong in
            [["--clients", "0"], ["--rounds", "0"], ["--seconds", "0"], ["--workload", "delete"], ["--suite", "full"]]
        {
            let parsed = Arguments::try_parse_from(["quorate-bench", "run"].iter().chain(&wrong));
            assert!(parsed.is_err(), "{wrong:?} was taken");
        }
    }
}
