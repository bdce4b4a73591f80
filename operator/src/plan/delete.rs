//! The `QuorateCluster` is deleted. Needs no quorum and only ever deletes: owner references take the rest with them.

use crate::crd::VolumePolicy;
use crate::latch::{Disk, Latch, Operation};
use crate::observed::{LatchSeen, Observed, VolumeSeen};

use super::{Action, Context, Step};

pub(super) fn next(context: Context<'_>) -> Step {
    let Context { desired, observed, .. } = context;
    if !observed.finalizer {
        return Step::Gone;
    }
    if let Some(set) = observed.statefulset.as_ref().filter(|set| set.ours && !set.deleting) {
        return Step::act(Action::DeleteStatefulSet { uid: set.uid.clone() }, "the QuorateCluster is deleted");
    }
    let latch = observed.latch.latch();
    // A record that is not ours, or that we cannot read, means disks that are not ours to judge.
    let foreign = match &observed.latch {
        LatchSeen::Unusable { .. } => true,
        LatchSeen::Absent => false,
        LatchSeen::Present { latch, .. } => latch.owner_uid != desired.uid,
    };
    if foreign {
        return Step::act(Action::RemoveFinalizer, "the disks belong to another cluster and stay");
    }
    if desired.storage.when_deleted == VolumePolicy::Retain && latch.is_some() {
        return Step::act(Action::RemoveFinalizer, "volumes, latch and certificate authorities are retained");
    }
    let volume = (desired.storage.when_deleted == VolumePolicy::Delete).then(|| delete_volume(observed, latch));
    if let Some(step) = volume.flatten() {
        return step;
    }
    if let LatchSeen::Present { resource_version, .. } = &observed.latch {
        let action = Action::DeleteLatch { resource_version: resource_version.clone() };
        return Step::act(action, "the volumes are deleted");
    }
    if let Some(authority) =
        observed.authorities.iter().find(|authority| authority.owner_uid.as_deref() == Some(desired.uid.as_str()))
    {
        let action = Action::DeleteAuthority { name: authority.name.clone(), uid: authority.uid.clone() };
        return Step::act(action, "no disk needs this certificate authority any more");
    }
    Step::act(Action::RemoveFinalizer, "nothing is left behind")
}

/// The next volume claim that is this cluster's by its mark or by the record, or that was never marked at all while
/// no cluster was founded.
fn delete_volume(observed: &Observed, latch: Option<&Latch>) -> Option<Step> {
    let ours = |volume: &VolumeSeen| match (latch, &volume.marked) {
        (Some(latch), Some(mark)) => mark.cluster_id == latch.cluster_id,
        (Some(latch), None) => recorded(latch).any(|uid| uid == volume.uid),
        (None, mark) => mark.is_none(),
    };
    let (claim, ordinal, volume) = observed.claims().find(|(_, _, volume)| !volume.deleting && ours(volume))?;
    let action = Action::DeleteVolume {
        claim,
        ordinal,
        uid: volume.uid.clone(),
        resource_version: volume.resource_version.clone(),
    };
    Some(Step::act(action, "storage.retention.whenDeleted is Delete"))
}

fn recorded(latch: &Latch) -> impl Iterator<Item = &str> {
    let operation = latch.operation.iter().filter_map(Operation::disk);
    latch
        .members
        .iter()
        .map(|member| &member.disk)
        .chain(operation)
        .chain([&latch.founder])
        .flat_map(Disk::claims)
        .map(|(_, uid)| uid)
}
