//! A whole cluster as a function of a seed: the production core (`node`, `replica`, `apply`, `mvcc`, `membership`, the bytes of the
//! log) on a simulated network, clock and disk, under faults, against checkers that know the contract.
//!
//! Reading order: `world` and `model` (what must hold), `cluster` (the event loop), `host` and `effects` (a member, performed as the
//! server's driver does it; `persist`, `apply`, `flush`, `ticks`, `life`, `loss`, `integrity`, `taint`), `log` and `disk` (the write-ahead log and what a crash leaves of
//! it), `network` and `lines`, `clients`, `faults`.
//! What is covered and what is not: `docs/correctness.md`.

mod apply;
mod asks;
mod chance;
mod checkers;
mod clients;
mod cluster;
mod contexts;
mod converge;
mod counts;
mod disk;
mod effects;
mod faults;
mod flush;
mod guard;
mod host;
pub mod hours;
mod integrity;
mod judgement;
mod leases;
mod life;
mod lines;
mod log;
mod loss;
mod membership;
mod model;
mod network;
mod observers;
mod options;
mod persist;
mod plan;
#[cfg(test)]
mod planted;
mod shrink;
pub mod suite;
mod taint;
mod tamper;
#[cfg(test)]
mod tests;
mod ticks;
pub mod trace;
mod watchers;
mod world;

pub use counts::{CHECKS, Counts, FAULTS, RARE};
pub use options::{Bug, Options};
pub use shrink::Shrunk;

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

/// Runs one seed to its end, or to the first violation; what a person wants to see of it is then `trace::text()` on this thread.
/// A failed assertion of the core is a violation too.
pub fn run(seed: u64, options: &Options) -> Report {
    trace::begin(options.keep);
    let mut cluster = cluster::Cluster::new(seed, options.clone());
    let panicked = guard::catch(|| cluster.run()).err();
    let (world, simulated_micros) = cluster.end();
    let violation = panicked.map(|said| format!("an assertion failed: {said}")).or(world.violation);
    Report { seed, violation, counts: world.counts, simulated_micros, trace_hash: trace::hash() }
}
