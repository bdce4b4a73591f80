//! The records of a history: operations with start, end and outcome, events, leases. Times count from the start of the run
//! and come from one clock.

use std::hash::Hasher;
use std::time::Duration;

use bytes::Bytes;

/// One request of one client. `end` is the moment at which the client stopped waiting.
#[derive(Debug, Clone)]
pub struct Operation {
    pub client: u32,
    pub start: Duration,
    pub end: Duration,
    pub request: Request,
    pub outcome: Outcome,
}

#[derive(Debug, Clone)]
pub enum Request {
    Write(Write),
    /// Keys from `from` to below `end`; with an empty `end` the key `from` alone. Revision 0 is the newest.
    Read {
        from: Bytes,
        end: Bytes,
        revision: i64,
        serializable: bool,
    },
}

/// One transaction that writes; no key twice.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// Only if the key's mod revision is this (0: there is no such key).
    pub only_if: Option<(Bytes, i64)>,
    pub puts: Vec<Put>,
    pub deletes: Vec<Bytes>,
}

#[derive(Debug, Clone)]
pub struct Put {
    pub key: Bytes,
    pub value: Bytes,
    /// 0 is none.
    pub lease: i64,
}

#[derive(Debug, Clone)]
pub enum Outcome {
    Done(Answer),
    /// An answer that promises that nothing was done.
    Refused,
    /// No answer, or one that leaves it open: it may have been done, and may still be.
    Unknown,
}

/// `revision` is the header's.
#[derive(Debug, Clone)]
pub enum Answer {
    /// `held` is whether the write's condition held, `deleted` how many keys it says to have deleted. A write without effect
    /// has the revision of the state that it saw.
    Written {
        revision: i64,
        held: bool,
        deleted: u64,
    },
    Rows {
        revision: i64,
        rows: Vec<SeenRow>,
    },
}

impl Answer {
    pub fn revision(&self) -> i64 {
        match self {
            Answer::Written { revision, .. } | Answer::Rows { revision, .. } => *revision,
        }
    }
}

/// A row of an answer; the digest stands for everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRow {
    pub key: Bytes,
    pub digest: u64,
}

/// A key's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// What happened to one key at one revision; no row is a delete.
#[derive(Debug, Clone)]
pub struct Event {
    pub revision: i64,
    pub key: Bytes,
    pub row: Option<Row>,
    /// When it was received: not before it happened.
    pub seen: Duration,
}

/// A lease as its keeper knows it.
#[derive(Debug, Clone)]
pub struct Lease {
    pub id: i64,
    /// As granted.
    pub ttl: Duration,
    /// The start of every renewal that was acknowledged, the grant the first of them: from there it lives a whole TTL.
    pub renewed: Vec<Duration>,
    /// When the first request to revoke it was sent.
    pub revoked: Option<Duration>,
}

/// Stands for key, values and counters of an event or a row.
pub fn digest(key: &[u8], row: Option<&Row>) -> u64 {
    // The keys of this hasher are fixed, and a digest never leaves the process.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(key);
    hasher.write_usize(key.len());
    if let Some(row) = row {
        hasher.write(&row.value);
        for number in [row.create_revision, row.mod_revision, row.version, row.lease] {
            hasher.write_i64(number);
        }
    }
    hasher.finish()
}
