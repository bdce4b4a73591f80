//! What can go wrong in a run. Any failed request ends the run: a figure with failures in it compares nothing.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server's program is not where it was looked for.
    #[error("{server} is not at {}: {remedy}", path.display())]
    ProgramMissing {
        /// Name of the server.
        server: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A server ended or did not answer in time.
    #[error("{server} did not serve within {seconds} s; its last words:\n{log}")]
    NotServing {
        /// Name of the server.
        server: &'static str,
        /// How long was waited.
        seconds: u64,
        /// End of its log.
        log: String,
    },
    /// A file or folder could not be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of /proc does not look as documented in proc(5).
    #[error("{file} has no readable {field}: this kernel does not match proc(5)")]
    Proc {
        /// Which file.
        file: String,
        /// Which field.
        field: &'static str,
    },
    /// Nor the status of a process.
    #[error(transparent)]
    Status(#[from] quorate_harness::status::Error),
    /// The connection broke.
    #[error("the connection to the server broke: {0}")]
    Connection(#[from] std::io::Error),
    /// HTTP/2 failed.
    #[error("the HTTP/2 stream failed: {0}")]
    Http2(#[from] h2::Error),
    /// The server answered with an error.
    #[error("the server refused a request: grpc-status {status}: {message}")]
    Refused {
        /// The gRPC code, or what stood in its place.
        status: String,
        /// The server's text.
        message: String,
    },
    /// The answer is not what the request must get.
    #[error("the server answered {operation} wrongly: {found}")]
    WrongAnswer {
        /// The workload.
        operation: &'static str,
        /// What is wrong with it.
        found: String,
    },
    /// The requests in flight did not end after the window.
    #[error("{clients} clients did not get their last answer within {seconds} s: is the server stuck?")]
    Stuck {
        /// How many clients there are.
        clients: usize,
        /// How long was waited.
        seconds: u64,
    },
    /// No request was answered within the window.
    #[error("{server} answered nothing within the window of {seconds} s: measure longer with --seconds")]
    NoOperations {
        /// Name of the server.
        server: &'static str,
        /// Length of the window.
        seconds: u64,
    },
    /// The results could not be written as JSON.
    #[error("cannot write the results as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// SIGINT or SIGTERM.
    #[error("{0}: nothing was written")]
    Interrupted(#[from] quorate_harness::Interrupted),
}

impl Error {
    /// An error of the file system with the path it happened at.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
