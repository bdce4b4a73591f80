//! What an action does to members in the small world, and whether it breaks what must never break.

use crate::desired::{Limits, Timers};
use crate::id::Id;
use crate::observed::{Configuration, ConfiguredMember};
use crate::plan::{Action, MembershipChange};

use super::environment::uid;
use super::{Content, Owner, Planned, Violation, Volume, World, violation};

/// An election timeout holds so many heartbeats at least, as the schema demands of one member's pair.
const HEARTBEATS_MIN: u64 = 5;

impl World {
    /// Calls a member.
    pub(super) fn call(&mut self, planned: &Planned) -> Result<(), Violation> {
        match &planned.action {
            Action::Found { ordinal, disk_id, cluster_id } => self.found(planned.owner, *ordinal, disk_id, *cluster_id),
            Action::Admit { ordinal, member_id, disk_id, .. } => {
                self.admit(planned.owner, *ordinal, *member_id, disk_id)
            }
            Action::Adopt { ordinal, cluster_id } => {
                self.adopt(planned.owner, *ordinal, *cluster_id);
                Ok(())
            }
            Action::SetAside { ordinal, owner_uid } => {
                self.set_aside(*ordinal, owner_uid);
                self.pods.remove(ordinal);
                Ok(())
            }
            Action::ChangeMembership { expected_index, change } => self.change(*expected_index, change),
            Action::Drain { ordinal, draining } => {
                self.pods.entry(*ordinal).and_modify(|pod| pod.draining = *draining);
                Ok(())
            }
            Action::HandOver { to } => {
                if self.voters().contains(to) && self.alive().contains(to) && self.leader.is_some() {
                    self.leader = Some(*to);
                }
                Ok(())
            }
            Action::SetTimers { ordinal, generation, timers } => self.set_timers(*ordinal, *generation, *timers),
            Action::SetLimits { ordinal, generation, limits } => {
                self.set_limits(*ordinal, *generation, *limits);
                Ok(())
            }
            other => violation(format!("{other:?} was not expected here")),
        }
    }

    fn set_timers(&mut self, ordinal: u32, generation: u64, timers: Timers) -> Result<(), Violation> {
        if self.running(ordinal).is_none() {
            return Ok(());
        }
        if let Some(volume) = self.volumes.get_mut(&ordinal).filter(|volume| volume.timers.0 < Some(generation)) {
            volume.timers = (Some(generation), timers);
        }
        self.check_timers()
    }

    fn set_limits(&mut self, ordinal: u32, generation: u64, limits: Limits) {
        if self.running(ordinal).is_none() {
            return;
        }
        if let Some(volume) = self.volumes.get_mut(&ordinal).filter(|volume| volume.limits.0 < Some(generation)) {
            volume.limits = (Some(generation), limits);
        }
    }

    /// No voter waits for less than some heartbeats of any other, or it would call elections against a leader that lives.
    fn check_timers(&self) -> Result<(), Violation> {
        let voters = self.voters();
        let votes = |content: &Content| matches!(content, Content::Member(id, _) if voters.contains(id));
        let timers = || self.volumes.values().filter(|volume| votes(&volume.content)).map(|volume| volume.timers.1);
        let election = timers().map(|timers| timers.election_milliseconds).min();
        let heartbeat = timers().map(|timers| timers.heartbeat_milliseconds).max();
        match (election, heartbeat) {
            (Some(election), Some(heartbeat)) if election < HEARTBEATS_MIN * heartbeat => {
                let all: Vec<_> = timers().collect();
                violation(format!("a voter waits {election} ms while another may send each {heartbeat} ms: {all:?}"))
            }
            _ => Ok(()),
        }
    }

    fn adopt(&mut self, owner: Owner, ordinal: u32, cluster_id: Id) {
        let is_that = self.raft.as_ref().is_some_and(|raft| raft.cluster_id == cluster_id);
        let runs = self.pods.contains_key(&ordinal);
        if let Some(volume) = self.volumes.get_mut(&ordinal).filter(|_| is_that && runs)
            && let Content::Member(id, _) = volume.content
        {
            volume.content = Content::Member(id, owner);
        }
    }

    fn found(&mut self, owner: Owner, ordinal: u32, disk_id: &str, cluster_id: Id) -> Result<(), Violation> {
        let name = self.desired.pod(ordinal);
        let Some(volume) = self.volumes.get(&ordinal).filter(|volume| volume.disk_id() == disk_id) else {
            return Ok(());
        };
        let is_empty = volume.content == Content::Empty && !self.has_a_foreign_log(ordinal);
        if !is_empty || self.pods.get(&ordinal).is_none_or(|pod| pod.owner != owner) {
            return Ok(());
        }
        if let Some(raft) = &self.raft {
            return violation(format!("cluster {} exists and another one is founded on {disk_id}", raft.cluster_id));
        }
        let id = crate::id::founding_member(&self.desired.peer_url(ordinal), &uid(owner));
        if crate::id::founding_cluster(id) != cluster_id {
            return Ok(());
        }
        self.begin(ordinal, Content::Member(id, owner));
        let member = ConfiguredMember {
            id,
            name,
            learner: false,
            disk_id: disk_id.to_owned(),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
        };
        self.raft = Some(Configuration { cluster_id, index: 1, members: vec![member] });
        Ok(())
    }

    fn admit(&mut self, owner: Owner, ordinal: u32, member_id: Id, disk_id: &str) -> Result<(), Violation> {
        let holds = self.configured(disk_id).is_some_and(|member| member.id == member_id);
        let was_added_for = self.raft.iter().flat_map(|raft| &raft.members).find(|member| member.id == member_id);
        if let Some(member) = was_added_for.filter(|member| member.disk_id != disk_id) {
            return violation(format!("{member_id} was added for {} and is admitted on {disk_id}", member.disk_id));
        }
        let here = self.volumes.get(&ordinal).filter(|volume| volume.disk_id() == disk_id);
        let is_empty = here.is_some_and(|volume| volume.content == Content::Empty) && !self.has_a_foreign_log(ordinal);
        if holds && is_empty {
            self.begin(ordinal, Content::Member(member_id, owner));
        }
        Ok(())
    }

    /// Renames the directory of a removed member; the process goes on with what it has opened.
    pub(super) fn set_aside(&mut self, ordinal: u32, owner_uid: &str) {
        if let Some(volume) = self.volumes.get_mut(&ordinal)
            && let Content::Tombstone(owner) = volume.content
            && uid(owner) == owner_uid
        {
            volume.content = Content::SetAside(owner);
        }
    }

    fn change(&mut self, expected_index: u64, change: &MembershipChange) -> Result<(), Violation> {
        let before = self.voters();
        let Some(raft) = self.raft.as_ref().filter(|raft| raft.index == expected_index) else { return Ok(()) };
        if self.leader.is_none() {
            return Ok(());
        }
        let mut members = raft.members.clone();
        match change {
            MembershipChange::AddLearner(member) => {
                if raft.learner().is_some() || members.iter().any(|other| other.name == member.name) {
                    return violation(format!("{} is added beside a learner or itself", member.name));
                }
                members.push(member.clone());
            }
            MembershipChange::Promote(id) => {
                members.iter_mut().filter(|member| member.id == *id).for_each(|member| member.learner = false);
            }
            MembershipChange::Remove(id) => {
                self.check_removal(*id)?;
                members.retain(|member| member.id != *id);
                // It learns of its removal if it runs; on a disk that is away it will when it is back.
                for volume in self.volumes.values_mut() {
                    if let Content::Member(own, owner) = volume.content
                        && own == *id
                    {
                        volume.content = Content::Tombstone(owner);
                    }
                }
            }
        }
        let raft = self.raft.as_mut().expect("it was there a moment ago");
        raft.members = members;
        raft.index += 1;
        let after = self.voters();
        if before != after && !self.has_quorum(&after) {
            return violation(format!("{change:?} leaves {after:?} without a quorum"));
        }
        self.check_timers()
    }

    /// A voter goes when nobody asked for its place any more, or when its disk is gone.
    fn check_removal(&self, id: Id) -> Result<(), Violation> {
        let Some(member) = self.raft.iter().flat_map(Configuration::voters).find(|member| member.id == id) else {
            return Ok(());
        };
        let ordinal = self.desired.ordinal(&member.name).expect("members of this world have our names");
        let is_there =
            |(of, volume): (&u32, &_)| Volume::disk_id(volume) == member.disk_id && self.has_its_log(*of, volume);
        let disk_is_there = self.volumes.iter().any(is_there);
        if disk_is_there && ordinal < self.replicas_min {
            return violation(format!("{} is removed although it has its disk and its place", member.name));
        }
        Ok(())
    }
}
