//! A small world that the planner acts in: Kubernetes, disks and a raft configuration, as far as decisions reach.
//!
//! Every act is checked the moment it happens; what must never happen is returned as `Violation`, whether or not a
//! server would have refused it.

mod acts;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::desired::Desired;
use crate::id::Id;
use crate::latch::{Latch, Operation};
use crate::observed::{
    Configuration, ConfiguredMember, LatchSeen, MemberPhase, MemberSeen, MemberState, Observed, PodSeen, Progress,
    StatefulSetSeen, VolumeMark, VolumeSeen,
};
use crate::plan::guard::quorum;
use crate::plan::{Action, budget, fixture, statefulset_replicas};
use crate::render::{Child, Drift};

/// What must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

fn violation<T>(text: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(text.into()))
}

/// What a disk holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    Empty,
    Member(Id),
    Tombstone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Volume {
    pub uid: u32,
    pub version: u32,
    pub deleting: bool,
    pub mark: Option<(Id, Id, String)>,
    pub content: Content,
}

impl Volume {
    /// A directory's own id; every volume is born with another.
    fn disk_id(&self) -> String {
        format!("disk-{}", self.uid)
    }
}

/// Everything there is.
#[derive(Clone)]
pub struct World {
    pub desired: Desired,
    pub latch: Option<(Latch, u32)>,
    /// Replicas and version.
    pub set: Option<(u32, u32)>,
    pub budget: Option<u32>,
    pub status: Option<Id>,
    /// Pods by ordinal and their uid; a pod runs as soon as its volume is there.
    pub pods: BTreeMap<u32, u32>,
    pub volumes: BTreeMap<u32, Volume>,
    pub raft: Option<Configuration>,
    pub leader: Option<Id>,
    pub next_uid: u32,
    /// The smallest size that was ever asked for: members above it may be removed at will.
    pub replicas_min: u32,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { desired, latch, set, budget, status, pods, volumes, raft, leader, next_uid, replicas_min } = self;
        desired.replicas.hash(state);
        if let Some((latch, version)) = latch {
            let (members, operation): (_, &Option<Operation>) = (&latch.members, &latch.operation);
            (latch.phase, &latch.founder, members, operation, version).hash(state);
        }
        (set, budget, status, pods, volumes, raft, leader, next_uid, replicas_min).hash(state);
    }
}

/// An action with what it was planned on.
#[derive(Clone, Debug)]
pub struct Planned {
    pub action: Action,
    set: Option<(u32, u32)>,
    replicas: u32,
    budget: Option<u32>,
}

impl World {
    /// Nothing but an object.
    pub fn new(replicas: u32) -> Self {
        Self {
            desired: fixture::desired(replicas),
            latch: None,
            set: None,
            budget: None,
            status: None,
            pods: BTreeMap::new(),
            volumes: BTreeMap::new(),
            raft: None,
            leader: None,
            next_uid: 1,
            replicas_min: replicas,
        }
    }

    /// Keeps what the action was planned on beside it.
    pub fn planned(&self, action: Action, observed: &Observed) -> Planned {
        Planned {
            action,
            set: self.set,
            replicas: statefulset_replicas(&self.desired, observed),
            budget: budget(&self.desired, observed),
        }
    }

    fn uid(&mut self) -> u32 {
        self.next_uid += 1;
        self.next_uid
    }

    fn configured(&self, disk_id: &str) -> Option<&ConfiguredMember> {
        self.raft.as_ref()?.members.iter().find(|member| member.disk_id == disk_id)
    }

    /// The member that runs on an ordinal's disk right now.
    fn running(&self, ordinal: u32) -> Option<Id> {
        self.pods.get(&ordinal)?;
        match self.volumes.get(&ordinal)?.content {
            Content::Member(id) => Some(id),
            _ => None,
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
        voters.len() == self.desired.replicas as usize && voters.iter().all(|id| self.alive().contains(id))
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

    /// Steps that Kubernetes could take next, one ordinal at a time.
    pub fn environment(&self) -> Vec<World> {
        let mut next = Vec::new();
        let replicas = self.set.map_or(0, |(replicas, _)| replicas);
        for ordinal in 0..replicas {
            let blocked = self.volumes.get(&ordinal).is_some_and(|volume| volume.deleting);
            if !self.pods.contains_key(&ordinal) && !blocked {
                let mut world = self.clone();
                let uid = world.uid();
                world.pods.insert(ordinal, uid);
                let fresh = Volume { uid, version: 1, deleting: false, mark: None, content: Content::Empty };
                world.volumes.entry(ordinal).or_insert(fresh);
                world.elect();
                next.push(world);
            }
        }
        for ordinal in self.pods.keys().filter(|ordinal| **ordinal >= replicas) {
            next.push(self.without_pod(*ordinal));
        }
        for (ordinal, volume) in &self.volumes {
            if volume.deleting && !self.pods.contains_key(ordinal) {
                let mut world = self.clone();
                world.volumes.remove(ordinal);
                next.push(world);
            }
        }
        next
    }

    /// The pod is gone; its volume stays.
    pub fn without_pod(&self, ordinal: u32) -> World {
        let mut world = self.clone();
        world.pods.remove(&ordinal);
        world.elect();
        world
    }

    /// Pod and volume are gone for good.
    pub fn without_disk(&self, ordinal: u32) -> World {
        let mut world = self.without_pod(ordinal);
        world.volumes.remove(&ordinal);
        world
    }

    /// Somebody deleted the ConfigMap.
    pub fn without_latch(&self) -> World {
        World { latch: None, ..self.clone() }
    }

    /// The object asks for another size.
    pub fn resized(&self, replicas: u32) -> World {
        let mut world = self.clone();
        world.desired.replicas = replicas;
        world.replicas_min = world.replicas_min.min(replicas);
        world
    }

    /// What an operator sees; one member may not answer it.
    pub fn observe(&self, silent: Option<u32>) -> Observed {
        let mut observed = fixture::nothing();
        observed.status_cluster_id = self.status;
        if let Some((latch, version)) = &self.latch {
            observed.latch =
                LatchSeen::Present { latch: Box::new(latch.clone()), resource_version: version.to_string() };
        }
        observed.statefulset = self.set.map(|(replicas, version)| StatefulSetSeen {
            uid: "set".to_owned(),
            resource_version: version.to_string(),
            replicas,
            ours: true,
            deleting: false,
            update_revision: "r1".to_owned(),
        });
        for (ordinal, uid) in &self.pods {
            observed.pods.insert(*ordinal, PodSeen { uid: uid.to_string(), ..fixture::pod(*ordinal) });
            let seen = if silent == Some(*ordinal) {
                MemberSeen::Silent { reason: "cut off".to_owned() }
            } else {
                fixture::answered(self.state(*ordinal))
            };
            observed.members.insert(*ordinal, seen);
        }
        for (ordinal, volume) in &self.volumes {
            observed.volumes.insert(*ordinal, seen_volume(volume));
        }
        let voters = self.voters();
        observed.configuration = self.raft.clone().filter(|_| self.has_quorum(&voters));
        observed.drift = self.drift(&observed);
        observed
    }

    fn drift(&self, observed: &Observed) -> Vec<Drift> {
        let drift = |child| Drift { child, reason: "differs".to_owned(), conflict: None };
        let mut all = Vec::new();
        if self.budget != budget(&self.desired, observed) {
            all.push(drift(Child::Budget));
        }
        if self.set.map(|(replicas, _)| replicas) != Some(statefulset_replicas(&self.desired, observed)) {
            all.push(drift(Child::StatefulSet));
        }
        all
    }

    fn state(&self, ordinal: u32) -> MemberState {
        let awaiting = |disk_id: &str| match fixture::awaiting(&self.desired, ordinal, disk_id) {
            MemberSeen::Answered(state) => *state,
            MemberSeen::Silent { .. } => unreachable!("the fixture answers"),
        };
        let Some(volume) = self.volumes.get(&ordinal) else { return awaiting("none") };
        let id = match volume.content {
            Content::Empty => return awaiting(&volume.disk_id()),
            Content::Tombstone => {
                return MemberState { phase: MemberPhase::Removed, ..awaiting(&volume.disk_id()) };
            }
            Content::Member(id) => id,
        };
        let progress =
            |member: &ConfiguredMember| Progress { member_id: member.id, match_index: 100, recently_active: true };
        let raft = self.raft.as_ref();
        MemberState {
            cluster_id: raft.map(|raft| raft.cluster_id),
            member_id: Some(id),
            disk_id: volume.disk_id(),
            leader_id: self.leader,
            configuration: self.raft.clone(),
            progress: raft.iter().flat_map(|raft| raft.members.iter().map(progress)).collect(),
            ..fixture::state(&self.desired, ordinal, 1)
        }
    }
}

fn seen_volume(volume: &Volume) -> VolumeSeen {
    VolumeSeen {
        uid: volume.uid.to_string(),
        resource_version: volume.version.to_string(),
        deleting: volume.deleting,
        lost: false,
        marked: volume.mark.as_ref().map(|(cluster_id, member_id, disk_id)| VolumeMark {
            cluster_id: *cluster_id,
            member_id: *member_id,
            disk_id: disk_id.clone(),
        }),
    }
}
