//! What can go wrong with the harness of chaos; what a cluster does wrong is a `history::Violation`.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Harness(#[from] crate::crash::Error),
    /// The run was asked to stop.
    #[error(transparent)]
    Interrupted(#[from] quorate_harness::Interrupted),
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS of the clients: {0}")]
    Tls(#[from] tonic::transport::Error),
    #[error("{0} members are not supported: choose 3 or 5")]
    Members(usize),
    #[error("no kind of fault is left to draw: name at least one")]
    NoFaults,
    #[error("{what} did not happen within {waited:?}; the members' logs are in {logs}")]
    Late { what: String, waited: Duration, logs: String },
    #[error(
        "{0} processor is not enough to give the follower one of its own: leave --apart out, or use a machine with two"
    )]
    Processors(usize),
    #[error("system call {call}: {source}")]
    System { call: &'static str, source: nix::Error },
    #[error("{path}, line {line}: {reason}; remove the line or the file")]
    Hours { path: String, line: usize, reason: String },
    #[error("{path} has no line {marker}: add it where the totals belong")]
    NoMarker { path: String, marker: &'static str },
}
