//! Conditions: the kstatus trio (Ready, Reconciling, Stalled) and those of this kind.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::crd::QuorateClusterStatus;
use crate::observed::MemberPhase;
use crate::plan::Step;

use super::View;

/// Types of conditions.
pub mod type_ {
    pub const READY: &str = "Ready";
    pub const RECONCILING: &str = "Reconciling";
    pub const STALLED: &str = "Stalled";
    pub const AVAILABLE: &str = "Available";
    pub const QUORUM_LOST: &str = "QuorumLost";
    pub const DEGRADED: &str = "Degraded";
    pub const UP_TO_DATE: &str = "UpToDate";
    pub const CERTIFICATES_READY: &str = "CertificatesReady";
    pub const STORAGE_HEALTHY: &str = "StorageHealthy";
    pub const CLUSTER_ID_CONSISTENT: &str = "ClusterIDConsistent";
    pub const PROTECTION_REDUCED: &str = "ProtectionReduced";
    pub const PAUSED: &str = "Paused";
}

/// Longest message; the API server takes 32768.
const MESSAGE_CHARS_MAX: usize = 1_024;

struct Said {
    kind: &'static str,
    holds: bool,
    reason: String,
    message: String,
}

fn said(kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) -> Said {
    Said { kind, holds, reason: reason.to_owned(), message: message.into() }
}

/// All conditions of a view.
pub(super) fn all(view: &View<'_>) -> Vec<Condition> {
    let said = [
        ready(view),
        reconciling(view),
        stalled(view),
        available(view),
        quorum_lost(view),
        degraded(view),
        up_to_date(view),
        certificates(view),
        storage(view),
        cluster_id(view),
        protection(view),
        paused(view),
    ];
    said.into_iter().map(|said| condition(said, view.previous, view.desired.generation, view.now)).collect()
}

/// The status of an object whose spec cannot be acted on; what was known before stays.
pub fn invalid(
    previous: Option<&QuorateClusterStatus>,
    generation: i64,
    message: &str,
    now: Timestamp,
) -> QuorateClusterStatus {
    let mut status = previous.cloned().unwrap_or_default();
    let said = [
        said(type_::READY, false, "InvalidSpec", message),
        said(type_::RECONCILING, false, "InvalidSpec", message),
        said(type_::STALLED, true, "InvalidSpec", message),
    ];
    let fresh: Vec<Condition> = said.into_iter().map(|said| condition(said, previous, generation, now)).collect();
    status.conditions.retain(|old| fresh.iter().all(|new| new.type_ != old.type_));
    status.conditions.extend(fresh);
    status.observed_generation = Some(generation);
    status
}

/// The time of transition changes only when the status flips.
fn condition(said: Said, previous: Option<&QuorateClusterStatus>, generation: i64, now: Timestamp) -> Condition {
    let status = if said.holds { "True" } else { "False" };
    let before = previous.and_then(|status| status.conditions.iter().find(|one| one.type_ == said.kind));
    // Whole seconds, because that is what the API server keeps.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let since = before.filter(|one| one.status == status).map_or(Time(now), |one| one.last_transition_time.clone());
    Condition {
        type_: said.kind.to_owned(),
        status: status.to_owned(),
        reason: said.reason,
        message: said.message.chars().take(MESSAGE_CHARS_MAX).collect(),
        observed_generation: Some(generation),
        last_transition_time: since,
    }
}

/// Ready: as many healthy voters as asked for, and nothing left to do.
fn ready(view: &View<'_>) -> Said {
    let (facts, wanted) = (view.facts, view.desired.replicas);
    let all = facts.healthy.len() == facts.voters.len() && facts.voters.len() == wanted as usize;
    match view.step {
        Step::Stall(stall) => said(type_::READY, false, stall.reason, stall.message.clone()),
        _ if view.observed.configuration.is_none() && view.observed.latch.latch().is_some() => {
            said(type_::READY, false, "NoQuorum", members_message(view))
        }
        _ if all && view.ready_pods() >= wanted => said(type_::READY, true, "AllMembersHealthy", members_message(view)),
        Step::Wait { step, message } => said(type_::READY, false, step, message.clone()),
        Step::Act { action, why } => said(type_::READY, false, action.name(), why.clone()),
        _ => said(type_::READY, false, "MembersUnhealthy", members_message(view)),
    }
}

fn members_message(view: &View<'_>) -> String {
    format!("{} of {} members are healthy", view.facts.healthy.len(), view.desired.replicas)
}

/// Never together with Stalled: kstatus takes the first of the two that is true.
fn reconciling(view: &View<'_>) -> Said {
    match (view.step, view.overdue) {
        (Step::Stall(stall), _) => said(type_::RECONCILING, false, stall.reason, "a person has to decide; see Stalled"),
        (_, Some(stall)) => said(type_::RECONCILING, false, stall.reason, "it takes too long; see Stalled"),
        (Step::Act { action, why }, None) => said(type_::RECONCILING, true, action.name(), why.clone()),
        (Step::Wait { step, message }, None) => said(type_::RECONCILING, true, step, message.clone()),
        (Step::Paused, None) => said(type_::RECONCILING, false, "Paused", "mutations are switched off"),
        (Step::Steady | Step::Gone, None) => said(type_::RECONCILING, false, "Steady", "nothing is left to do"),
    }
}

/// What a person has to look at: no step is safe, or the operation under way did not get on in time.
fn stalled(view: &View<'_>) -> Said {
    match view.step.stalled().or(view.overdue) {
        Some(stall) => said(type_::STALLED, true, stall.reason, stall.message.clone()),
        None => said(type_::STALLED, false, "Progressing", "no step is blocked"),
    }
}

/// A linearizable read of the configuration worked a moment ago.
fn available(view: &View<'_>) -> Said {
    match (&view.observed.configuration, view.observed.latch.latch()) {
        (Some(_), _) => said(type_::AVAILABLE, true, "LinearizableReadWorks", "the cluster answers linearizably"),
        (None, Some(_)) => said(type_::AVAILABLE, false, "NoQuorum", "no linearizable read works"),
        (None, None) => said(type_::AVAILABLE, false, "NotFounded", "the cluster is not founded yet"),
    }
}

fn quorum_lost(view: &View<'_>) -> Said {
    let facts = view.facts;
    let lost =
        view.observed.configuration.is_none() && facts.healthy.len() < facts.quorum() && !facts.voters.is_empty();
    let message =
        format!("{} of {} voters answer, {} are needed", facts.healthy.len(), facts.voters.len(), facts.quorum());
    said(type_::QUORUM_LOST, lost, if lost { "TooFewVoters" } else { "QuorumHeld" }, message)
}

fn degraded(view: &View<'_>) -> Said {
    let unhealthy: Vec<String> = view
        .facts
        .voters
        .keys()
        .filter(|ordinal| !view.facts.healthy.contains(ordinal))
        .map(|ordinal| format!("{} ({})", view.desired.pod(*ordinal), view.trouble(*ordinal)))
        .collect();
    if unhealthy.is_empty() {
        return said(type_::DEGRADED, false, "AllVotersHealthy", "every voter is healthy");
    }
    said(type_::DEGRADED, true, "VotersUnhealthy", format!("not healthy: {}", unhealthy.join(", ")))
}

fn up_to_date(view: &View<'_>) -> Said {
    let Some(latch) = view.observed.latch.latch() else {
        return said(type_::UP_TO_DATE, true, "NotFounded", "there is no member that could be outdated");
    };
    let rest = (&latch.template.version, &latch.template.image, &latch.template.pods, latch.template.snapshot_entries);
    let wanted = &view.desired.template;
    if rest == (&wanted.version, &wanted.image, &wanted.pods, wanted.snapshot_entries) {
        return said(type_::UP_TO_DATE, true, "TemplateCurrent", "every pod is made from the spec");
    }
    let message = format!(
        "the members stay at the template they were founded with (version {}): this release of the operator does not roll members; put the old values back",
        latch.template.version
    );
    said(type_::UP_TO_DATE, false, "RollNotSupported", message)
}

fn certificates(view: &View<'_>) -> Said {
    let open: Vec<String> = view
        .observed
        .drift
        .iter()
        .filter(|drift| matches!(drift.child, crate::render::Child::Secret(_)))
        .map(|drift| format!("{}: {}", drift.child.name(view.desired), drift.reason))
        .collect();
    if open.is_empty() {
        return said(type_::CERTIFICATES_READY, true, "AllIssued", "every certificate is issued and current");
    }
    said(type_::CERTIFICATES_READY, false, "Issuing", open.join(", "))
}

fn storage(view: &View<'_>) -> Said {
    let deleting = view
        .observed
        .claims()
        .filter(|(_, ordinal, volume)| volume.deleting && view.facts.voters.contains_key(ordinal));
    let lost =
        view.facts.lost_disks.iter().map(|ordinal| format!("the disk of {} is gone", view.desired.pod(*ordinal)));
    let going = deleting.map(|(claim, ordinal, _)| {
        format!(
            "the volume claim {} of a voter is being deleted and goes when its pod ends",
            view.desired.claim(claim, ordinal)
        )
    });
    let full = view.states().flat_map(|state| state.no_space.iter()).next().map(|id| {
        format!("member {id} raised NOSPACE: raise spec.limits.quotaBytes, or compact, defragment and disarm")
    });
    let troubles: Vec<String> = lost.chain(going).chain(full).collect();
    if troubles.is_empty() {
        return said(type_::STORAGE_HEALTHY, true, "VolumesBound", "every voter has its disk");
    }
    said(type_::STORAGE_HEALTHY, false, "VolumesTroubled", troubles.join("; "))
}

fn cluster_id(view: &View<'_>) -> Said {
    let Some(latch) = view.observed.latch.latch() else {
        return said(type_::CLUSTER_ID_CONSISTENT, true, "NotFounded", "there is no cluster id yet");
    };
    let foreign = view.observed.members.iter().find_map(|(ordinal, seen)| {
        let state = seen.state().filter(|state| state.phase != MemberPhase::AwaitingAdmission)?;
        state.cluster_id.filter(|id| *id != latch.cluster_id).map(|id| (*ordinal, id))
    });
    match foreign {
        Some((ordinal, id)) => said(
            type_::CLUSTER_ID_CONSISTENT,
            false,
            "ForeignMember",
            format!("{} serves cluster {id}", view.desired.pod(ordinal)),
        ),
        None => said(
            type_::CLUSTER_ID_CONSISTENT,
            true,
            "OneCluster",
            format!("every member that answers is of cluster {}", latch.cluster_id),
        ),
    }
}

fn protection(view: &View<'_>) -> Said {
    let facts = view.facts;
    let reduced = !facts.voters.is_empty() && facts.healthy.len() <= facts.quorum();
    let message = format!(
        "{} of {} voters are healthy and {} are needed",
        facts.healthy.len(),
        facts.voters.len(),
        facts.quorum()
    );
    if reduced {
        return said(type_::PROTECTION_REDUCED, true, "NoMargin", message);
    }
    match crowded_node(view) {
        Some((node, voters)) => said(
            type_::PROTECTION_REDUCED,
            true,
            "NodeHoldsQuorum",
            format!(
                "{node} runs {voters} of {} voters, so losing it would lose the quorum: add nodes that the pods may run on, then delete a pod and its volume claim to move its member",
                facts.voters.len()
            ),
        ),
        None => said(type_::PROTECTION_REDUCED, false, "Margin", message),
    }
}

/// The node whose loss alone would lose the quorum, and how many voters it runs.
fn crowded_node(view: &View<'_>) -> Option<(String, usize)> {
    let facts = view.facts;
    let mut voters = std::collections::BTreeMap::<&str, usize>::new();
    for ordinal in facts.voters.keys() {
        if let Some(node) = view.observed.pods.get(ordinal).and_then(|pod| pod.node.as_deref()) {
            *voters.entry(node).or_default() += 1;
        }
    }
    let (node, count) = voters.into_iter().max_by_key(|(_, count)| *count)?;
    (facts.voters.len().saturating_sub(count) < facts.quorum()).then(|| (node.to_owned(), count))
}

fn paused(view: &View<'_>) -> Said {
    let message = if view.desired.paused { "the annotation quorate.io/paused is \"true\"" } else { "not paused" };
    said(type_::PAUSED, view.desired.paused, if view.desired.paused { "Annotation" } else { "NotPaused" }, message)
}
