//! Whose disks are these? Nothing is touched while that is open (rules A, B and I).

use crate::claim::Claim;
use crate::latch::Latch;
use crate::observed::{LatchSeen, MemberPhase, MemberState, Observed, VolumeSeen};

use super::facts::{answered, has_its_claims};
use super::guard::{Guard, guard};
use super::{Action, Context, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    match &context.observed.latch {
        LatchSeen::Unusable { reason } => Some(Step::stall("LatchUnusable", reason.clone())),
        LatchSeen::Absent => without_latch(context),
        LatchSeen::Present { latch, resource_version } => another_owner(context, latch, resource_version)
            .or_else(|| other_volumes(context, latch))
            .or_else(|| copied_disk(context, latch))
            .or_else(|| foreign_member(context, latch)),
    }
}

/// Invariant 1: any trace of a cluster forbids founding one.
fn without_latch(context: Context<'_>) -> Option<Step> {
    let trace = trace_of_a_cluster(context.observed)?;
    if guard(Guard::FoundOnce, false) {
        return None;
    }
    let trace = match trace {
        Trace::Cluster(trace) => trace,
        Trace::Refused { ordinal, refusal } => {
            return Some(Step::stall("DirectoryRefused", format!("{}: {refusal}", context.desired.pod(ordinal))));
        }
    };
    Some(Step::stall(
        "LatchMissing",
        format!(
            "there is no ConfigMap {}, but {trace}: a cluster exists and none is founded over it; restore the ConfigMap, or delete this QuorateCluster and the volume claims to begin anew without their data",
            context.desired.latch_name()
        ),
    ))
}

/// What forbids founding.
enum Trace<'a> {
    /// A cluster, or what is left of one; says where it shows.
    Cluster(String),
    /// A disk that is not empty and that its server refuses: nobody knows whose it is.
    Refused { ordinal: u32, refusal: &'a str },
}

fn trace_of_a_cluster(observed: &Observed) -> Option<Trace<'_>> {
    let marked = observed.claims().find_map(|(_, ordinal, volume)| {
        volume
            .marked
            .as_ref()
            .map(|mark| format!("the volume claim of ordinal {ordinal} belongs to cluster {}", mark.cluster_id))
    });
    let shown = observed.status_cluster_id.map(|id| format!("the status names cluster {id}"));
    marked.or(shown).map(Trace::Cluster).or_else(|| {
        answered(observed).find_map(|(ordinal, state)| match state.phase {
            MemberPhase::AwaitingAdmission | MemberPhase::Starting => None,
            MemberPhase::Refused => Some(Trace::Refused { ordinal, refusal: &state.refusal }),
            _ => Some(Trace::Cluster(format!("ordinal {ordinal} runs on a disk that is not empty"))),
        })
    })
}

fn another_owner(context: Context<'_>, latch: &Latch, resource_version: &str) -> Option<Step> {
    let desired = context.desired;
    if latch.owner_uid == desired.uid {
        return None;
    }
    let cluster = latch.cluster_id;
    if desired.adopt != Some(cluster) {
        return Some(Step::stall(
            "DisksOfAnotherCluster",
            format!(
                "disks of cluster {cluster} are retained from an earlier QuorateCluster of this name: to take them over set the annotation quorate.io/adopt: \"{cluster}\"; to begin anew delete the ConfigMap {} and the volume claims",
                desired.latch_name()
            ),
        ));
    }
    // While the record is still that of the object before, another object can take over its certificate authorities.
    if let Some(step) = other_volumes(context, latch) {
        return Some(step);
    }
    if context.observed.statefulset.as_ref().is_some_and(|seen| !seen.ours) {
        return Some(Step::wait(
            "AwaitPredecessor",
            "the StatefulSet of the earlier QuorateCluster is still going away",
        ));
    }
    let mut adopted = latch.clone();
    adopted.adopted_from = Some(std::mem::replace(&mut adopted.owner_uid, desired.uid.clone()));
    Some(Step::act(
        Action::WriteLatch {
            latch: Box::new(adopted),
            resource_version: resource_version.to_owned(),
            what: "the disks are adopted",
        },
        "the annotation quorate.io/adopt names the retained cluster",
    ))
}

/// An object created anew over disks whose logs lie elsewhere than its spec says: members would find no log, and refuse their disks.
fn other_volumes(context: Context<'_>, latch: &Latch) -> Option<Step> {
    let (has, remedy) = match (latch.founder.wal_pvc_uid.is_some(), context.desired.storage.wal.is_some()) {
        (true, false) => ("their log on volumes of its own", "with spec.storage.walStorage"),
        (false, true) => ("their log on the volume of the data", "without spec.storage.walStorage"),
        _ => return None,
    };
    Some(Step::stall(
        "WalStorageDiffers",
        format!(
            "the members of cluster {} have {has}, and that cannot be changed: delete this QuorateCluster (storage.retention.whenDeleted: Retain) and create it {remedy}",
            latch.cluster_id
        ),
    ))
}

/// A disk that was admitted, on another claim than it was admitted on: a copy, which may be older than what the member has acknowledged
/// and voted for. Nobody can tell, so it is never counted on.
fn copied_disk(context: Context<'_>, latch: &Latch) -> Option<Step> {
    answered(context.observed).find_map(|(ordinal, state)| {
        let (claim, volume, admitted) = copied_claim(context, latch, ordinal, state)?;
        let (pod, claim) = (context.desired.pod(ordinal), context.desired.claim(claim, ordinal));
        Some(Step::stall(
            "CopiedDisk",
            format!(
                "{pod} runs on a copy of its disk: the volume claim {claim} has UID {}, and the member was admitted on {admitted}; it may lack what it has acknowledged since. Put the right claim back, or delete the claim and the pod: the member is then replaced from the others",
                volume.uid
            ),
        ))
    })
}

/// Whether a member answers from a disk that was admitted, on another claim than it was admitted on.
pub(super) fn is_copy(context: Context<'_>, latch: &Latch, ordinal: u32, state: &MemberState) -> bool {
    copied_claim(context, latch, ordinal, state).is_some()
}

/// The claim that is a copy, and the UID of the one that the member was admitted on. Of a log only what runs is called a copy: a log
/// that is missing is refused by the server, and is a disk that is lost.
fn copied_claim<'a>(
    context: Context<'a>,
    latch: &'a Latch,
    ordinal: u32,
    state: &MemberState,
) -> Option<(Claim, &'a VolumeSeen, &'a str)> {
    let disk = &latch.member(ordinal)?.disk;
    let is_read = |claim| claim == Claim::Data || state.phase == MemberPhase::Running;
    let mut claims = disk.claims().filter(|(claim, _)| state.disk_id == disk.disk_id && is_read(*claim));
    claims.find_map(|(claim, uid)| {
        let volume = context.observed.claim(claim, ordinal).filter(|volume| volume.uid != uid)?;
        Some((claim, volume, uid))
    })
}

/// A member of another cluster, or one that nobody added, is never worked around.
fn foreign_member(context: Context<'_>, latch: &Latch) -> Option<Step> {
    for (ordinal, state) in answered(context.observed) {
        // The founder's disk may be a member's before the record says so.
        let founder = Some(&latch.founder).filter(|founder| founder.disk_id == state.disk_id);
        let recorded = latch.member(ordinal).map(|member| &member.disk).or(founder);
        // A log on another claim may be a copy, and nobody reads it before the adoption: the disk is lost.
        let is_whole = |disk| has_its_claims(context.observed, ordinal, disk);
        if state.phase == MemberPhase::AwaitingAdoption && recorded.is_some_and(is_whole) {
            let action = Action::Adopt { ordinal, cluster_id: latch.cluster_id };
            return Some(Step::act(action, "the member waits for its new owner"));
        }
        if let Some(cluster) = state.cluster_id.filter(|cluster| *cluster != latch.cluster_id) {
            return Some(Step::stall(
                "ForeignMember",
                format!(
                    "{} serves cluster {cluster} and this is cluster {}: its volume claim comes from elsewhere; delete claim and pod, or put the right one back",
                    context.desired.pod(ordinal),
                    latch.cluster_id
                ),
            ));
        }
    }
    let configuration = context.observed.configuration.as_ref()?;
    let unknown = configuration.members.iter().find(|member| context.desired.ordinal(&member.name).is_none())?;
    Some(Step::stall(
        "UnknownMember",
        format!(
            "member {} ({:?}) was added by something else than the operator: remove it with `quoratectl member remove {}`",
            unknown.id, unknown.name, unknown.id
        ),
    ))
}
