//! Alternates the servers: in every round each workload runs on etcd and right after it on Quorate, each on a fresh process
//! with fresh data, so that a disk or a machine that slows down slows both.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::arguments::{Plan, Run};
use crate::error::{Error, Result};
use crate::loader::{self, Window};
use crate::machine::{Machine, load_average};
use crate::server::{Kind, Server, cache_folder, version};
use crate::summary::{Summary, summarize};
use crate::workload::{Source, Workload};
use crate::{page, table};

/// Seed of all keys and values: every run asks for the same.
const SEED: u64 = 1;

/// One server under one workload in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Who was measured.
    pub server: Kind,
    /// What was asked.
    pub workload: Workload,
    /// By how many clients.
    pub clients: u16,
    /// From 1.
    pub round: u16,
    /// True length of the window.
    pub seconds: f64,
    /// Answered in the window.
    pub operations: u64,
    /// Those per second.
    pub operations_per_second: f64,
    /// Latency at the client: half of the operations were faster.
    pub p50_us: f64,
    /// 99 % were faster.
    pub p99_us: f64,
    /// 99.9 % were faster.
    pub p999_us: f64,
    /// The server's CPU in user mode per operation.
    pub user_us_per_operation: f64,
    /// The server's CPU in the kernel per operation.
    pub system_us_per_operation: f64,
    /// Bytes that the server sent to the disk per operation.
    pub written_bytes_per_operation: f64,
    /// Most memory that the server had resident since its start.
    pub peak_rss_bytes: u64,
    /// Processors that the loader took, of all there are.
    pub loader_cores: f64,
    /// Processors that programs other than server and loader took: their disturbance.
    pub other_cores: f64,
    /// One minute's load average when the window ended; the measurement itself is part of it.
    pub load_average: f64,
}

/// Everything about a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// Of both servers.
    pub versions: Vec<String>,
    /// What was run.
    pub plan: Plan,
    /// A row for each workload and number of clients.
    pub summary: Vec<Summary>,
    /// All that the summary is made of.
    pub measurements: Vec<Measurement>,
}

/// Runs the plan, prints its results and writes what the arguments ask for.
pub async fn run(arguments: &Run) -> Result<()> {
    let plan = arguments.plan();
    let programs = [Kind::Etcd.program(arguments)?, Kind::Quorate.program(arguments)?];
    let data = Folder::new(arguments.data.clone().unwrap_or_else(|| cache_folder().join("bench-data")))?;
    let machine = Machine::observe(&data.0)?;
    let versions = Kind::BOTH.iter().zip(&programs).map(|(kind, program)| version(*kind, program));
    let versions = versions.collect::<Result<Vec<_>>>()?;
    eprintln!("{} beside {}: {}", versions[1], versions[0], plan.command());
    let measurements = measure(&plan, &programs, &data.0).await?;
    let summary = summarize(&plan, &measurements);
    println!("{}", table::aligned(&page::results(&summary)));
    println!("{}", page::disturbance(&measurements));
    let report = Report { machine, versions, plan, summary, measurements };
    if let Some(file) = &arguments.json {
        write(file, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(file) = &arguments.write_page {
        write(file, &page::render(&report))?;
    }
    Ok(())
}

async fn measure(plan: &Plan, programs: &[PathBuf; 2], data: &Path) -> Result<Vec<Measurement>> {
    let source = Source::new(SEED);
    let mut measurements = Vec::new();
    for round in 1..=plan.rounds {
        for workload in &plan.workloads {
            for clients in &plan.clients {
                for (server, program) in Kind::BOTH.into_iter().zip(programs) {
                    let folder = data.join(server.name());
                    let running = Server::start(server, program, &folder).await?;
                    loader::prepare(running.address, &source).await?;
                    let load = (*workload, usize::from(*clients));
                    let length = Duration::from_secs(plan.seconds);
                    let window = loader::drive(running.address, running.pid(), load, length, &source).await?;
                    running.stop().await?;
                    let measurement = reckon(server, (*workload, *clients, round), &window)?;
                    eprintln!("{}", progress(plan, &measurement));
                    measurements.push(measurement);
                }
            }
        }
    }
    Ok(measurements)
}

fn reckon(server: Kind, (workload, clients, round): (Workload, u16, u16), window: &Window) -> Result<Measurement> {
    let operations = window.latencies.len();
    if operations == 0 {
        return Err(Error::NoOperations { server: server.name(), seconds: window.length.as_secs() });
    }
    let (before, after) = &window.server;
    let each = |total: u64| float(total) / float(operations);
    let latency = |quantile| float(window.latencies.value_at_quantile(quantile)) / 1000.0;
    let seconds = window.length.as_secs_f64();
    let cores = |cpu_us: u64| float(cpu_us) / 1e6 / seconds;
    let ours = after.cpu_us() - before.cpu_us() + window.loader_cpu_us;
    Ok(Measurement {
        server,
        workload,
        clients,
        round,
        seconds,
        operations,
        operations_per_second: float(operations) / seconds,
        p50_us: latency(0.5),
        p99_us: latency(0.99),
        p999_us: latency(0.999),
        user_us_per_operation: each(after.user_us - before.user_us),
        system_us_per_operation: each(after.system_us - before.system_us),
        written_bytes_per_operation: each(after.written_bytes - before.written_bytes),
        peak_rss_bytes: after.peak_rss_bytes,
        loader_cores: cores(window.loader_cpu_us),
        // The clocks tick apart, so that on a quiet machine the rest may come out below nothing.
        other_cores: cores(window.machine_cpu_us.saturating_sub(ours)),
        load_average: load_average()?,
    })
}

/// Counts and µs here stay far below 2^53, up to which a double is exact.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(number: u64) -> f64 {
    number as f64
}

fn progress(plan: &Plan, done: &Measurement) -> String {
    format!(
        "round {}/{}  {:<16} {:>4} clients  {:<8} {:>7.0} op/s  p99 {:>8.2} ms  CPU {:>6.1} µs/op  others took {:.1} cores",
        done.round,
        plan.rounds,
        done.workload.name(),
        done.clients,
        done.server.name(),
        done.operations_per_second,
        done.p99_us / 1000.0,
        done.user_us_per_operation + done.system_us_per_operation,
        done.other_cores,
    )
}

fn write(file: &Path, content: &str) -> Result<()> {
    fs::write(file, content).map_err(Error::file(file))
}

/// A folder that exists as long as this value. It must be new, since all in it is removed.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file(parent))?;
        }
        fs::create_dir(&path).map_err(Error::file(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing is left to do about what cannot be removed; the next run names it.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::process::Usage;

    fn window(latencies_us: &[u64]) -> Window {
        let mut latencies = Histogram::new(3).unwrap();
        latencies_us.iter().for_each(|latency| latencies.record(latency * 1000).unwrap());
        let before = Usage { user_us: 1_000_000, system_us: 500_000, written_bytes: 4096, peak_rss_bytes: 7 };
        let after = Usage { user_us: 1_000_400, system_us: 500_200, written_bytes: 8192, peak_rss_bytes: 9 };
        let length = Duration::from_secs(2);
        Window { length, latencies, server: (before, after), loader_cpu_us: 1_000_000, machine_cpu_us: 3_000_600 }
    }

    #[test]
    fn costs_are_those_of_the_window_spread_over_its_operations() {
        let measured = reckon(Kind::Quorate, (Workload::Put, 4, 1), &window(&[100, 200, 300, 400])).unwrap();
        assert_eq!(measured.operations, 4);
        let exact = [
            (measured.operations_per_second, 2.0),
            (measured.user_us_per_operation, 100.0),
            (measured.system_us_per_operation, 50.0),
            (measured.written_bytes_per_operation, 1024.0),
            (measured.loader_cores, 0.5),
            (measured.other_cores, 1.0),
        ];
        for (found, expected) in exact {
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}: {measured:?}");
        }
        assert!((measured.p50_us - 200.0).abs() < 1.0, "{measured:?}");
        assert!((measured.p99_us - 400.0).abs() < 1.0, "{measured:?}");
        assert_eq!(measured.peak_rss_bytes, 9);
    }

    #[test]
    fn a_window_without_an_answer_is_an_error() {
        assert!(matches!(
            reckon(Kind::Etcd, (Workload::Get, 1, 1), &window(&[])),
            Err(Error::NoOperations { server: "etcd", seconds: 2 })
        ));
    }
}
