//! What clients saw of a cluster, and whether a correct store can have shown it. Pure: values in, violations out, so that
//! tests hand it histories that are wrong.
//!
//! The measure is the cluster's true history ([`truth`]): every event of every revision, read by one watch that never skips a
//! revision. [`writes`], [`reads`], [`order`], [`watches`] and [`leases`] each compare one kind of observation with it.
//! Invariant: every value is written at most once, so that a value names the operation that wrote it.

pub mod leases;
pub mod order;
pub mod reads;
pub mod record;
#[cfg(test)]
mod tests;
pub mod truth;
mod verdict;
pub mod watches;
pub mod writes;

pub use record::{Answer, Event, Lease, Operation, Outcome, Put, Request, Row, SeenRow, Write, digest};
pub use truth::Truth;
pub use verdict::{Judged, Violation};
pub use watches::Session;

/// Everything that the clients of one run saw.
#[derive(Debug, Default)]
pub struct Observed {
    pub operations: Vec<Operation>,
    pub leases: Vec<Lease>,
    pub sessions: Vec<Session>,
}

/// Judges all of it by the true history.
pub fn check(truth: &Truth, observed: &Observed) -> (Judged, Vec<Violation>) {
    let mut judged = Judged::default();
    let mut violations = writes::check(truth, &observed.operations, &observed.leases, &mut judged);
    violations.extend(reads::check(truth, &observed.operations, &mut judged));
    violations.extend(order::check(truth, &observed.operations, &mut judged));
    violations.extend(watches::check(truth, &observed.sessions, &mut judged));
    violations.extend(leases::check(truth, &observed.leases, &mut judged));
    (judged, violations)
}
