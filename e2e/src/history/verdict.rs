//! Broken promises, and how often each checker had something to judge.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// A broken promise. Revisions and keys say where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The watch that reads the history went on with another revision than the next.
    HistoryBroken { after: i64, revision: i64 },
    /// Version, create or mod revision of an event do not follow from the key's event before.
    CountersWrong { key: Bytes, revision: i64 },
    /// The history holds other events at this revision than the write that was acknowledged there.
    Lost { client: u32, key: Bytes, revision: i64 },
    /// A refused write was done.
    RefusedDone { client: u32, key: Bytes, revision: i64 },
    /// One write was done at two revisions.
    DoneTwice { client: u32, key: Bytes, revisions: (i64, i64) },
    /// An event that no write and no lease explains.
    Unexplained { key: Bytes, revision: i64 },
    /// A condition was answered as the state before the revision contradicts.
    ConditionWrong { client: u32, key: Bytes, revision: i64, held: bool },
    /// An operation began after another had ended and still comes before it.
    OutOfOrder { client: u32, what: &'static str, revision: i64, earlier: i64, started: Duration },
    /// A read shows another state than that of its revision.
    WrongRows { client: u32, from: Bytes, revision: i64, serializable: bool, seen: usize, expected: usize },
    /// A read shows a revision that the history never reached.
    FutureRevision { client: u32, revision: i64, last: i64 },
    /// A watch delivered something else than the next event of the history.
    WatchWrong { watcher: String, revision: i64, expected: Option<i64> },
    /// A watch ended before an event that it had been told of by a header.
    WatchShort { watcher: String, revision: i64, told: i64 },
    /// A lease's key went before a whole TTL had passed since an acknowledged renewal.
    ExpiredEarly { lease: i64, key: Bytes, revision: i64, early_by: Duration },
    /// A key of a lease that nobody renewed is still there.
    NotExpired { lease: i64, key: Bytes, overdue: Duration },
    /// Members differ at one revision.
    HashesDiffer { revision: i64, hashes: Vec<(String, u32, i64)> },
    /// The cluster, or one member, did not serve again in time.
    NotBack { member: String, reason: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        match self {
            Self::HistoryBroken { after, revision } => {
                write!(f, "the watch of the history goes from revision {after} to {revision}")
            }
            Self::CountersWrong { key, revision } => {
                write!(f, "{} at revision {revision}: its version or revisions do not continue the key's", text(key))
            }
            Self::Lost { client, key, revision } => {
                write!(
                    f,
                    "client {client}: the write of {} acknowledged at revision {revision} is not there",
                    text(key)
                )
            }
            Self::RefusedDone { client, key, revision } => {
                write!(f, "client {client}: the refused write of {} stands at revision {revision}", text(key))
            }
            Self::DoneTwice { client, key, revisions: (one, two) } => {
                write!(f, "client {client}: one write of {} was done at revisions {one} and {two}", text(key))
            }
            Self::Unexplained { key, revision } => {
                write!(f, "{} at revision {revision}: nobody asked for this", text(key))
            }
            Self::ConditionWrong { client, key, revision, held } => {
                let not = if *held { "" } else { " not" };
                write!(
                    f,
                    "client {client}: the condition on {} cannot{not} have held at revision {revision}",
                    text(key)
                )
            }
            Self::OutOfOrder { client, what, revision, earlier, started } => write!(
                f,
                "client {client}: a {what} that began at {started:?} has revision {revision}, after an answer of {earlier}"
            ),
            Self::WrongRows { client, from, revision, serializable, seen, expected } => {
                let kind = if *serializable { "serializable" } else { "linearizable" };
                write!(
                    f,
                    "client {client}: a {kind} read from {} at revision {revision} shows {seen} rows that are not the {expected} of that revision",
                    text(from)
                )
            }
            Self::FutureRevision { client, revision, last } => {
                write!(f, "client {client}: a read shows revision {revision}, and the history ends at {last}")
            }
            Self::WatchWrong { watcher, revision, expected: Some(expected) } => {
                write!(f, "{watcher}: delivered a wrong event of revision {revision} where one of {expected} was next")
            }
            Self::WatchWrong { watcher, revision, expected: None } => {
                write!(f, "{watcher}: delivered an event of revision {revision} beyond the end of the history")
            }
            Self::WatchShort { watcher, revision, told } => {
                write!(f, "{watcher}: ended without the event of revision {revision}, though a header told of {told}")
            }
            Self::ExpiredEarly { lease, key, revision, early_by } => write!(
                f,
                "lease {lease:x}: {} went at revision {revision}, at least {early_by:?} before a whole TTL had passed",
                text(key)
            ),
            Self::NotExpired { lease, key, overdue } => {
                write!(f, "lease {lease:x}: {} is still there {overdue:?} after the lease was due", text(key))
            }
            Self::HashesDiffer { revision, hashes } => write!(f, "HashKV at revision {revision} differs: {hashes:?}"),
            Self::NotBack { member, reason } => write!(f, "{member} is not back: {reason}"),
        }
    }
}

/// How many observations each checker judged. A zero says that the run showed nothing about it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown_done: u64,
    pub unknown_not_done: u64,
    pub conditions: u64,
    pub linearizable_reads: u64,
    pub serializable_reads: u64,
    pub past_reads: u64,
    pub ordered: u64,
    pub watched_events: u64,
    pub leases: u64,
    pub expiries: u64,
}

impl Judged {
    /// Each count with its name.
    pub fn counts(&self) -> [(&'static str, u64); 12] {
        [
            ("writes acknowledged", self.acknowledged),
            ("refused", self.refused),
            ("unknown and done", self.unknown_done),
            ("unknown and not done", self.unknown_not_done),
            ("conditions", self.conditions),
            ("linearizable reads", self.linearizable_reads),
            ("serializable reads", self.serializable_reads),
            ("reads of the past", self.past_reads),
            ("placed in real time", self.ordered),
            ("watched events", self.watched_events),
            ("leases", self.leases),
            ("expiries", self.expiries),
        ]
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.counts().into_iter().enumerate() {
            write!(f, "{}{count} {name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
