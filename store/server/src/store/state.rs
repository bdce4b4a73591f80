//! What the driver publishes and every RPC may look at: who this member is, where it stands, its limits, and a consistent view of rows.

use std::ops::Deref;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_api::etcdserverpb as pb;
use quorate_core::backend::{self, Cursor, Family, View};
use quorate_core::log::{Index, MemberId, Term};
use quorate_core::mvcc;
use quorate_core::replica::{ELECTION_TICKS_MAX, Role};

use crate::backend::Snapshot;

/// Who this member is; fixed for the life of the process.
#[derive(Debug, Clone)]
pub struct Identity {
    pub cluster_id: u64,
    pub member_id: MemberId,
    pub name: String,
    /// Rises with each start of this member.
    pub boot: u64,
}

/// Limits that may change while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `None` = no quota.
    pub quota_bytes: Option<u64>,
    pub request_bytes_max: usize,
    pub txn_ops_max: usize,
}

/// The timers of raft; they may change while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Between a leader's heartbeats; raft's tick.
    pub heartbeat: Duration,
    /// At least five heartbeats.
    pub election: Duration,
}

impl Timers {
    /// Milliseconds between two ticks.
    pub fn tick_ms(&self) -> u64 {
        u64::try_from(self.heartbeat.as_millis()).unwrap_or(u64::MAX)
    }

    /// Ticks of an election timeout, whole and never less than raft needs.
    pub fn election_ticks(&self) -> usize {
        let ticks = self.election.as_millis() / self.heartbeat.as_millis().max(1);
        usize::try_from(ticks).unwrap_or(usize::MAX).clamp(2, ELECTION_TICKS_MAX)
    }
}

/// What the driver last published.
#[derive(Debug, Clone)]
pub struct Status {
    pub role: Role,
    /// 0 when unknown.
    pub leader: MemberId,
    pub term: Term,
    pub committed: Index,
    pub applied: Index,
    pub is_learner: bool,
    pub revision: i64,
    pub compact_revision: i64,
    pub feature_level: u32,
    pub alarms: Vec<pb::AlarmMember>,
    pub db_size_in_use: u64,
    /// What is in use and what is compacted but not yet reclaimed on this member.
    pub db_size: u64,
    /// When this member last knew a leader and lost it; for the text of time-outs.
    pub leader_lost: Option<Instant>,
    /// This member is not part of the configuration any more.
    pub removed: bool,
    /// Why this member cannot store more, while it cannot.
    pub disk_full: Option<String>,
}

impl Status {
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// Whether a member's CORRUPT alarm is raised; see also `integrity::NOBODY`.
    pub fn is_corrupt(&self, member: MemberId) -> bool {
        let corrupt = i32::from(pb::AlarmType::Corrupt);
        self.alarms.iter().any(|raised| raised.member_id == member && raised.alarm == corrupt)
    }
}

/// A consistent view of the database with its revisions; reads at any revision between compact and current.
pub struct ReadView {
    pub(super) snapshot: Snapshot,
    pub state: mvcc::State,
}

impl Deref for ReadView {
    type Target = Snapshot;
    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl View for ReadView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, backend::Error> {
        self.snapshot.get(family, key)
    }

    fn cursor(
        &self,
        family: Family,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + '_>, backend::Error> {
        self.snapshot.cursor(family, lower, upper)
    }
}
