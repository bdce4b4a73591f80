//! What happens without the operator: Kubernetes' own steps, faults, and what a user does.

use crate::claim::Claim;
use crate::crd::VolumePolicy;
use crate::desired::Timers;

use super::{ClaimObject, Content, Log, Owner, Pod, Volume, World};

/// Twice what profile LowLatency has, so that the order of pushes matters.
const SLOW: Timers = Timers { heartbeat_milliseconds: 500, election_milliseconds: 5_000 };

impl World {
    /// Steps that Kubernetes could take next, one ordinal at a time.
    pub fn environment(&self) -> Vec<World> {
        let mut next = Vec::new();
        next.extend(self.without_orphans());
        if let Some(set) = self.set.filter(|set| self.is_owned(set.owner)) {
            let absent = (0..set.replicas).filter(|ordinal| !self.pods.contains_key(ordinal));
            next.extend(absent.filter_map(|ordinal| self.with_pod(ordinal, set.owner)));
        }
        for (ordinal, pod) in &self.pods {
            let kept = self.set.is_some_and(|set| set.owner == pod.owner && *ordinal < set.replicas);
            if !kept {
                next.push(self.without_pod(*ordinal));
            }
        }
        let deleted = self.claims().filter(|(_, ordinal, claim)| claim.deleting && !self.pods.contains_key(ordinal));
        next.extend(deleted.map(|(claim, ordinal, _)| self.without_volume(claim, ordinal)));
        next
    }

    fn is_owned(&self, owner: Owner) -> bool {
        self.exists && self.owner == owner
    }

    /// The garbage collector takes what belongs to an object that is gone; authorities have no owner reference.
    fn without_orphans(&self) -> Option<World> {
        use crate::render::Child;
        let mut world = self.clone();
        world
            .children
            .retain(|child, owner| self.is_owned(*owner) || matches!(child, Child::Secret(kind) if kind.is_retained()));
        world.set = self.set.filter(|set| self.is_owned(set.owner));
        world.budget = self.budget.filter(|(_, owner)| self.is_owned(*owner));
        let changed = (world.children.len(), world.set, world.budget) != (self.children.len(), self.set, self.budget);
        changed.then_some(world)
    }

    fn with_pod(&self, ordinal: u32, owner: Owner) -> Option<World> {
        if self.claims().any(|(_, of, claim)| of == ordinal && claim.deleting) {
            return None;
        }
        let mut world = self.clone();
        let uid = world.uid();
        world.pods.insert(ordinal, Pod { uid, owner, serving: true, draining: false });
        let template = self.latch.as_ref().map_or(&self.desired.template, |(latch, _)| &latch.template);
        // Flags seed an empty directory only.
        let (timers, limits) = ((None, template.timers), (None, template.limits));
        let fresh = Volume { claim: ClaimObject::new(uid), content: Content::Empty, timers, limits };
        let volume = world.volumes.entry(ordinal).or_insert(fresh);
        let is_aside = matches!(volume.content, Content::SetAside(_));
        if is_aside {
            volume.claim.uid = uid;
            *volume = Volume { claim: volume.claim.clone(), content: Content::Empty, timers, limits };
        }
        if self.desired.storage.wal.is_some() {
            let log = world.logs.entry(ordinal).or_insert(Log { claim: ClaimObject::new(uid), of: None });
            log.of = log.of.take().filter(|_| !is_aside);
        }
        world.elect();
        Some(world)
    }

    /// The pod is gone; its volume stays.
    pub fn without_pod(&self, ordinal: u32) -> World {
        let mut world = self.clone();
        world.pods.remove(&ordinal);
        world.elect();
        world
    }

    /// Pod and one of its volumes are gone for good.
    pub fn without_disk(&self, claim: Claim, ordinal: u32) -> World {
        self.without_pod(ordinal).without_volume(claim, ordinal)
    }

    fn without_volume(&self, claim: Claim, ordinal: u32) -> World {
        let mut world = self.clone();
        match claim {
            Claim::Data => drop(world.volumes.remove(&ordinal)),
            Claim::Wal => drop(world.logs.remove(&ordinal)),
        }
        world
    }

    /// All volume claims, with whose they are.
    pub fn claims(&self) -> impl Iterator<Item = (Claim, u32, &ClaimObject)> {
        let data = self.volumes.iter().map(|(ordinal, volume)| (Claim::Data, *ordinal, &volume.claim));
        data.chain(self.logs.iter().map(|(ordinal, log)| (Claim::Wal, *ordinal, &log.claim)))
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

    /// The object asks for other timers and limits.
    pub fn retuned(&self) -> World {
        let mut world = self.clone();
        let first = crate::plan::fixture::desired(1);
        let is_first = self.desired.timers == first.timers;
        world.desired.timers = if is_first { SLOW } else { first.timers };
        world.desired.limits.txn_ops_max =
            if is_first { first.limits.txn_ops_max * 2 } else { first.limits.txn_ops_max };
        (world.desired.template.timers, world.desired.template.limits) = (world.desired.timers, world.desired.limits);
        world
    }

    /// The user deletes the object; without a finalizer it is gone at once.
    pub fn deleted(&self) -> World {
        let mut world = self.clone();
        world.desired.deleting = true;
        world.exists = self.finalizer;
        world
    }

    /// The user creates it again, and lets it take over what is retained, or not.
    pub fn created_again(&self, adopts: bool) -> World {
        let mut world = self.clone();
        world.owner += 1;
        world.exists = true;
        (world.finalizer, world.status) = (false, None);
        let cluster = self.latch.as_ref().map(|(latch, _)| latch.cluster_id);
        let desired = &mut world.desired;
        (desired.deleting, desired.uid, desired.adopt) = (false, uid(world.owner), cluster.filter(|_| adopts));
        desired.storage.when_deleted = VolumePolicy::Retain;
        world
    }
}

/// UID of an object.
pub fn uid(owner: Owner) -> String {
    format!("uid-{owner}")
}
