//! What an action does in the small world, and whether it breaks what must never break.

use crate::id::Id;
use crate::observed::{Configuration, ConfiguredMember};
use crate::plan::{Action, MembershipChange};
use crate::render::Child;

use super::{Content, Planned, Violation, Volume, World, violation};

impl World {
    /// Performs an action as Kubernetes and the members would, or says what it broke.
    pub fn act(&self, planned: &Planned) -> Result<World, Violation> {
        let mut world = self.clone();
        // Every round writes the status before it acts.
        world.status = self.latch.as_ref().map(|(latch, _)| latch.cluster_id).or(self.status);
        match &planned.action {
            Action::Apply(Child::StatefulSet) => world.apply_set(planned)?,
            Action::Apply(Child::Budget) => world.budget = planned.budget,
            Action::CreateLatch(latch) => {
                world.latch.get_or_insert_with(|| ((**latch).clone(), 1));
            }
            Action::WriteLatch { latch, resource_version, .. } => {
                if let Some((_, version)) =
                    self.latch.as_ref().filter(|(_, version)| version.to_string() == *resource_version)
                {
                    world.latch = Some(((**latch).clone(), version + 1));
                }
            }
            Action::MarkVolume { ordinal, uid, resource_version, mark } => {
                if let Some(volume) = world.matching_volume(*ordinal, uid, resource_version) {
                    volume.mark = Some((mark.cluster_id, mark.member_id, mark.disk_id.clone()));
                    volume.version += 1;
                }
            }
            Action::DeleteVolume { ordinal, uid, resource_version } => {
                world.delete_volume(*ordinal, uid, resource_version)?;
            }
            Action::DeletePod { ordinal, uid } => world.delete_pod(*ordinal, uid)?,
            Action::Found { ordinal, disk_id, cluster_id } => world.found(*ordinal, disk_id, *cluster_id)?,
            Action::Admit { ordinal, member_id, disk_id, .. } => world.admit(*ordinal, *member_id, disk_id)?,
            Action::SetAside { ordinal } => world.set_aside(*ordinal),
            Action::ChangeMembership { expected_index, change } => world.change(*expected_index, change)?,
            Action::HandOver { to } => {
                if self.voters().contains(to) && self.alive().contains(to) && self.leader.is_some() {
                    world.leader = Some(*to);
                }
            }
            other => return violation(format!("{other:?} was not expected here")),
        }
        world.elect();
        Ok(world)
    }

    fn apply_set(&mut self, planned: &Planned) -> Result<(), Violation> {
        // Create and update both carry what they were planned on.
        if self.set.map(|(_, version)| version) != planned.set.map(|(_, version)| version) {
            return Ok(());
        }
        let members = self.raft.iter().flat_map(|raft| &raft.members);
        let cut = members
            .filter_map(|member| self.desired.ordinal(&member.name))
            .find(|ordinal| *ordinal >= planned.replicas);
        if let Some(ordinal) = cut {
            return violation(format!("the StatefulSet is cut to {} below member {ordinal}", planned.replicas));
        }
        self.set = Some((planned.replicas, self.set.map_or(1, |(_, version)| version + 1)));
        Ok(())
    }

    fn matching_volume(&mut self, ordinal: u32, uid: &str, version: &str) -> Option<&mut Volume> {
        self.volumes
            .get_mut(&ordinal)
            .filter(|volume| volume.uid.to_string() == uid && volume.version.to_string() == version)
    }

    fn delete_volume(&mut self, ordinal: u32, uid: &str, version: &str) -> Result<(), Violation> {
        let Some(volume) = self.matching_volume(ordinal, uid, version) else { return Ok(()) };
        volume.deleting = true;
        volume.version += 1;
        let disk_id = volume.disk_id();
        match self.configured(&disk_id) {
            Some(member) => violation(format!("the volume of member {} is deleted", member.id)),
            None => Ok(()),
        }
    }

    fn delete_pod(&mut self, ordinal: u32, uid: &str) -> Result<(), Violation> {
        if self.pods.get(&ordinal).is_some_and(|pod| pod.to_string() == uid) {
            let (had, voters) = (self.has_quorum(&self.voters()), self.voters());
            self.pods.remove(&ordinal);
            if had && !voters.is_empty() && !self.has_quorum(&voters) {
                return violation(format!("deleting pod {ordinal} takes the quorum away"));
            }
        }
        Ok(())
    }

    fn found(&mut self, ordinal: u32, disk_id: &str, cluster_id: Id) -> Result<(), Violation> {
        let name = self.desired.pod(ordinal);
        let Some(volume) = self.volumes.get_mut(&ordinal).filter(|volume| volume.disk_id() == disk_id) else {
            return Ok(());
        };
        if volume.content != Content::Empty || !self.pods.contains_key(&ordinal) {
            return Ok(());
        }
        if let Some(raft) = &self.raft {
            return violation(format!("cluster {} exists and another one is founded on {disk_id}", raft.cluster_id));
        }
        let id = crate::id::founding_member(&self.desired.peer_url(ordinal), &self.desired.uid);
        volume.content = Content::Member(id);
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

    fn admit(&mut self, ordinal: u32, member_id: Id, disk_id: &str) -> Result<(), Violation> {
        let holds = self.configured(disk_id).is_some_and(|member| member.id == member_id);
        let was_added_for = self.raft.iter().flat_map(|raft| &raft.members).find(|member| member.id == member_id);
        if let Some(member) = was_added_for.filter(|member| member.disk_id != disk_id) {
            return violation(format!("{member_id} was added for {} and is admitted on {disk_id}", member.disk_id));
        }
        let here = self.volumes.get_mut(&ordinal).filter(|volume| volume.disk_id() == disk_id);
        if let Some(volume) = here.filter(|volume| holds && volume.content == Content::Empty) {
            volume.content = Content::Member(member_id);
        }
        Ok(())
    }

    fn set_aside(&mut self, ordinal: u32) {
        let uid = self.uid();
        if let Some(volume) = self.volumes.get_mut(&ordinal).filter(|volume| volume.content == Content::Tombstone) {
            // A new directory has a new disk id; in this world that is a new volume.
            *volume = Volume { uid, version: volume.version + 1, content: Content::Empty, ..volume.clone() };
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
                for volume in self.volumes.values_mut().filter(|volume| volume.content == Content::Member(*id)) {
                    volume.content = Content::Tombstone;
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
        Ok(())
    }

    /// A voter goes when nobody asked for its place any more, or when its disk is gone.
    fn check_removal(&self, id: Id) -> Result<(), Violation> {
        let Some(member) = self.raft.iter().flat_map(Configuration::voters).find(|member| member.id == id) else {
            return Ok(());
        };
        let ordinal = self.desired.ordinal(&member.name).expect("members of this world have our names");
        let disk_is_there = self.volumes.values().any(|volume| volume.disk_id() == member.disk_id);
        if disk_is_there && ordinal < self.replicas_min {
            return violation(format!("{} is removed although it has its disk and its place", member.name));
        }
        Ok(())
    }
}
