//! Founding: the pod of ordinal 0 first, then the latch, then `Found`, then the record that it worked (rule A).

use crate::claim::Claim;
use crate::desired::TEMPLATE_EPOCH;
use crate::id;
use crate::latch::{Disk, FORMAT, Latch, LatchedMember, Phase, Tuning};
use crate::observed::{LatchSeen, MemberPhase, MemberSeen, VolumeMark};

use super::facts::{has_its_claims, state};
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
    let member_id = id::founding_member(&desired.peer_url(FOUNDER), &desired.uid);
    let founder = match awaiting(context).and_then(|disk_id| disk(context, FOUNDER, member_id, disk_id)) {
        Ok(founder) => founder,
        Err(step) => return *step,
    };
    let latch = Latch {
        format: FORMAT,
        cluster_id: id::founding_cluster(member_id),
        owner_uid: desired.uid.clone(),
        adopted_from: None,
        phase: Phase::Founding,
        founder,
        members: Vec::new(),
        template_epoch: TEMPLATE_EPOCH,
        template: desired.template.clone(),
        operation: None,
        tuning: Tuning::of_founding(desired.timers, desired.limits),
    };
    Step::act(Action::CreateLatch(Box::new(latch)), "the first pod waits on an empty disk")
}

/// Disk id of the first pod, once it waits on an empty disk.
fn awaiting(context: Context<'_>) -> Result<String, Box<Step>> {
    let observed = context.observed;
    let pod = context.desired.pod(FOUNDER);
    let Some(state) = state(observed, FOUNDER) else { return Err(Box::new(await_pod(context, FOUNDER))) };
    match state.phase {
        MemberPhase::AwaitingAdmission => Ok(state.disk_id.clone()),
        MemberPhase::Refused => Err(Box::new(Step::stall("DirectoryRefused", format!("{pod}: {}", state.refusal)))),
        _ => Err(Box::new(Step::wait("AwaitPod", format!("{pod} is starting")))),
    }
}

/// The disk that a pod waits on, with the volume claims that it lies on; or the wait for these.
pub(super) fn disk(context: Context<'_>, ordinal: u32, member_id: id::Id, disk_id: String) -> Result<Disk, Box<Step>> {
    let Context { desired, observed, .. } = context;
    let uid = |claim| {
        let volume = observed.claim(claim, ordinal).filter(|volume| !volume.deleting);
        let wait = || {
            let name = desired.claim(claim, ordinal);
            Box::new(Step::wait("AwaitVolume", format!("the volume claim {name} is not there")))
        };
        volume.map(|volume| volume.uid.clone()).ok_or_else(wait)
    };
    let wal_pvc_uid = desired.storage.wal.is_some().then(|| uid(Claim::Wal)).transpose()?;
    Ok(Disk { member_id, disk_id, pvc_uid: uid(Claim::Data)?, wal_pvc_uid })
}

fn found(context: Context<'_>, latch: &Latch, resource_version: &str) -> Step {
    let Context { desired, observed, .. } = context;
    let founder = &latch.founder;
    let Some(state) = state(observed, FOUNDER) else { return await_pod(context, FOUNDER) };
    // A disk that is refused may have no id; whether it is another one its claims say.
    let same_id = state.phase == MemberPhase::Refused || state.disk_id == founder.disk_id;
    let same = same_id && has_its_claims(observed, FOUNDER, founder);
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
        MemberPhase::AwaitingAdmission | MemberPhase::AwaitingAdoption | MemberPhase::Refused
            if !guard(Guard::FoundSameDisk, same) =>
        {
            Step::stall(
                "FoundingDiskLost",
                format!(
                    "the cluster may have been founded on a disk that {} no longer has, and is not founded twice: delete this QuorateCluster and create it again, or put the disk back",
                    desired.pod(FOUNDER)
                ),
            )
        }
        MemberPhase::AwaitingAdmission => {
            if let Some(step) = found_anew(context, latch, resource_version) {
                return step;
            }
            if let Some(step) = mark(context, latch.cluster_id, FOUNDER, founder) {
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

/// Marks the volumes for a member before its disk becomes one; the changed version also fends off a deletion that
/// another operator planned before.
pub(super) fn mark(context: Context<'_>, cluster_id: id::Id, ordinal: u32, disk: &Disk) -> Option<Step> {
    let wanted = VolumeMark { cluster_id, member_id: disk.member_id, disk_id: disk.disk_id.clone() };
    let unmarked = |(claim, _)| {
        let volume = context.observed.claim(claim, ordinal)?;
        (volume.marked.as_ref() != Some(&wanted)).then_some((claim, volume))
    };
    let (claim, volume) = disk.claims().find_map(unmarked)?;
    let action = Action::MarkVolume {
        claim,
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
