//! What can go wrong with the harness itself; what a server does wrong is a `checker::Violation`.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{command}` failed: {output}")]
    Command { command: String, output: String },
    #[error("{0} is missing: build it with `scripts/cargo build -p quorate --bins`, or set QUORATE_BIN")]
    NoBinary(PathBuf),
    #[error("power cuts mount disks of their own: run the test as root")]
    NotRoot,
    #[error("no put was acknowledged within {waited:?}, although every member had said that it is ready")]
    NoProgress { waited: Duration },
    #[error("member {member} did not stop within {waited:?} of SIGSTOP")]
    NotFrozen { member: String, waited: Duration },
    #[error("{what} on member {member} within {waited:?}: {source}")]
    Rpc { what: &'static str, member: String, waited: Duration, source: Box<tonic::Status> },
}

impl Error {
    /// For `map_err`: an input or output error with what was being done to which path.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}
