//! What an operator sees of the small world.

use crate::claim::Claim;
use crate::observed::{
    AuthoritySeen, ConfiguredMember, LatchSeen, MemberPhase, MemberSeen, MemberState, Observed, PodSeen, Progress,
    StatefulSetSeen, VolumeMark, VolumeSeen,
};
use crate::plan::{budget, fixture, statefulset_replicas};
use crate::render::{Child, Drift};
use crate::tls;

use super::environment::uid;
use super::{ClaimObject, Content, Owner, World};

impl World {
    /// What an operator sees; one member may not answer it.
    pub fn observe(&self, silent: Option<u32>) -> Observed {
        let mut observed = fixture::nothing();
        observed.finalizer = self.finalizer;
        observed.status_cluster_id = self.status;
        if let Some((latch, version)) = &self.latch {
            observed.latch =
                LatchSeen::Present { latch: Box::new(latch.clone()), resource_version: version.to_string() };
        }
        observed.statefulset = self.set.map(|set| StatefulSetSeen {
            uid: format!("set-{}", set.owner),
            resource_version: set.version.to_string(),
            replicas: set.replicas,
            claim_size: None,
            ours: set.owner == self.owner,
            deleting: false,
            update_revision: "r1".to_owned(),
        });
        for (ordinal, pod) in &self.pods {
            observed
                .pods
                .insert(*ordinal, PodSeen { uid: pod.uid.to_string(), serving: pod.serving, ..fixture::pod(*ordinal) });
            let seen = if silent == Some(*ordinal) {
                MemberSeen::Silent { reason: "cut off".to_owned() }
            } else {
                fixture::answered(MemberState { draining: pod.draining, ..self.state(*ordinal, pod.owner) })
            };
            observed.members.insert(*ordinal, seen);
        }
        for (claim, ordinal, object) in self.claims() {
            let volumes = match claim {
                Claim::Data => &mut observed.volumes,
                Claim::Wal => &mut observed.wal_volumes,
            };
            volumes.insert(ordinal, seen_volume(object));
        }
        let voters = self.voters();
        observed.configuration = self.raft.clone().filter(|_| self.has_quorum(&voters));
        observed.drift = self.drift(&observed);
        observed.authorities = self.authorities();
        observed
    }

    fn authorities(&self) -> Vec<AuthoritySeen> {
        let of_child = |(child, owner): (&Child, &Owner)| match child {
            Child::Secret(kind) if kind.is_retained() => Some(AuthoritySeen {
                name: kind.name(&self.desired),
                uid: format!("secret-{owner}"),
                resource_version: "1".to_owned(),
                owner_uid: Some(uid(*owner)),
            }),
            _ => None,
        };
        self.children.iter().filter_map(of_child).collect()
    }

    fn drift(&self, observed: &Observed) -> Vec<Drift> {
        let adopted_from = self.latch.as_ref().filter(|(latch, _)| latch.owner_uid == self.desired.uid);
        let adopted_from = adopted_from.and_then(|(latch, _)| latch.adopted_from.clone());
        let judge = |child: Child, owner: Option<Owner>, as_wanted: bool| {
            let others = owner.is_some_and(|owner| owner != self.owner);
            let is_adopted = matches!(&child, Child::Secret(_)) && owner.map(uid) == adopted_from;
            let conflict = (others && !is_adopted).then(|| "it is another's".to_owned());
            (others || !as_wanted).then(|| Drift { child, reason: "differs".to_owned(), conflict })
        };
        let secrets = tls::needed(&self.desired).into_iter().map(Child::Secret);
        let plain = secrets.chain([Child::PeersService, Child::ClientService]);
        let mut all: Vec<Drift> = plain
            .filter_map(|child| {
                let owner = self.children.get(&child).copied();
                judge(child, owner, owner.is_some())
            })
            .collect();
        let available = budget(&self.desired, observed);
        let as_wanted = self.budget.map(|(available, _)| available) == available;
        all.extend(judge(Child::Budget, self.budget.map(|(_, owner)| owner), as_wanted));
        let as_wanted = self.set.map(|set| set.replicas) == Some(statefulset_replicas(&self.desired, observed));
        all.extend(judge(Child::StatefulSet, self.set.map(|set| set.owner), as_wanted));
        all
    }

    fn state(&self, ordinal: u32, pod_owner: Owner) -> MemberState {
        let awaiting = |disk_id: &str| match fixture::awaiting(&self.desired, ordinal, disk_id) {
            MemberSeen::Answered(state) => *state,
            MemberSeen::Silent { .. } => unreachable!("the fixture answers"),
        };
        let Some(volume) = self.volumes.get(&ordinal) else { return awaiting("none") };
        let mut waiting = awaiting(&volume.disk_id());
        let (id, owner) = match volume.content {
            Content::Empty if self.has_a_foreign_log(ordinal) => {
                // It does not even have a disk id.
                return MemberState { phase: MemberPhase::Refused, disk_id: String::new(), ..waiting };
            }
            Content::Empty => return waiting,
            Content::Tombstone(owner) | Content::SetAside(owner) => {
                return MemberState { phase: MemberPhase::Removed, owner_uid: uid(owner), ..waiting };
            }
            Content::Member(id, owner) => (id, owner),
        };
        let raft = self.raft.as_ref();
        let cluster_id = raft.map(|raft| raft.cluster_id);
        if owner != pod_owner {
            (waiting.phase, waiting.cluster_id) = (MemberPhase::AwaitingAdoption, cluster_id);
            return MemberState { member_id: Some(id), owner_uid: uid(owner), ..waiting };
        }
        if !self.has_its_log(ordinal, volume) {
            (waiting.phase, waiting.cluster_id) = (MemberPhase::Refused, cluster_id);
            return MemberState { member_id: Some(id), owner_uid: uid(owner), ..waiting };
        }
        let progress = |member: &ConfiguredMember| Progress {
            member_id: member.id,
            match_index: 100,
            recently_active: true,
            round_trip_microseconds: 0,
        };
        MemberState {
            cluster_id,
            member_id: Some(id),
            disk_id: volume.disk_id(),
            leader_id: self.leader,
            configuration: self.raft.clone(),
            progress: raft.iter().flat_map(|raft| raft.members.iter().map(progress)).collect(),
            timers: volume.timers.1,
            timers_generation: volume.timers.0.unwrap_or(0),
            limits: volume.limits.1,
            ..fixture::state(&self.desired, ordinal, 1)
        }
    }
}

fn seen_volume(claim: &ClaimObject) -> VolumeSeen {
    VolumeSeen {
        uid: claim.uid.to_string(),
        resource_version: claim.version.to_string(),
        deleting: claim.deleting,
        lost: false,
        request: "1Gi".to_owned(),
        capacity: None,
        marked: claim.mark.as_ref().map(|(cluster_id, member_id, disk_id)| VolumeMark {
            cluster_id: *cluster_id,
            member_id: *member_id,
            disk_id: disk_id.clone(),
        }),
    }
}
