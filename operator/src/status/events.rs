//! Events: what a person reads at the end of `kubectl describe qc`. Pure, like the rest of status.

use crate::crd::QuorateClusterStatus;
use crate::desired::Desired;
use crate::latch::{Latch, Operation};
use crate::observed::LatchSeen;
use crate::plan::{Action, MembershipChange};

use super::type_;

/// An event to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub warning: bool,
    pub reason: &'static str,
    /// What it is about, in short: events that differ in nothing but their notes are counted and not shown.
    pub subject: String,
    pub note: String,
}

fn told(reason: &'static str, subject: impl Into<String>, note: String) -> Option<Told> {
    Some(Told { warning: false, reason, subject: subject.into(), note })
}

/// What is said of an action that was performed; `None` of those that only prepare others.
pub fn of_action(desired: &Desired, latch: &LatchSeen, action: &Action, why: &str) -> Option<Told> {
    let pod = |ordinal: &u32| desired.pod(*ordinal);
    match action {
        Action::AddFinalizer | Action::RemoveFinalizer | Action::Apply(_) | Action::MarkVolume { .. } => None,
        Action::WriteLatch { latch: written, what, .. } => of_operation(desired, latch.latch(), written, what),
        Action::CreateLatch(latch) => {
            let (id, founder) = (latch.cluster_id, desired.pod(0));
            told("Founding", id, format!("cluster {id} is being founded on the disk of {founder}"))
        }
        Action::Found { ordinal, cluster_id: id, .. } => {
            told("Founded", *id, format!("{} founded cluster {id}", pod(ordinal)))
        }
        Action::Admit { ordinal, .. } => {
            told("MemberAdmitted", pod(ordinal), format!("{} was let in and receives the data", pod(ordinal)))
        }
        Action::Adopt { ordinal, cluster_id } => {
            let note = format!("{} goes on with its disk of cluster {cluster_id}", pod(ordinal));
            told("DiskAdopted", pod(ordinal), note)
        }
        Action::SetAside { ordinal, .. } => {
            let pod = pod(ordinal);
            let note =
                format!("what an earlier, removed member left on the volume of {pod} was renamed and is kept there");
            told("DiskSetAside", pod, note)
        }
        Action::ChangeMembership { change, .. } => of_change(desired, latch.latch(), change, why),
        Action::Drain { ordinal, draining } => {
            let (pod, asked) = (pod(ordinal), if *draining { "were asked to go" } else { "need no longer go" });
            told(
                "ClientsDrained",
                format!("{pod}:{draining}"),
                format!("clients of {pod} {asked} to other members: {why}"),
            )
        }
        Action::HandOver { to } => {
            let successor = name_of(desired, latch.latch(), *to);
            told("LeadershipMoved", *to, format!("{successor} was asked to lead: {why}"))
        }
        Action::SetTimers { ordinal, timers, .. } => {
            let (pod, beat, election) = (pod(ordinal), timers.heartbeat_milliseconds, timers.election_milliseconds);
            let note = format!("{pod} now has a heartbeat of {beat} ms and an election timeout of {election} ms");
            told("TimersChanged", format!("{pod}:{beat}/{election}"), note)
        }
        Action::SetLimits { ordinal, limits, .. } => {
            let pod = pod(ordinal);
            let (quota, request, operations) = (limits.quota_bytes, limits.request_bytes_max, limits.txn_ops_max);
            let note = format!(
                "{pod} now takes {quota} bytes of data, {request} bytes a request and {operations} operations a transaction"
            );
            told("LimitsChanged", format!("{pod}:{quota}/{request}/{operations}"), note)
        }
        Action::SetServing { pod, serving, .. } => {
            let (reason, turned) = if *serving { ("PodInService", "into") } else { ("PodOutOfService", "out of") };
            told(reason, pod, format!("{pod} was taken {turned} service for clients: {why}"))
        }
        Action::DeletePod { ordinal, .. } => {
            told("PodDeleted", pod(ordinal), format!("{} was deleted: {why}", pod(ordinal)))
        }
        Action::ResizeVolume { ordinal, size, .. } => {
            let volume = desired.volume(*ordinal);
            told(
                "VolumeResized",
                format!("{volume}:{size}"),
                format!("volume claim {volume} was asked for {size}: {why}"),
            )
        }
        Action::DeleteVolume { claim, ordinal, .. } => {
            let volume = desired.claim(*claim, *ordinal);
            let note = format!("volume claim {volume} was deleted: {why}");
            told("VolumeDeleted", volume, note)
        }
        Action::DeleteStatefulSet { .. } => told("StatefulSetDeleted", "", format!("the pods end: {why}")),
        Action::DeleteLatch { .. } => {
            told("RecordDeleted", "", format!("ConfigMap {} was deleted: {why}", desired.latch_name()))
        }
        Action::DeleteAuthority { name, .. } => {
            told("AuthorityDeleted", name, format!("Secret {name} was deleted: {why}"))
        }
    }
}

/// An operation begins, which may replace another one, or is over.
fn of_operation(desired: &Desired, before: Option<&Latch>, written: &Latch, what: &str) -> Option<Told> {
    let before = before.and_then(|latch| latch.operation.as_ref());
    let name = |operation: &Operation| {
        let id = operation.id.map(|id| id.to_string()).unwrap_or_default();
        (format!("{} of {}", operation.kind(), desired.pod(operation.ordinal)), id)
    };
    match (before, &written.operation) {
        (before, Some(now)) if !before.is_some_and(|before| before.is(now)) => {
            let (subject, id) = name(now);
            told("OperationStarted", id.clone(), format!("{subject} began as operation {id}: {what}"))
        }
        (Some(over), None) => {
            let (subject, id) = name(over);
            told("OperationEnded", id.clone(), format!("{subject}, operation {id}, is over: {what}"))
        }
        _ => None,
    }
}

fn of_change(desired: &Desired, latch: Option<&Latch>, change: &MembershipChange, why: &str) -> Option<Told> {
    match change {
        MembershipChange::AddLearner(member) => {
            let note = format!("{} was added without a vote as member {}", member.name, member.id);
            told("LearnerAdded", member.id, note)
        }
        MembershipChange::Promote(id) => {
            told("MemberPromoted", *id, format!("{} votes now: {why}", name_of(desired, latch, *id)))
        }
        MembershipChange::Remove(id) => {
            told("MemberRemoved", *id, format!("{} left the cluster: {why}", name_of(desired, latch, *id)))
        }
    }
}

/// Pod and id of a member of the latch or of the operation in it.
fn name_of(desired: &Desired, latch: Option<&Latch>, id: crate::id::Id) -> String {
    let recorded = latch.into_iter().flat_map(|latch| &latch.members).map(|one| (one.ordinal, one.disk.member_id));
    let operation = latch.and_then(|latch| latch.operation.as_ref());
    let operation = operation.and_then(|operation| Some((operation.ordinal, operation.disk()?.member_id)));
    match recorded.chain(operation).find(|(_, member)| *member == id) {
        Some((ordinal, _)) => format!("{} (member {id})", desired.pod(ordinal)),
        None => format!("member {id}"),
    }
}

/// What is said when a condition turned that people wait for or fear.
pub fn of_turns(before: Option<&QuorateClusterStatus>, now: &QuorateClusterStatus) -> Vec<Told> {
    const WATCHED: [(&str, &str, bool); 4] = [
        (type_::READY, "True", false),
        (type_::DEGRADED, "True", true),
        (type_::QUORUM_LOST, "True", true),
        (type_::STORAGE_HEALTHY, "False", true),
    ];
    let find = |status: &QuorateClusterStatus, kind: &str| {
        status.conditions.iter().find(|one| one.type_ == kind).map(|one| (one.status.clone(), one.message.clone()))
    };
    let turned = WATCHED.into_iter().filter_map(|(kind, wanted, warning)| {
        let (status, message) = find(now, kind)?;
        let was = before.and_then(|before| find(before, kind)).map(|(status, _)| status);
        let reason = if kind == type_::STORAGE_HEALTHY { "StorageUnhealthy" } else { kind };
        // Nothing was ready and nothing was degraded before there was a cluster.
        let is_new = status == wanted && was.as_deref() != Some(wanted) && (was.is_some() || !warning);
        let subject = format!("{}of{}", now.quorum.as_ref().map_or(0, |quorum| quorum.healthy), now.voters);
        is_new.then_some(Told { warning, reason, subject, note: message })
    });
    turned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latch::Work;
    use crate::plan::fixture;

    #[test]
    fn members_are_named_by_their_pods() {
        let desired = fixture::desired(3);
        let observed = fixture::running(&desired, 3);
        let remove =
            Action::ChangeMembership { expected_index: 1, change: MembershipChange::Remove(fixture::member(2)) };
        let told = of_action(&desired, &observed.latch, &remove, "its disk is gone").unwrap();
        assert_eq!(
            (told.reason, told.note.as_str()),
            ("MemberRemoved", "main-2 (member 0000000000000102) left the cluster: its disk is gone")
        );
        assert_eq!(of_action(&desired, &observed.latch, &Action::AddFinalizer, ""), None);
    }

    #[test]
    fn operation_is_told_when_it_begins_and_when_it_is_over() {
        let desired = fixture::desired(3);
        let observed = fixture::running(&desired, 2);
        let LatchSeen::Present { latch: idle, .. } = observed.latch else { panic!("no latch") };
        let operation = fixture::operation(2, Work::Join { disk: None });
        let busy = Box::new(Latch { operation: Some(operation.clone()), ..(*idle).clone() });
        let told = |before: &Latch, written: &Latch| {
            let (before, written) = (Box::new(before.clone()), Box::new(written.clone()));
            let before = LatchSeen::Present { latch: before, resource_version: "1".to_owned() };
            let write = Action::WriteLatch { latch: written, resource_version: "1".to_owned(), what: "it says so" };
            of_action(&desired, &before, &write, "").map(|told| (told.reason, told.note))
        };
        let id = operation.id.unwrap();
        let began = format!("ScaleOut of main-2 began as operation {id}: it says so");
        assert_eq!(told(&idle, &busy), Some(("OperationStarted", began)));
        let over = format!("ScaleOut of main-2, operation {id}, is over: it says so");
        assert_eq!(told(&busy, &idle), Some(("OperationEnded", over)));
        let next = Operation { work: Work::Join { disk: Some(fixture::disk(2)) }, ..operation.clone() };
        assert_eq!(told(&busy, &Latch { operation: Some(next), ..(*idle).clone() }), None, "the next stage");
        let unnamed = Latch { operation: Some(Operation { id: None, ..operation }), ..(*idle).clone() };
        assert_eq!(told(&unnamed, &busy), None, "an id is given");
    }

    #[test]
    fn only_turns_are_told() {
        let condition = |kind: &str, status: &str| {
            serde_json::from_value(serde_json::json!({
                "type": kind, "status": status, "reason": "R", "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }))
            .unwrap()
        };
        let status = |ready: &str, degraded: &str| QuorateClusterStatus {
            conditions: vec![condition("Ready", ready), condition("Degraded", degraded)],
            ..QuorateClusterStatus::default()
        };
        let reasons = |before: Option<&QuorateClusterStatus>, now: &QuorateClusterStatus| -> Vec<&'static str> {
            of_turns(before, now).iter().map(|told| told.reason).collect()
        };
        let (good, bad) = (status("True", "False"), status("False", "True"));
        assert_eq!(reasons(None, &good), ["Ready"]);
        assert_eq!(reasons(None, &bad), [""; 0]);
        assert_eq!(reasons(Some(&good), &good), [""; 0]);
        assert_eq!(reasons(Some(&good), &bad), ["Degraded"]);
        assert_eq!(reasons(Some(&bad), &good), ["Ready"]);
    }
}
