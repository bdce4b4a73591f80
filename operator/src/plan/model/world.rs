//! A small world that the planner acts in: Kubernetes, disks and a raft configuration, as far as decisions reach.
//!
//! Every act is checked the moment it happens; what must never happen is returned as `Violation`, whether or not a
//! server would have refused it.

mod acts;
mod environment;
mod members;
mod sight;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::claim::Claim;
use crate::crd::VolumePolicy;
use crate::desired::{Desired, Limits, Timers};
use crate::id::Id;
use crate::latch::{Latch, Operation};
use crate::observed::{Configuration, ConfiguredMember, Observed};
use crate::plan::guard::quorum;
use crate::plan::{Action, budget, fixture, statefulset_replicas};
use crate::render::Child;

/// What must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

fn violation<T>(text: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(text.into()))
}

/// Which object of the name `main` it is: the first is 1, one that is created after that was deleted is 2.
pub type Owner = u32;

/// What a disk holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    Empty,
    /// A member and the object that its disk belongs to.
    Member(Id, Owner),
    /// The disk of a removed member, which still belongs to an object.
    Tombstone(Owner),
    /// The directory is renamed, and a process that has opened it before still runs.
    SetAside(Owner),
}

/// The object that stands for a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimObject {
    pub uid: u32,
    pub version: u32,
    pub deleting: bool,
    pub mark: Option<(Id, Id, String)>,
}

impl ClaimObject {
    fn new(uid: u32) -> Self {
        Self { uid, version: 1, deleting: false, mark: None }
    }
}

/// The volume of a log, where that has one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    pub claim: ClaimObject,
    /// The disk id of the directory that began it.
    pub of: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Volume {
    pub claim: ClaimObject,
    pub content: Content,
    /// What its member runs with and the generation of the last push; kept over restarts.
    pub timers: (Option<u64>, Timers),
    pub limits: (Option<u64>, Limits),
}

impl Volume {
    /// A directory's own id; every volume is born with another.
    fn disk_id(&self) -> String {
        format!("disk-{}", self.claim.uid)
    }
}

/// The StatefulSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    pub replicas: u32,
    pub version: u32,
    pub owner: Owner,
}

/// A pod, made by the StatefulSet of this owner; it runs as soon as its volume is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    pub uid: u32,
    pub owner: Owner,
    pub serving: bool,
    pub draining: bool,
}

/// Everything there is.
#[derive(Clone)]
pub struct World {
    /// The object's spec; its UID says which object it is.
    pub desired: Desired,
    pub owner: Owner,
    /// Whether the object is there, and whether our finalizer is on it.
    pub exists: bool,
    pub finalizer: bool,
    pub latch: Option<(Latch, u32)>,
    pub set: Option<Set>,
    /// Pods that an eviction must leave.
    pub budget: Option<(u32, Owner)>,
    /// Secrets and Services.
    pub children: BTreeMap<Child, Owner>,
    pub status: Option<Id>,
    pub pods: BTreeMap<u32, Pod>,
    pub volumes: BTreeMap<u32, Volume>,
    /// Empty where logs lie beside the data.
    pub logs: BTreeMap<u32, Log>,
    pub raft: Option<Configuration>,
    pub leader: Option<Id>,
    pub next_uid: u32,
    /// The smallest size that was ever asked for: members above it may be removed at will.
    pub replicas_min: u32,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { desired, owner, exists, finalizer, latch, set, budget, children, status, .. } = self;
        let Self { pods, volumes, logs, raft, leader, next_uid, replicas_min, .. } = self;
        (desired.replicas, desired.deleting, desired.adopt, desired.timers, desired.limits).hash(state);
        (owner, exists, finalizer, desired.storage.when_deleted).hash(state);
        if let Some((latch, version)) = latch {
            let (members, operation): (_, &Option<Operation>) = (&latch.members, &latch.operation);
            (latch.phase, &latch.founder, members, operation, version, &latch.tuning, &latch.owner_uid).hash(state);
        }
        (set, budget, children, status, pods, volumes, raft, leader, next_uid, replicas_min).hash(state);
        logs.hash(state);
    }
}

/// An action with what it was planned on.
#[derive(Clone, Debug)]
pub struct Planned {
    pub action: Action,
    owner: Owner,
    set: Option<Set>,
    replicas: u32,
    budget: Option<u32>,
}

impl World {
    /// Nothing but an object.
    pub fn new(replicas: u32) -> Self {
        Self {
            desired: fixture::desired(replicas),
            owner: 1,
            exists: true,
            finalizer: false,
            latch: None,
            set: None,
            budget: None,
            children: BTreeMap::new(),
            status: None,
            pods: BTreeMap::new(),
            volumes: BTreeMap::new(),
            logs: BTreeMap::new(),
            raft: None,
            leader: None,
            next_uid: 1,
            replicas_min: replicas,
        }
    }

    /// The same, with the logs on volumes of their own.
    pub fn with_logs(replicas: u32) -> Self {
        Self { desired: fixture::desired_with_wal(replicas), ..Self::new(replicas) }
    }

    /// Keeps what the action was planned on beside it.
    pub fn planned(&self, action: Action, observed: &Observed) -> Planned {
        Planned {
            action,
            owner: self.owner,
            set: self.set,
            replicas: statefulset_replicas(&self.desired, observed),
            budget: budget(&self.desired, observed),
        }
    }

    fn uid(&mut self) -> u32 {
        self.next_uid += 1;
        self.next_uid
    }

    /// Whether an ordinal has this volume.
    pub fn has_claim(&self, claim: Claim, ordinal: u32) -> bool {
        self.claims().any(|(kind, of, _)| (kind, of) == (claim, ordinal))
    }

    fn configured(&self, disk_id: &str) -> Option<&ConfiguredMember> {
        self.raft.as_ref()?.members.iter().find(|member| member.disk_id == disk_id)
    }

    /// The member that runs on an ordinal's disk right now; none on the disk of another object, or without its log.
    fn running(&self, ordinal: u32) -> Option<Id> {
        let pod = self.pods.get(&ordinal)?;
        let volume = self.volumes.get(&ordinal)?;
        match volume.content {
            Content::Member(id, owner) if owner == pod.owner && self.has_its_log(ordinal, volume) => Some(id),
            _ => None,
        }
    }

    /// Whether the log that a member began is there.
    fn has_its_log(&self, ordinal: u32, volume: &Volume) -> bool {
        let begun = || self.logs.get(&ordinal).and_then(|log| log.of.clone());
        self.desired.storage.wal.is_none() || begun() == Some(volume.disk_id())
    }

    /// Whether an empty disk is refused for the log of another.
    fn has_a_foreign_log(&self, ordinal: u32) -> bool {
        self.logs.get(&ordinal).is_some_and(|log| log.of.is_some())
    }

    /// Writes a member on an empty disk, and begins its log.
    fn begin(&mut self, ordinal: u32, content: Content) {
        let Some(volume) = self.volumes.get_mut(&ordinal) else { return };
        volume.content = content;
        if let Some(log) = self.logs.get_mut(&ordinal) {
            log.of = Some(volume.disk_id());
        }
    }

    fn alive(&self) -> Vec<Id> {
        self.pods.keys().filter_map(|ordinal| self.running(*ordinal)).collect()
    }

    fn voters(&self) -> Vec<Id> {
        self.raft.iter().flat_map(Configuration::voters).map(|member| member.id).collect()
    }

    /// Whether a majority of these voters is there.
    fn has_quorum(&self, voters: &[Id]) -> bool {
        let alive = self.alive();
        voters.iter().filter(|id| alive.contains(id)).count() >= quorum(voters.len())
    }

    /// Whether everything is as the object asks.
    pub fn is_whole(&self) -> bool {
        let voters = self.voters();
        let tuned = self.volumes.values().filter(|volume| matches!(volume.content, Content::Member(..)));
        voters.len() == self.desired.replicas as usize
            && voters.iter().all(|id| self.alive().contains(id))
            && self.pods.values().all(|pod| pod.serving && !pod.draining)
            && tuned.into_iter().all(|one| (one.timers.1, one.limits.1) == (self.desired.timers, self.desired.limits))
    }

    /// Whether the object went and left what its policy says.
    pub fn is_gone(&self) -> bool {
        let has_no_child = self.set.is_none() && self.budget.is_none() && self.pods.is_empty();
        let is_retained = |child: &Child| matches!(child, Child::Secret(kind) if kind.is_retained());
        let left = match self.desired.storage.when_deleted {
            VolumePolicy::Delete => {
                let volumes = self.volumes.len() + self.logs.len();
                self.children.is_empty() && self.latch.is_none() && volumes == 0
            }
            VolumePolicy::Retain => self.children.keys().all(is_retained),
        };
        !self.exists && has_no_child && left
    }

    /// Elects the lowest voter that is there whenever the leader is not.
    fn elect(&mut self) {
        let voters = self.voters();
        let alive = self.alive();
        let keeps = self.leader.is_some_and(|leader| voters.contains(&leader) && alive.contains(&leader));
        if !self.has_quorum(&voters) {
            self.leader = None;
        } else if !keeps {
            self.leader = voters.into_iter().find(|id| alive.contains(id));
        }
    }
}
