//! What an action does to Kubernetes in the small world, and whether it breaks what must never break.

use crate::claim::Claim;
use crate::crd::VolumePolicy;
use crate::plan::Action;
use crate::render::Child;

use super::environment::uid;
use super::{ClaimObject, Owner, Planned, Set, Violation, Volume, World, violation};

/// Far more than an exploration writes of one latch.
const VERSIONS_MAX: u32 = 1_000;

impl World {
    /// Every round writes the status before it acts.
    pub fn with_status(&self) -> World {
        World { status: self.latch.as_ref().map(|(latch, _)| latch.cluster_id).or(self.status), ..self.clone() }
    }

    /// Performs an action as Kubernetes and the members would, or says what it broke.
    pub fn act(&self, planned: &Planned) -> Result<World, Violation> {
        let mut world = if planned.owner == self.owner { self.with_status() } else { self.clone() };
        self.check_consent(planned)?;
        match &planned.action {
            Action::AddFinalizer => world.finalizer |= self.is_that(planned.owner) && !self.desired.deleting,
            Action::RemoveFinalizer if self.is_that(planned.owner) => {
                world.finalizer = false;
                world.exists = !self.desired.deleting;
            }
            Action::RemoveFinalizer => {}
            Action::Apply(Child::StatefulSet) => world.apply_set(planned)?,
            Action::Apply(Child::Budget) => {
                if self.budget.is_none_or(|(_, owner)| owner == planned.owner) {
                    world.budget = planned.budget.map(|available| (available, planned.owner));
                }
            }
            Action::Apply(child) => world.apply_child(child, planned.owner),
            Action::CreateLatch(latch) => {
                // The API server never gives a version twice, and no object creates its latch twice.
                let version = planned.owner * VERSIONS_MAX;
                world.latch.get_or_insert_with(|| ((**latch).clone(), version));
            }
            Action::WriteLatch { latch, resource_version, .. } => {
                if let Some(version) = self.latch_version(resource_version) {
                    world.latch = Some(((**latch).clone(), version + 1));
                }
            }
            Action::DeleteLatch { resource_version } => {
                if self.latch_version(resource_version).is_some() {
                    self.check_deletion(planned, "the latch")?;
                    // The volumes went before: with their record the cluster is over.
                    (world.latch, world.raft, world.leader) = (None, None, None);
                }
            }
            Action::DeleteAuthority { name, uid } => world.delete_authority(planned, name, uid)?,
            Action::DeleteStatefulSet { uid } => {
                if self.set.is_some_and(|set| format!("set-{}", set.owner) == *uid) {
                    world.set = None;
                }
            }
            Action::MarkVolume { claim, ordinal, uid, resource_version, mark } => {
                if let Some(claim) = world.matching_claim(*claim, *ordinal, uid, resource_version) {
                    claim.mark = Some((mark.cluster_id, mark.member_id, mark.disk_id.clone()));
                    claim.version += 1;
                }
            }
            Action::DeleteVolume { claim, ordinal, uid, resource_version } => {
                world.delete_volume(planned, *claim, *ordinal, uid, resource_version)?;
            }
            Action::SetServing { uid, serving, .. } => {
                world
                    .pods
                    .values_mut()
                    .filter(|pod| pod.uid.to_string() == *uid)
                    .for_each(|pod| pod.serving = *serving);
            }
            Action::DeletePod { ordinal, uid } => world.delete_pod(*ordinal, uid)?,
            _ => world.call(planned)?,
        }
        world.elect();
        Ok(world)
    }

    /// Acts of two requests, after the first of them.
    pub fn half(&self, planned: &Planned) -> Option<World> {
        let Action::SetAside { ordinal, owner_uid } = &planned.action else { return None };
        let mut world = self.with_status();
        world.set_aside(*ordinal, owner_uid);
        Some(world)
    }

    fn is_that(&self, owner: Owner) -> bool {
        self.exists && self.owner == owner
    }

    fn latch_version(&self, resource_version: &str) -> Option<u32> {
        self.latch.as_ref().map(|(_, version)| *version).filter(|version| version.to_string() == resource_version)
    }

    /// What is retained of an earlier object is not touched before the record says that it was handed over.
    fn check_consent(&self, planned: &Planned) -> Result<(), Violation> {
        let Some((latch, _)) = &self.latch else { return Ok(()) };
        let touches = match &planned.action {
            Action::WriteLatch { latch: next, .. } => next.owner_uid != latch.owner_uid && self.desired.adopt.is_none(),
            Action::AddFinalizer
            | Action::RemoveFinalizer
            | Action::Apply(_)
            | Action::CreateLatch(_)
            | Action::DeleteStatefulSet { .. } => false,
            _ => true,
        };
        if touches && planned.owner == self.owner && latch.owner_uid != uid(self.owner) {
            return violation(format!("{} of what belongs to {}", planned.action.name(), latch.owner_uid));
        }
        Ok(())
    }

    /// Only the deletion of the very object whose policy says so may end a cluster.
    fn check_deletion(&self, planned: &Planned, what: &str) -> Result<(), Violation> {
        let asked = self.is_that(planned.owner)
            && self.desired.deleting
            && self.desired.storage.when_deleted == VolumePolicy::Delete;
        // Before anything was founded there is nothing to lose.
        if asked || self.raft.is_none() {
            return Ok(());
        }
        violation(format!("{what} is deleted and nobody asked for that"))
    }

    fn apply_child(&mut self, child: &Child, owner: Owner) {
        let live = self.children.get(child).copied();
        // A second controller is refused; what has no owner reference is taken over.
        let is_retained = matches!(child, Child::Secret(kind) if kind.is_retained());
        if live.is_none_or(|live| live == owner) || is_retained {
            self.children.insert(child.clone(), owner);
        }
    }

    fn delete_authority(&mut self, planned: &Planned, name: &str, uid: &str) -> Result<(), Violation> {
        let found = self.children.iter().find(|(child, owner)| {
            let named = matches!(child, Child::Secret(kind) if kind.name(&self.desired) == name);
            named && format!("secret-{owner}") == uid
        });
        if let Some(child) = found.map(|(child, _)| child.clone()) {
            if !self.volumes.is_empty() && self.latch.is_some() {
                self.check_deletion(planned, "an authority")?;
            }
            self.children.remove(&child);
        }
        Ok(())
    }

    fn apply_set(&mut self, planned: &Planned) -> Result<(), Violation> {
        // Create and update both carry what they were planned on.
        if self.set != planned.set {
            return Ok(());
        }
        let members = self.raft.iter().flat_map(|raft| &raft.members);
        let cut = members
            .filter_map(|member| self.desired.ordinal(&member.name))
            .find(|ordinal| *ordinal >= planned.replicas);
        if let Some(ordinal) = cut.filter(|_| self.set.is_some()) {
            return violation(format!("the StatefulSet is cut to {} below member {ordinal}", planned.replicas));
        }
        let version = self.set.map_or(1, |set| set.version + 1);
        self.set = Some(Set { replicas: planned.replicas, version, owner: planned.owner });
        Ok(())
    }

    fn matching_claim(&mut self, claim: Claim, ordinal: u32, uid: &str, version: &str) -> Option<&mut ClaimObject> {
        let object = match claim {
            Claim::Data => self.volumes.get_mut(&ordinal).map(|volume| &mut volume.claim),
            Claim::Wal => self.logs.get_mut(&ordinal).map(|log| &mut log.claim),
        };
        object.filter(|object| object.uid.to_string() == uid && object.version.to_string() == version)
    }

    fn delete_volume(
        &mut self,
        planned: &Planned,
        claim: Claim,
        ordinal: u32,
        uid: &str,
        version: &str,
    ) -> Result<(), Violation> {
        let Some(object) = self.matching_claim(claim, ordinal, uid, version) else { return Ok(()) };
        object.deleting = true;
        object.version += 1;
        let disk_id = match claim {
            Claim::Data => self.volumes.get(&ordinal).map(Volume::disk_id),
            Claim::Wal => self.logs.get(&ordinal).and_then(|log| log.of.clone()),
        };
        match disk_id.and_then(|disk_id| self.configured(&disk_id)) {
            Some(member) => self.check_deletion(planned, &format!("a volume of member {}", member.id)),
            None => Ok(()),
        }
    }

    fn delete_pod(&mut self, ordinal: u32, uid: &str) -> Result<(), Violation> {
        if self.pods.get(&ordinal).is_some_and(|pod| pod.uid.to_string() == uid) {
            let (had, voters) = (self.has_quorum(&self.voters()), self.voters());
            self.pods.remove(&ordinal);
            if had && !voters.is_empty() && !self.has_quorum(&voters) {
                return violation(format!("deleting pod {ordinal} takes the quorum away"));
            }
        }
        Ok(())
    }
}
