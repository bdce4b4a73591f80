//! Many versions of every key: how rows are laid out, and everything that reads them. Pure functions over any `backend::View`;
//! the only writers are `apply` (commands) and the batches that [`sweep`] makes.
//!
//! Semantics follow etcd's mvcc store; the layout is our own (`keys`, `rows`).

mod crc;
mod events;
mod hash;
mod interval;
pub(crate) mod keys;
pub(crate) mod read;
pub(crate) mod rows;
mod scrub;
pub(crate) mod size;
mod sweep;
pub(crate) mod txn;

pub use events::{Event, EventKind, EventLimits, Events, events, events_where};
pub use hash::{HashKv, hash_kv};
pub use interval::Interval;
pub use keys::APPLIED_KEY;
pub use read::{count, lookup, range, range_uncounted, value_at};
pub use rows::{KeyRow, LogKind, LogRow};
pub use scrub::{Scrub, ScrubLimits, scrub};
pub use size::{BASE_BYTES, logical_bytes};
pub use sweep::{Position, Sweep, sweep};
pub use txn::{is_read_only, is_serializable, txn_read};

use quorate_api::Error as ApiError;

use crate::backend::{self, Family, View};

/// One change of one key: the main revision of its command, and its place among that command's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision {
    pub main: i64,
    /// From 0. Invariant: below 2³², which a command's size limit keeps far away.
    pub sub: i64,
}

impl Revision {
    pub fn new(main: i64, sub: i64) -> Revision {
        Revision { main, sub }
    }
}

/// What a view shows: its newest revision and its watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// 1 in an empty store.
    pub revision: i64,
    /// Reads below it fail; -1 before the first compaction.
    pub compact_revision: i64,
}

impl Default for State {
    fn default() -> Self {
        State { revision: 1, compact_revision: -1 }
    }
}

impl State {
    /// Reads it out of the view itself, so that a snapshot tells its own revision.
    ///
    /// # Errors
    /// The backend's, or a malformed row.
    pub fn load(view: &dyn View) -> Result<State, Error> {
        Ok(rows::Core::load(view)?.state)
    }

    /// The revision that a request for `revision` reads (0 or less = the newest), if it may.
    fn readable(&self, revision: i64) -> Result<i64, Error> {
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        let revision = if revision <= 0 { self.revision } else { revision };
        if revision < self.compact_revision {
            return Err(Error::Compacted);
        }
        Ok(revision)
    }
}

/// Why a read gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Below the watermark; exactly at it is readable.
    #[error("{}", ApiError::Compacted)]
    Compacted,
    #[error("{}", ApiError::FutureRev)]
    FutureRevision,
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// A row that this version would not have written.
    #[error("row {key} of family {family}: {reason}; this member's data is damaged: rebuild it from the others")]
    Malformed { family: &'static str, key: String, reason: &'static str },
}

impl Error {
    pub(crate) fn malformed(family: Family, key: &[u8], reason: &'static str) -> Error {
        let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Error::Malformed { family: family.name(), key, reason }
    }

    /// Whether what was read is not what was written; `is_corruption` says it of the store's own reasons.
    pub fn is_damage(&self, is_corruption: impl FnOnce(&str) -> bool) -> bool {
        match self {
            Error::Malformed { .. } => true,
            Error::Backend(failed) => is_corruption(&failed.reason),
            Error::Compacted | Error::FutureRevision => false,
        }
    }

    /// What a client is told; `None` when the store itself failed and the member must stop.
    pub fn for_client(&self) -> Option<ApiError> {
        match self {
            Error::Compacted => Some(ApiError::Compacted),
            Error::FutureRevision => Some(ApiError::FutureRev),
            Error::Backend(_) | Error::Malformed { .. } => None,
        }
    }
}
