//! What was seen of a cluster at one instant: plain values, gathered by `observe`, judged by `plan`.
//!
//! Everything here comes from live reads, never from a watch's cache (invariant 6 of the design).

use std::collections::BTreeMap;

use crate::claim::Claim;
use crate::desired::{Limits, Timers, quantity_bytes};
use crate::id::Id;
use crate::latch::Latch;
use crate::render::Drift;

/// All that decisions are made of.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Whether the object carries our finalizer.
    pub finalizer: bool,
    /// Cluster id in the status: a view, but one more trace of a cluster that exists.
    pub status_cluster_id: Option<Id>,
    pub latch: LatchSeen,
    pub statefulset: Option<StatefulSetSeen>,
    /// By ordinal, as are the three maps below.
    pub pods: BTreeMap<u32, PodSeen>,
    /// The claims of the members' data.
    pub volumes: BTreeMap<u32, VolumeSeen>,
    /// Those of their logs, where these have volumes of their own.
    pub wal_volumes: BTreeMap<u32, VolumeSeen>,
    pub members: BTreeMap<u32, MemberSeen>,
    /// Pods that carry the cluster's label and are not the StatefulSet's.
    pub strangers: Vec<StrangerSeen>,
    /// Read linearizably, or `None` when no member could answer.
    pub configuration: Option<Configuration>,
    /// Children that are not as they shall be, in the order in which they are put right.
    pub drift: Vec<Drift>,
    /// Secrets with a certificate authority that exist, with the UID of the `QuorateCluster` they were made for.
    pub authorities: Vec<AuthoritySeen>,
}

impl Observed {
    /// A volume claim of an ordinal.
    pub fn claim(&self, claim: Claim, ordinal: u32) -> Option<&VolumeSeen> {
        match claim {
            Claim::Data => self.volumes.get(&ordinal),
            Claim::Wal => self.wal_volumes.get(&ordinal),
        }
    }

    /// All volume claims, with whose they are by their names.
    pub fn claims(&self) -> impl Iterator<Item = (Claim, u32, &VolumeSeen)> {
        let of = |claim| move |(ordinal, volume): (&u32, _)| (claim, *ordinal, volume);
        self.volumes.iter().map(of(Claim::Data)).chain(self.wal_volumes.iter().map(of(Claim::Wal)))
    }

    /// Microseconds from a leader to the member that is farthest away; `None` while there is no other.
    pub fn longest_round_trip(&self) -> Option<u64> {
        let states = self.members.values().filter_map(MemberSeen::state);
        states.filter_map(MemberState::longest_round_trip).max()
    }
}

/// The latch and the version of the ConfigMap that it was read from.
#[derive(Clone, Debug)]
pub enum LatchSeen {
    Absent,
    Unusable { reason: String },
    Present { latch: Box<Latch>, resource_version: String },
}

impl LatchSeen {
    /// The record, when there is one that can be read.
    pub fn latch(&self) -> Option<&Latch> {
        match self {
            Self::Present { latch, .. } => Some(latch),
            Self::Absent | Self::Unusable { .. } => None,
        }
    }
}

/// The StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulSetSeen {
    pub uid: String,
    pub resource_version: String,
    pub replicas: u32,
    /// Size in its template of claims, which cannot be changed.
    pub claim_size: Option<String>,
    /// Whether its controller is this very `QuorateCluster`.
    pub ours: bool,
    pub deleting: bool,
    /// Revision that a new pod gets; empty until the StatefulSet controller has looked.
    pub update_revision: String,
}

/// A pod of the StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSeen {
    pub uid: String,
    pub resource_version: String,
    pub deleting: bool,
    pub ready: bool,
    /// The node it was given.
    pub node: Option<String>,
    /// Whether it carries the label that client Service and disruption budget select.
    pub serving: bool,
    /// Where it can be reached, once it has an address.
    pub address: Option<String>,
    pub revision: String,
    /// Why it does not run, in words; empty when it does.
    pub trouble: String,
}

/// A pod with the cluster's label that the StatefulSet did not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrangerSeen {
    pub name: String,
    pub uid: String,
    pub serving: bool,
}

/// A volume claim of the StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSeen {
    pub uid: String,
    pub resource_version: String,
    pub deleting: bool,
    /// The volume behind the claim is gone.
    pub lost: bool,
    /// The size that was asked for.
    pub request: String,
    /// What the volume holds, as its provisioner says.
    pub capacity: Option<String>,
    /// What the annotations say that lives on it.
    pub marked: Option<VolumeMark>,
}

impl VolumeSeen {
    /// Whether it does not yet have the size that it was asked for. What cannot be read is not waited for.
    pub fn is_resizing(&self) -> bool {
        self.capacity_bytes().zip(self.request_bytes()).is_some_and(|(capacity, request)| capacity < request)
    }

    /// `None` when it cannot be read.
    pub fn request_bytes(&self) -> Option<i64> {
        quantity_bytes(&self.request).ok()
    }

    /// `None` when it cannot be read, or is not known yet.
    pub fn capacity_bytes(&self) -> Option<i64> {
        self.capacity.as_deref().and_then(|capacity| quantity_bytes(capacity).ok())
    }
}

/// The part of the latch that a volume claim carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMark {
    pub cluster_id: Id,
    pub member_id: Id,
    pub disk_id: String,
}

/// A Secret with a certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySeen {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub owner_uid: Option<String>,
}

/// What a member said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberSeen {
    /// It did not answer; absence alone is never a reason to remove a member.
    Silent {
        reason: String,
    },
    Answered(Box<MemberState>),
}

impl MemberSeen {
    /// What it said, if it did.
    pub fn state(&self) -> Option<&MemberState> {
        match self {
            Self::Answered(state) => Some(state),
            Self::Silent { .. } => None,
        }
    }
}

/// The facts about a member that decisions need (`Admin.MemberState`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    pub phase: MemberPhase,
    pub role: Role,
    pub cluster_id: Option<Id>,
    pub member_id: Option<Id>,
    pub name: String,
    pub disk_id: String,
    /// UID of the `QuorateCluster` that the disk belongs to; empty on an empty disk.
    pub owner_uid: String,
    pub leader_id: Option<Id>,
    pub committed_index: u64,
    pub applied_index: u64,
    pub lag_entries: u64,
    pub db_size_bytes: i64,
    pub db_in_use_bytes: i64,
    pub version: String,
    /// Features that the members may use, as far as this one has applied; 0 when unknown.
    pub feature_level: u32,
    /// Whether it asks clients to go to other members, and how many of their connections are open.
    pub draining: bool,
    pub client_connections: u64,
    pub timers: Timers,
    /// Generation of the timers that were pushed last; 0 when none were.
    pub timers_generation: u64,
    pub limits: Limits,
    pub bundles: Bundles,
    /// Members with the alarm CORRUPT, as this member knows them.
    pub corrupt: Vec<Id>,
    /// Members with the alarm NOSPACE.
    pub no_space: Vec<Id>,
    /// Why the directory is refused.
    pub refusal: String,
    /// How far the leader has brought the others; empty on the others.
    pub progress: Vec<Progress>,
    /// The configuration as this member has applied it, which may be an old one.
    pub configuration: Option<Configuration>,
}

impl MemberState {
    /// Microseconds to the member that is farthest away; `None` when it leads no other.
    pub fn longest_round_trip(&self) -> Option<u64> {
        self.progress.iter().map(|progress| progress.round_trip_microseconds).max().filter(|longest| *longest > 0)
    }
}

/// The CA bundles that a member has in force: the sha256 of each file in lower-case hex, empty on a plane without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundles {
    pub peers: String,
    pub clients: String,
}

/// Where a member is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberPhase {
    Starting,
    AwaitingAdmission,
    AwaitingAdoption,
    Running,
    Removed,
    Refused,
    Fenced,
}

/// What a running member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Unknown,
    Follower,
    Candidate,
    Leader,
    Learner,
}

/// The leader's view of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub member_id: Id,
    pub match_index: u64,
    pub recently_active: bool,
    /// Smoothed; 0 when unknown.
    pub round_trip_microseconds: u64,
}

/// The members as the raft log has them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    pub cluster_id: Id,
    /// Raft index of the last change, which the next one is conditional on.
    pub index: u64,
    pub members: Vec<ConfiguredMember>,
}

/// One member of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfiguredMember {
    pub id: Id,
    /// Name of its pod; empty on a member that something else added.
    pub name: String,
    pub learner: bool,
    pub disk_id: String,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
}

impl Configuration {
    /// Members with a vote.
    pub fn voters(&self) -> impl Iterator<Item = &ConfiguredMember> {
        self.members.iter().filter(|member| !member.learner)
    }

    /// The one learner; rule D allows no second.
    pub fn learner(&self) -> Option<&ConfiguredMember> {
        self.members.iter().find(|member| member.learner)
    }
}
