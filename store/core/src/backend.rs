//! What the state machine needs of an ordered store: families of rows, a consistent view of them, and one atomic batch of writes.
//!
//! Two implementations exist: RocksDB in the server and an ordered map in the simulator and the tests.

use bytes::Bytes;

/// A keyspace of its own. All families are flushed together, so after a crash they stand at one point of the raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// user key → newest mod revision, create revision, version, lease (small rows: existence, compares, counts).
    Keys,
    /// (escaped user key, newest revision first) → KeyValue in wire format, or a tombstone.
    Values,
    /// revision → what happened to which key and what it superseded: watch catch-up, compaction, HashKV.
    Log,
    /// leases, and the keys attached to each.
    Lease,
    /// users, roles and the auth switch.
    Auth,
    /// the members of the configuration and the ids of removed ones.
    Members,
    /// single rows: applied index and term, ConfState, revision, compact revision, alarms, feature level, sizes.
    Meta,
}

impl Family {
    /// Every family, in the order in which their names appear on disk.
    pub const ALL: [Family; 7] =
        [Family::Keys, Family::Values, Family::Log, Family::Lease, Family::Auth, Family::Members, Family::Meta];

    /// Name on disk; part of the on-disk format, never changed.
    pub fn name(self) -> &'static str {
        match self {
            Family::Keys => "keys",
            Family::Values => "values",
            Family::Log => "log",
            Family::Lease => "lease",
            Family::Auth => "auth",
            Family::Members => "members",
            Family::Meta => "meta",
        }
    }
}

/// The store failed. It is never the caller's fault and never retried: the member stops (disk errors are not survived by hoping).
#[derive(Debug, thiserror::Error)]
#[error("backend: {operation} in family {family}: {reason}")]
pub struct Error {
    pub operation: &'static str,
    pub family: &'static str,
    pub reason: String,
}

/// Rows at one instant. Rows written later are not seen by a view that is a snapshot; the apply role's own view is live, and
/// nobody else writes while it reads.
pub trait View {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// A cursor over `lower <= key < upper` (`None` = to the end of the family), standing before its first row.
    fn cursor(&self, family: Family, lower: &[u8], upper: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>, Error>;
}

/// Walks rows of one family inside the bounds it was made with, in either direction.
pub trait Cursor {
    /// Moves to the first row at or after `key` (clamped to the bounds); `None` when there is none.
    fn seek(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error>;
    /// Moves to the last row at or before `key` (clamped to the bounds).
    fn seek_back(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error>;
    /// Moves to the row after the current one; the first row when the cursor was never moved.
    fn next(&mut self) -> Result<Option<Row<'_>>, Error>;
    /// Moves to the row before the current one; the last row when the cursor was never moved.
    fn back(&mut self) -> Result<Option<Row<'_>>, Error>;
}

/// A borrowed row; valid until the cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { family: Family, key: Bytes, value: Bytes },
    Delete { family: Family, key: Bytes },
}

/// Changes that become visible and durable together, in order (a later change of a row wins).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    writes: Vec<Write>,
    bytes: usize,
}

impl WriteBatch {
    pub fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.writes.push(Write::Put { family, key, value });
    }

    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.writes.push(Write::Delete { family, key });
    }

    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Sum of key and value bytes, what the memory budget is charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Appends the changes of `other` after those of this batch.
    pub fn append(&mut self, other: WriteBatch) {
        self.bytes += other.bytes;
        self.writes.extend(other.writes);
    }
}
