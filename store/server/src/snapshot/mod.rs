//! Whole-state catch-up: a checkpoint of one member's database travels as files and replaces another's. Design:
//! `store/README.md`, "Snapshots".
//!
//! The sender: `Outgoing::build`, then `Outgoing::chunks`. The receiver: `Incoming::begin`, `write` for each chunk, `finish`
//! (verified and synced) → raft steps the snapshot → a synced group of the log with `Received::marker` → `Received::install`
//! (pointer, reopening) → the old database goes. `Storage::open` completes or undoes whatever a crash left of that.
//!
//! Invariant: until the marker is durable the old state is whole and in force; from then on the new one is.

mod chunk;
mod incoming;
mod manifest;
mod outgoing;
mod own;
mod storage;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use quorate_core::log::Index;
use quorate_core::membership::RowError;

use crate::{backend, directory};

pub use chunk::{CHUNK_BYTES_MAX, Chunk, Progress};
pub use incoming::{Incoming, Received};
pub use manifest::{FORMAT, FileEntry, MANIFEST_BYTES_MAX, Manifest};
pub use outgoing::{Chunks, Outgoing};
pub use own::OwnCopy;
pub use storage::{StartError, Storage};

/// Why a snapshot was not made, sent or received. None but `Install` harms the state that is in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("snapshot manifest has format {found}, this version reads up to {FORMAT}: upgrade this member")]
    Format { found: u32 },
    #[error("snapshot manifest is malformed: {reason}")]
    Manifest { reason: String },
    #[error("snapshot chunk is malformed: {reason}")]
    Chunk { reason: String },
    #[error("snapshot chunk for file {file} at {offset} came, but file {expected_file} at {expected_offset} is next")]
    Order { file: u32, offset: u64, expected_file: u32, expected_offset: u64 },
    #[error("snapshot file {name} does not have the checksum {expected:08x}, but {found:08x}: send the snapshot again")]
    Checksum { name: String, expected: u32, found: u32 },
    #[error("snapshot is not complete: file {file} at {offset} is next")]
    Incomplete { file: u32, offset: u64 },
    #[error("snapshot needs {needed} bytes, {} has {available} free: free space or grow the volume", .path.display())]
    NoSpace { path: PathBuf, needed: u64, available: u64 },
    #[error("snapshot in {} stands at entry {found} of term {found_term}, not at {expected} of term {expected_term}", .path.display())]
    Point { path: PathBuf, found: Index, found_term: u64, expected: Index, expected_term: u64 },
    #[error("snapshot in {} holds another configuration than its manifest says", .path.display())]
    Configuration { path: PathBuf },
    #[error("{operation} of {} failed: {source}", .path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("snapshot of the database failed: {0}")]
    Backend(#[from] quorate_core::backend::Error),
    #[error("snapshot does not open as a database: {0}")]
    Open(#[from] backend::OpenError),
    #[error(transparent)]
    Directory(#[from] directory::Error),
    #[error("members of the snapshot cannot be read: {0}")]
    Members(#[from] quorate_core::membership::RowError),
    #[error("applied index of the snapshot cannot be read: {0}")]
    Applied(#[from] quorate_core::apply::Error),
}

impl Error {
    /// Whether the same call may be repeated after space was made.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::NoSpace { .. } => true,
            Error::Io { source, .. } => directory::is_full(source),
            Error::Open(error) => error.is_no_space(),
            Error::Directory(error) => error.is_no_space(),
            _ => false,
        }
    }

    /// Whether the snapshot itself is at fault, and not the system that it is read from.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Error::Format { .. }
            | Error::Manifest { .. }
            | Error::Chunk { .. }
            | Error::Order { .. }
            | Error::Checksum { .. }
            | Error::Incomplete { .. }
            | Error::Point { .. }
            | Error::Configuration { .. }
            | Error::Members(RowError::Malformed { .. }) => true,
            Error::Applied(error) => error.store_failure().is_none_or(|error| backend::is_corruption(&error.reason)),
            Error::Backend(error) | Error::Members(RowError::Backend(error)) => backend::is_corruption(&error.reason),
            Error::Open(error) => error.is_refusal(),
            Error::Directory(error) => error.is_refusal(),
            Error::NoSpace { .. } | Error::Io { .. } => false,
        }
    }

    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { operation, path: path.to_owned(), source }
    }
}
