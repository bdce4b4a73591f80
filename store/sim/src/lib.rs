//! A whole cluster as a function of a seed: the production core (`node`, `replica`, `apply`, `mvcc`, `membership`, the bytes of the
//! log) on a simulated network, clock and disk, under faults, against checkers that know the contract.
//!
//! Reading order: `world` and `model` (what must hold), `cluster` (the event loop), `host` and `effects` (a member, performed as the
//! server's driver does it; `persist`, `apply`, `ticks`, `life`), `log` and `disk` (the write-ahead log and what a crash leaves of it), `network`, `clients`, `faults`.
//! What is covered and what is not: `docs/correctness.md`.

mod apply;
mod chance;
mod clients;
mod cluster;
mod converge;
mod counts;
mod disk;
mod effects;
mod faults;
mod host;
mod life;
mod log;
mod model;
mod network;
mod options;
mod persist;
#[cfg(test)]
mod tests;
mod ticks;
pub mod trace;
mod world;

pub use counts::{CHECKS, Counts, FAULTS};
pub use options::{Bug, Options};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// What was violated; `None` is what everybody wants.
    pub violation: Option<String>,
    pub counts: Counts,
    pub simulated_micros: u64,
    /// Over everything that happened; equal for equal seed and options.
    pub trace_hash: u64,
}

/// Runs one seed to its end, or to the first violation; the trace's tail is then `trace::tail()` of this thread.
///
/// # Panics
/// When an assertion of the core fails, which is a violation too.
pub fn run(seed: u64, options: &Options) -> Report {
    trace::begin(seed);
    let (world, simulated_micros) = cluster::Cluster::new(seed, options.clone()).run();
    Report { seed, violation: world.violation, counts: world.counts, simulated_micros, trace_hash: trace::hash() }
}
