//! Founding: the pod of ordinal 0 first, then the latch, then `Found`, then the record that it worked (rule A).

use crate::desired::TEMPLATE_EPOCH;
use crate::id;
use crate::latch::{Disk, FORMAT, Latch, LatchedMember, Phase, Tuning};
use crate::observed::{LatchSeen, MemberPhase, MemberSeen, VolumeMark, VolumeSeen};

use super::facts::state;
use super::guard::{Guard, guard};
use super::{Action, Context, Step};

const FOUNDER: u32 = 0;

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    match &context.observed.latch {
        LatchSeen::Unusable { .. } => None,
        LatchSeen::Absent => Some(write_latch(context)),
        LatchSeen::Present { latch, resource_version } if latch.phase == Phase::Founding => {
            Some(found(context, latch, resource_version))
        }
        LatchSeen::Present { .. } => None,
    }
}

fn write_latch(context: Context<'_>) -> Step {
    let Context { desired, observed, .. } = context;
    // Before founding nothing is proven: a pod of an older template is replaced, so that a fixed spec takes effect.
    if let (Some(pod), Some(set)) = (observed.pods.get(&FOUNDER), &observed.statefulset) {
        let outdated = !set.update_revision.is_empty() && pod.revision != set.update_revision;
        if outdated && !pod.deleting {
            let action = Action::DeletePod { ordinal: FOUNDER, uid: pod.uid.clone() };
            return Step::act(action, "the first pod was made from an earlier template");
        }
    }
    let (disk_id, volume) = match awaiting(context) {
        Ok(found) => found,
        Err(step) => return *step,
    };
    let member_id = id::founding_member(&desired.peer_url(FOUNDER), &desired.uid);
    let latch = Latch {
        format: FORMAT,
        cluster_id: id::founding_cluster(member_id),
        owner_uid: desired.uid.clone(),
        adopted_from: None,
        phase: Phase::Founding,
        founder: Disk { member_id, disk_id, pvc_uid: volume.uid.clone() },
        members: Vec::new(),
        template_epoch: TEMPLATE_EPOCH,
        template: desired.template.clone(),
        operation: None,
        tuning: Tuning::of_founding(desired.timers, desired.limits),
    };
    Step::act(Action::CreateLatch(Box::new(latch)), "the first pod waits on an empty disk")
}

/// Disk id and volume of the first pod, once it waits on an empty disk.
fn awaiting<'a>(context: Context<'a>) -> Result<(String, &'a VolumeSeen), Box<Step>> {
    let observed = context.observed;
    let pod = context.desired.pod(FOUNDER);
    let Some(state) = state(observed, FOUNDER) else { return Err(Box::new(await_pod(context, FOUNDER))) };
    match state.phase {
        MemberPhase::AwaitingAdmission => {}
        MemberPhase::Refused => {
            return Err(Box::new(Step::stall("DirectoryRefused", format!("{pod}: {}", state.refusal))));
        }
        _ => return Err(Box::new(Step::wait("AwaitPod", format!("{pod} is starting")))),
    }
    match observed.volumes.get(&FOUNDER).filter(|volume| !volume.deleting) {
        Some(volume) => Ok((state.disk_id.clone(), volume)),
        None => Err(Box::new(Step::wait("AwaitVolume", format!("the volume claim of {pod} is not there")))),
    }
}

fn found(context: Context<'_>, latch: &Latch, resource_version: &str) -> Step {
    let Context { desired, observed, .. } = context;
    let founder = &latch.founder;
    let Some(state) = state(observed, FOUNDER) else { return await_pod(context, FOUNDER) };
    let volume = observed.volumes.get(&FOUNDER);
    match state.phase {
        MemberPhase::Running if state.cluster_id == Some(latch.cluster_id) => {
            let mut founded = latch.clone();
            founded.phase = Phase::Founded;
            founded.members = vec![LatchedMember { ordinal: FOUNDER, disk: founder.clone(), voter: true }];
            Step::act(
                Action::WriteLatch {
                    latch: Box::new(founded),
                    resource_version: resource_version.to_owned(),
                    what: "the cluster is founded",
                },
                "the first member runs",
            )
        }
        MemberPhase::AwaitingAdmission => {
            let same = state.disk_id == founder.disk_id && volume.is_some_and(|volume| volume.uid == founder.pvc_uid);
            if !guard(Guard::FoundSameDisk, same) {
                return Step::stall(
                    "FoundingDiskLost",
                    format!(
                        "the cluster may have been founded on a disk that {} no longer has, and is not founded twice: delete this QuorateCluster and create it again, or put the disk back",
                        desired.pod(FOUNDER)
                    ),
                );
            }
            if let Some(step) = found_anew(context, latch, resource_version) {
                return step;
            }
            if let Some(step) = mark(latch.cluster_id, FOUNDER, founder, volume) {
                return step;
            }
            let action =
                Action::Found { ordinal: FOUNDER, disk_id: state.disk_id.clone(), cluster_id: latch.cluster_id };
            Step::act(action, "the latch is written and the disk is the one it names")
        }
        MemberPhase::Refused => Step::stall("DirectoryRefused", format!("{}: {}", desired.pod(FOUNDER), state.refusal)),
        _ => Step::wait("AwaitPod", format!("{} is starting", desired.pod(FOUNDER))),
    }
}

/// A record that was adopted before its cluster was founded: the disk is still empty, and only a pod of the present owner runs on it,
/// so that the request of the earlier owner can no longer succeed. Ids are made of the owner; the server checks them.
fn found_anew(context: Context<'_>, latch: &Latch, resource_version: &str) -> Option<Step> {
    let member_id = id::founding_member(&context.desired.peer_url(FOUNDER), &context.desired.uid);
    if latch.founder.member_id == member_id {
        return None;
    }
    let mut latch = latch.clone();
    latch.founder.member_id = member_id;
    latch.cluster_id = id::founding_cluster(member_id);
    let action = Action::WriteLatch {
        latch: Box::new(latch),
        resource_version: resource_version.to_owned(),
        what: "the cluster will be founded for its new owner",
    };
    Some(Step::act(action, "the disk that was adopted is still empty"))
}

/// Marks the volume for a member before its disk becomes one; the changed version also fends off a deletion that
/// another operator planned before.
pub(super) fn mark(cluster_id: id::Id, ordinal: u32, disk: &Disk, volume: Option<&VolumeSeen>) -> Option<Step> {
    let volume = volume?;
    let wanted = VolumeMark { cluster_id, member_id: disk.member_id, disk_id: disk.disk_id.clone() };
    if volume.marked.as_ref() == Some(&wanted) {
        return None;
    }
    let action = Action::MarkVolume {
        ordinal,
        uid: volume.uid.clone(),
        resource_version: volume.resource_version.clone(),
        mark: wanted,
    };
    Some(Step::act(action, "the volume claim does not yet say whose it is"))
}

/// Waits for a pod, saying what keeps it.
pub(super) fn await_pod(context: Context<'_>, ordinal: u32) -> Step {
    let pod = context.desired.pod(ordinal);
    let message = match (context.observed.pods.get(&ordinal), context.observed.members.get(&ordinal)) {
        (None, _) => format!("{pod} does not exist yet"),
        (Some(seen), _) if !seen.trouble.is_empty() => format!("{pod}: {}", seen.trouble),
        (Some(_), Some(MemberSeen::Silent { reason })) => format!("{pod} does not answer: {reason}"),
        (Some(_), _) => format!("{pod} is starting"),
    };
    Step::wait("AwaitPod", message)
}
