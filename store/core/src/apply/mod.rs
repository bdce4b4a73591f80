//! What a committed command does: the only writer of the replicated state.
//!
//! [`Machine`] is the part of the state that is held in memory. A [`Turn`] applies committed entries, each command seeing those
//! before it, and ends as one write batch with everything that the commands answered and changed. The same entries give the same
//! rows on every member: nothing here depends on time, chance, or what a member was configured with (`Limits` change answers only).

mod alarm;
mod checks;
mod compact;
mod kv;
mod lease;
mod meta;
mod no_space;
mod overlay;
mod quota;
mod recovery;
mod txn;
mod writer;

pub use alarm::Alarms;
pub use lease::{Lease, attached_keys};
pub use meta::Applied as AppliedIndex;
pub use no_space::NoSpace;
pub use quota::{LEASE_COST_BYTES, put_cost, txn_cost};

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;

use crate::backend::{self, View, WriteBatch};
use crate::command::{self, Command, CommandId, Request};
use crate::feature;
use crate::integrity::{self, Chain};
use crate::log::{ConfState, Index, MemberId, Term};
use crate::membership::{Membership, Proposed, Refused, RowError};
use crate::mvcc::rows::Core;
use crate::mvcc::size::Superseded;
use crate::mvcc::{self, Event, State};
use checks::Refusal;
use overlay::Overlay;

/// Why a member cannot go on applying. Nothing of the turn may be written then: the member stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Rows(#[from] mvcc::Error),
    #[error(transparent)]
    Members(#[from] RowError),
    #[error("entry {index}: {source}")]
    Command { index: Index, source: command::Error },
    #[error("entry {index}, a membership change: {reason}")]
    Change { index: Index, reason: String },
    #[error("the cluster is at feature level {level}, this version knows up to {known}: upgrade this member")]
    FeatureLevel { level: u32, known: u32 },
    #[error(
        "families stand at different points of the raft log ({family} at {found:?}, {first} at {expected:?}): \
         the data directory is damaged, rebuild this member from the others"
    )]
    Torn { family: &'static str, found: AppliedIndex, first: &'static str, expected: AppliedIndex },
}

impl Error {
    /// The failure of the store behind this error; `None` when the rows were read and are not what they should be.
    pub fn store_failure(&self) -> Option<&backend::Error> {
        match self {
            Error::Rows(mvcc::Error::Backend(error)) | Error::Members(RowError::Backend(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        Error::Rows(error.into())
    }
}

/// The replicated state that is held in memory; everything else is read from rows when it is needed.
///
/// Invariant: outside of a turn it equals what [`Machine::open`] makes of the rows, once the turn's batch is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    applied: AppliedIndex,
    core: Core,
    superseded: Superseded,
    leases: BTreeMap<i64, Lease>,
    alarms: Alarms,
    membership: Membership,
    integrity: Chain,
}

impl Machine {
    /// Reads the state out of a view: an empty one is the state before the first entry.
    ///
    /// # Errors
    /// The backend's, a malformed row, families that stand at different points of the raft log, or a feature level of a later version.
    pub fn open(view: &dyn View) -> Result<Machine, Error> {
        Machine::open_hashed_every(view, integrity::INTERVAL)
    }

    /// As `open`, with another interval of the hashes that members compare, the same on all of them: the simulator's histories are short.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_hashed_every(view: &dyn View, revisions: i64) -> Result<Machine, Error> {
        let core = Core::load(view)?;
        if core.feature_level > feature::KNOWN {
            return Err(Error::FeatureLevel { level: core.feature_level, known: feature::KNOWN });
        }
        Ok(Machine {
            applied: AppliedIndex::load(view)?,
            integrity: Chain::load(view, core.state.revision, revisions)?,
            core,
            superseded: Superseded::load(view)?,
            leases: lease::load(view)?,
            alarms: Alarms::load(view)?,
            membership: Membership::load(view)?,
        })
    }

    /// Index and term of the last entry that was applied; 0 and 0 before the first.
    pub fn applied(&self) -> AppliedIndex {
        self.applied
    }

    pub fn state(&self) -> State {
        self.core.state
    }

    pub fn revision(&self) -> i64 {
        self.core.state.revision
    }

    /// -1 before the first compaction.
    pub fn compact_revision(&self) -> i64 {
        self.core.state.compact_revision
    }

    /// What may be proposed; 0 before founding.
    pub fn feature_level(&self) -> u32 {
        self.core.feature_level
    }

    /// etcd's `dbSizeInUse`: equal on all members.
    pub fn size_in_use_bytes(&self) -> u64 {
        mvcc::BASE_BYTES + self.core.logical_bytes
    }

    /// Leases by id.
    pub fn leases(&self) -> &BTreeMap<i64, Lease> {
        &self.leases
    }

    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// The hashes that members compare.
    pub fn integrity(&self) -> &Chain {
        &self.integrity
    }

    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    pub fn conf_state(&self) -> ConfState {
        self.membership.conf_state()
    }

    /// Begins a turn over `view`, which must show everything that earlier turns wrote.
    pub fn turn<'a>(&'a mut self, view: &'a dyn View, limits: Limits) -> Turn<'a> {
        Turn {
            machine: self,
            rows: Overlay::new(view),
            limits,
            outcomes: Vec::new(),
            events: Vec::new(),
            leases: Vec::new(),
            change: None,
            alarms_changed: false,
            members: Vec::new(),
            members_changed: false,
            no_space: false,
        }
    }
}

/// What this member was configured with. It changes answers, never the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Size in bytes from which on writes are answered with NoSpace; `None` = no quota.
    pub quota_bytes: Option<u64>,
    /// What this member holds beyond `size_in_use_bytes`: compacted, but not yet reclaimed.
    pub unreclaimed_bytes: u64,
}

/// Entries being applied. Dropping it without [`Turn::finish`] leaves the machine ahead of the rows: open it anew.
pub struct Turn<'a> {
    machine: &'a mut Machine,
    rows: Overlay<'a>,
    limits: Limits,
    outcomes: Vec<Outcome>,
    events: Vec<Event>,
    leases: Vec<LeaseChange>,
    change: Option<ChangeOutcome>,
    alarms_changed: bool,
    /// Members whose rows changed.
    members: Vec<MemberId>,
    members_changed: bool,
    no_space: bool,
}

/// The answer to one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub id: CommandId,
    pub result: Result<Response, ApiError>,
}

/// What a command answers; headers have only their revision.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    Alarm(pb::AlarmResponse),
    /// Applied, nothing to tell; also an expiry that came too late to have effect.
    Done,
}

/// The answer to a membership change.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeOutcome {
    pub id: CommandId,
    /// The configuration that raft must come to, or why nothing changed.
    pub result: Result<ConfState, Refused>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    Granted {
        id: i64,
        ttl_seconds: i64,
        /// Raft index of the grant: names this lease among others of the same id.
        grant_index: Index,
    },
    Revoked {
        id: i64,
    },
}

/// What a turn did.
#[derive(Debug)]
pub struct Applied {
    /// To be written as one; applied index and term stand in every family of it.
    pub batch: WriteBatch,
    /// One a command, in order.
    pub outcomes: Vec<Outcome>,
    /// Ascending by revision.
    pub events: Vec<Event>,
    /// In order; a lease may be granted and revoked in one turn.
    pub leases: Vec<LeaseChange>,
    /// The outcome of a membership change, which has a turn of its own.
    pub change: Option<ChangeOutcome>,
    pub applied: AppliedIndex,
    pub revision: i64,
    pub compact_revision: i64,
    pub alarms_changed: bool,
    /// Members or what they published changed.
    pub members_changed: bool,
    /// A write went over the quota: the caller proposes a NOSPACE alarm for its member, unless it already has.
    pub no_space: bool,
}

impl Turn<'_> {
    /// Applies a normal entry.
    ///
    /// # Errors
    /// The store's, or an entry that this version cannot read.
    pub fn entry(&mut self, index: Index, term: Term, data: Bytes) -> Result<(), Error> {
        self.advance(index, term);
        for command in command::decode(data).map_err(|source| Error::Command { index, source })? {
            let id = command.id;
            let result = match self.command(command) {
                Ok(response) => Ok(response),
                Err(Refusal::Client(error)) => Err(error),
                Err(Refusal::Fatal(error)) => return Err(error.into()),
                Err(Refusal::Level(level)) => return Err(Error::FeatureLevel { level, known: feature::KNOWN }),
            };
            self.outcomes.push(Outcome { id, result });
        }
        Ok(())
    }

    /// Applies a membership change, the only entry of its turn.
    ///
    /// # Errors
    /// A change that this version cannot read.
    pub fn change(&mut self, index: Index, term: Term, payload: Bytes) -> Result<(), Error> {
        assert!(self.outcomes.is_empty() && self.change.is_none(), "a membership change has a turn of its own");
        self.advance(index, term);
        let proposed = Proposed::decode(payload).map_err(|error| Error::Change { index, reason: error.to_string() })?;
        let membership = &mut self.machine.membership;
        let id = proposed.id;
        let result = match membership.check(&proposed, self.machine.core.feature_level) {
            Ok(()) => {
                self.members.extend(membership.apply(index, proposed.change));
                self.members_changed = true;
                Ok(membership.conf_state())
            }
            Err(refused) => Err(refused),
        };
        self.change = Some(ChangeOutcome { id, result });
        Ok(())
    }

    fn advance(&mut self, index: Index, term: Term) {
        let applied = &mut self.machine.applied;
        assert_eq!(index, applied.index + 1, "entries are applied in order, each once");
        assert!(term >= applied.term, "terms never fall: {term} after {}", applied.term);
        *applied = AppliedIndex { index, term };
    }

    fn command(&mut self, command: Command) -> Result<Response, Refusal> {
        self.refuse_by_alarm(&command.request)?;
        match command.request {
            Request::Put(request) => self.put(request),
            Request::DeleteRange(request) => self.delete_range(&request),
            Request::Txn(request) => self.txn(request),
            Request::Compact(request) => self.compact(&request),
            Request::LeaseGrant(request) => self.lease_grant(&request),
            Request::LeaseRevoke { id, expiry } => self.lease_revoke(id, expiry),
            Request::Alarm(request) => Ok(self.alarm(&request)),
            Request::MemberAttributes { member, name, client_urls } => {
                let membership = &mut self.machine.membership;
                if membership.get(member).is_some() {
                    membership.set_attributes(member, name, client_urls);
                    self.members.push(member);
                    self.members_changed = true;
                }
                Ok(Response::Done)
            }
            Request::FeatureLevel(level) if level > feature::KNOWN => Err(Refusal::Level(level)),
            Request::FeatureLevel(level) => {
                let current = &mut self.machine.core.feature_level;
                *current = level.max(*current);
                Ok(Response::Done)
            }
        }
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { revision: self.machine.revision(), ..Default::default() })
    }

    /// Ends the turn; the caller writes the batch before anything of it is told.
    pub fn finish(self) -> Applied {
        let Turn {
            machine,
            mut rows,
            limits: _,
            outcomes,
            events,
            leases,
            change,
            alarms_changed,
            members,
            members_changed,
            no_space,
        } = self;
        assert!(events.is_sorted_by(|a, b| a.revision < b.revision), "revisions ascend");
        meta::store(machine, &mut rows);
        let mut batch = rows.into_batch();
        if members_changed {
            machine.membership.store(&members, &mut batch);
        }
        let Machine { applied, core, .. } = machine;
        Applied {
            batch,
            outcomes,
            events,
            leases,
            change,
            applied: *applied,
            revision: core.state.revision,
            compact_revision: core.state.compact_revision,
            alarms_changed,
            members_changed,
            no_space,
        }
    }
}

#[cfg(test)]
mod tests;
