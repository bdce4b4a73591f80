//! What can go wrong with the judge itself; a difference between the servers is a `run::Divergence`.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The judge was asked to stop.
    #[error(transparent)]
    Interrupted(#[from] quorate_harness::Interrupted),
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{0} is missing: {1}")]
    NoProgram(PathBuf, &'static str),
    #[error("{program} was not ready within {waited:?}; its log ended with\n{log}")]
    NotReady { program: PathBuf, waited: Duration, log: String },
    #[error("connect to {url}: {source}")]
    Connect { url: String, source: tonic::transport::Error },
    #[error("ask {url} who it is: {reason}")]
    Introduce { url: String, reason: String },
    #[error("read the metrics of {url}: {reason}")]
    Metrics { url: String, reason: String },
    #[error("{path}, line {line}: {source}")]
    Corpus { path: PathBuf, line: usize, source: crate::step::Error },
    #[error("{path} holds no step")]
    Empty { path: PathBuf },
}

impl Error {
    /// For `map_err`: an input or output error with what was being done to which path.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}
