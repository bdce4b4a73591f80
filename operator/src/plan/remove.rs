//! A member leaves: leadership off it, out of the configuration, and only when that is seen linearizably is its volume
//! dealt with (invariants 3 and 5).

use jiff::SignedDuration;

use crate::claim::Claim;
use crate::crd::VolumePolicy;
use crate::latch::{Disk, Latch, RemovalReason, Work};
use crate::observed::{Configuration, LatchSeen, MemberPhase, VolumeSeen};

use super::guard::{self, Guard, Votes, guard};
use super::operation;
use super::{Action, Context, MembershipChange, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let LatchSeen::Present { latch, resource_version } = &context.observed.latch else { return None };
    let configuration = context.observed.configuration.as_ref()?;
    let operation = latch.operation.as_ref()?;
    let ordinal = operation.ordinal;
    match &operation.work {
        Work::Join { .. } => None,
        Work::Remove { disk, reason } => Some(remove(context, configuration, ordinal, disk, *reason)),
        Work::Retire { disk, reason } => {
            Some(retire(context, latch, resource_version, configuration, ordinal, disk, *reason))
        }
    }
}

/// Clients that watch, or that know no other member, keep their connections for as long as they may: they see them end.
const DRAIN_MAX: SignedDuration = SignedDuration::from_secs(10);

/// `record` has turned the operation into Retire if the member is already out.
fn remove(
    context: Context<'_>,
    configuration: &Configuration,
    ordinal: u32,
    disk: &Disk,
    reason: RemovalReason,
) -> Step {
    let Context { desired, facts, .. } = context;
    let pod = desired.pod(ordinal);
    if facts.voters.get(&ordinal) == Some(&disk.member_id) {
        if reason == RemovalReason::ScaleIn && ordinal < desired.replicas {
            // Before the removal nothing has happened yet (invariant 11).
            return cancel(context, "the spec was reverted");
        }
        if reason == RemovalReason::ScaleIn && facts.replaceable().is_some_and(|(other, _)| other != ordinal) {
            return cancel(context, "a member that stays has to be replaced first");
        }
        let is_healthy = facts.healthy.contains(&ordinal);
        let before = Votes { voters: facts.voters.len(), healthy: facts.healthy.len() };
        let after = Votes { voters: before.voters - 1, healthy: before.healthy - usize::from(is_healthy) };
        let refusal = guard::votes(before, after).err().filter(|_| !guard(Guard::Votes, false));
        if let Some(refusal) = refusal {
            return Step::stall("MembershipGuard", format!("{pod} is not removed: {refusal}"));
        }
        if let Some(step) = drain(context, ordinal, disk) {
            return step;
        }
        if facts.leader == Some(disk.member_id) {
            let Some(successor) = facts.healthy.iter().find(|other| **other != ordinal) else {
                return Step::stall("MembershipGuard", format!("{pod} leads and no other healthy voter could"));
            };
            return Step::act(
                Action::HandOver { to: facts.voters[successor] },
                format!("{pod} leads and has to leave"),
            );
        }
    }
    let change = MembershipChange::Remove(disk.member_id);
    let why = match reason {
        RemovalReason::ScaleIn => "the spec asks for fewer members",
        RemovalReason::DiskLost => "its disk is gone",
        RemovalReason::Corrupt => "it raised the alarm CORRUPT",
    };
    Step::act(Action::ChangeMembership { expected_index: configuration.index, change }, why)
}

/// A request that a member has taken when it is removed cannot be answered: clients go before, those that have somewhere to go.
fn drain(context: Context<'_>, ordinal: u32, disk: &Disk) -> Option<Step> {
    let state = super::facts::state(context.observed, ordinal)?;
    if state.phase != MemberPhase::Running || state.member_id != Some(disk.member_id) {
        return None;
    }
    let leaving = "its member is about to leave the cluster";
    if let Some(pod) = context.observed.pods.get(&ordinal).filter(|pod| pod.serving && !pod.deleting) {
        let action = Action::SetServing { pod: context.desired.pod(ordinal), uid: pod.uid.clone(), serving: false };
        return Some(Step::act(action, leaving));
    }
    if !state.draining {
        return Some(Step::act(Action::Drain { ordinal, draining: true }, leaving));
    }
    let operation = context.observed.latch.latch()?.operation.as_ref()?;
    let waited = context.now.duration_since(operation.started_at);
    let waits = state.client_connections > 0 && (SignedDuration::ZERO..DRAIN_MAX).contains(&waited);
    let pod = context.desired.pod(ordinal);
    waits.then(|| {
        Step::wait("AwaitDrain", format!("{} connections of clients to {pod} are open", state.client_connections))
    })
}

fn cancel(context: Context<'_>, why: &'static str) -> Step {
    let LatchSeen::Present { latch, resource_version } = &context.observed.latch else { return Step::Steady };
    Step::act(operation::write(latch, resource_version, None, "the removal is called off"), why)
}

fn retire(
    context: Context<'_>,
    latch: &Latch,
    resource_version: &str,
    configuration: &Configuration,
    ordinal: u32,
    disk: &Disk,
    reason: RemovalReason,
) -> Step {
    let observed = context.observed;
    let pod = observed.pods.get(&ordinal);
    let deletes = reason != RemovalReason::ScaleIn || context.desired.storage.when_scaled == VolumePolicy::Delete;
    let gone = configuration.members.iter().all(|member| member.id != disk.member_id);
    let left = disk.claims().filter_map(|(claim, uid)| {
        let volume = observed.claim(claim, ordinal)?;
        (deletes && volume.uid == uid).then_some((claim, volume))
    });
    let left: Vec<(Claim, &VolumeSeen)> = left.collect();
    if !left.is_empty() {
        // Invariant: the volumes of a current member are never deleted.
        if !guard(Guard::MemberGone, gone) {
            return Step::stall("MembershipGuard", format!("member {} is still in the configuration", disk.member_id));
        }
        if let Some((claim, volume)) = left.into_iter().find(|(_, volume)| !volume.deleting) {
            let (uid, resource_version) = (volume.uid.clone(), volume.resource_version.clone());
            let action = Action::DeleteVolume { claim, ordinal, uid, resource_version };
            return Step::act(action, "its member left the cluster");
        }
        return match pod {
            Some(pod) if !pod.deleting => {
                let action = Action::DeletePod { ordinal, uid: pod.uid.clone() };
                Step::act(action, "its volume claim goes")
            }
            _ => {
                Step::wait("AwaitVolume", format!("the volume claim of {} is going away", context.desired.pod(ordinal)))
            }
        };
    }
    // A pod below the size of the StatefulSet does not go away; it waits on an empty disk.
    let goes = ordinal >= super::statefulset_replicas(context.desired, observed);
    if pod.is_some() && goes {
        return Step::wait("AwaitPod", format!("{} is going away", context.desired.pod(ordinal)));
    }
    let action = operation::write(latch, resource_version, None, "the operation is done");
    Step::act(action, "member, pod and volume are dealt with")
}
