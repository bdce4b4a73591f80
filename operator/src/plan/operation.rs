//! How an operation begins and comes to its next stage, and what is said when it does not get there in time. A deadline gives nothing
//! up: the operation goes on being tried, and it is no longer overdue once it has come to its next stage.

use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use crate::desired::Desired;
use crate::latch::{Latch, Operation, Work};

use super::facts::answered;
use super::{Action, Context, Stall, Step};

/// For a pod to be scheduled, given a volume, its image pulled and its server started: what Kubernetes gives the rollout of a Deployment.
const POD_MAX: SignedDuration = SignedDuration::from_mins(10);
/// For adding a learner and its promotion, beside the time that the data takes.
const CATCH_UP_MAX: SignedDuration = SignedDuration::from_mins(10);
/// What a snapshot is sent and installed at, in bytes a second: a tenth of a slow network or disk, so that a slower one is worth a look.
const CATCH_UP_RATE_MIN: u64 = 8 << 20;
/// For leaving the configuration: clients are waited for 10 s, the rest is two elections and one entry of the log.
const REMOVE_MAX: SignedDuration = SignedDuration::from_mins(5);
/// For a volume to be unmounted and deleted, beside the time that its pod takes to end.
const RETIRE_MAX: SignedDuration = SignedDuration::from_mins(10);

/// A new operation. Its id is made of the moment and of randomness that the caller drew, so that planning itself stays pure.
pub(super) fn begin(context: Context<'_>, ordinal: u32, work: Work) -> Operation {
    let deadline = Some(deadline(context, &work));
    Operation { id: Some(id(context)), ordinal, started_at: context.now, deadline, attempt: 1, work }
}

/// The same operation at its next stage.
pub(super) fn advance(context: Context<'_>, operation: &Operation, work: Work) -> Operation {
    Operation { deadline: Some(deadline(context, &work)), work, ..operation.clone() }
}

/// The same joining, on another disk than it began on: that is no progress, so its deadline stays.
pub(super) fn try_again(operation: &Operation, work: Work) -> Operation {
    Operation { attempt: operation.attempt.saturating_add(1), work, ..operation.clone() }
}

/// An operation with id and deadline, also when an operator began it that knew neither.
pub(super) fn complete(context: Context<'_>, operation: &Operation) -> Operation {
    Operation {
        id: operation.id.or_else(|| Some(id(context))),
        deadline: operation.deadline.or_else(|| Some(deadline(context, &operation.work))),
        ..operation.clone()
    }
}

/// Has the latch hold this operation and no other; `None` ends the one that it holds.
pub(super) fn write(latch: &Latch, resource_version: &str, operation: Option<Operation>, what: &'static str) -> Action {
    let latch = Box::new(Latch { operation, ..latch.clone() });
    Action::WriteLatch { latch, resource_version: resource_version.to_owned(), what }
}

fn id(context: Context<'_>) -> Ulid {
    Ulid::from_parts(u64::try_from(context.now.as_millisecond()).unwrap_or(0), context.entropy)
}

fn deadline(context: Context<'_>, work: &Work) -> Timestamp {
    let limit = match work {
        Work::Join { disk: None } => POD_MAX,
        Work::Join { disk: Some(_) } => CATCH_UP_MAX + data(context),
        Work::Remove { .. } => REMOVE_MAX,
        Work::Retire { .. } => RETIRE_MAX + grace(context.desired),
    };
    context.now.saturating_add(limit).unwrap_or(Timestamp::MAX)
}

/// How long the data takes at the slowest rate.
fn data(context: Context<'_>) -> SignedDuration {
    let bytes = answered(context.observed).map(|(_, state)| state.db_size_bytes).max().unwrap_or(0);
    let seconds = u64::try_from(bytes).unwrap_or(0) / CATCH_UP_RATE_MIN;
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// How long a pod may take to end.
fn grace(desired: &Desired) -> SignedDuration {
    SignedDuration::from_secs(desired.template.pods.termination_grace_period_seconds)
}

/// What is said of an operation that did not get on in time. A stall has its own reason, and says more.
pub(super) fn overdue(context: Context<'_>, step: &Step) -> Option<Stall> {
    let latch = context.observed.latch.latch().filter(|latch| latch.owner_uid == context.desired.uid)?;
    let operation = latch.operation.as_ref()?;
    let deadline = operation.deadline.filter(|deadline| *deadline <= context.now)?;
    let pod = context.desired.pod(operation.ordinal);
    let (awaited, remedy) = match step {
        Step::Act { action, why } => (format!("{} ({why})", action.name()), remedy_of_action(action, &pod)),
        Step::Wait { step, message } => (message.clone(), remedy_of_wait(step, context, operation.ordinal)),
        Step::Stall(_) | Step::Paused | Step::Steady | Step::Gone => return None,
    };
    let (kind, id) = (operation.kind(), operation.id.map(|id| format!(" ({id})")).unwrap_or_default());
    let deadline = deadline.strftime("%Y-%m-%dT%H:%M:%SZ");
    let message = format!(
        "{kind} of {pod}{id} should have got on by {deadline} and waits for this: {awaited}; {remedy}. It goes on as soon as it can"
    );
    Some(Stall { reason: "OperationOverdue", message })
}

fn remedy_of_action(action: &Action, pod: &str) -> String {
    match action {
        Action::Apply(_) | Action::WriteLatch { .. } | Action::DeleteVolume { .. } | Action::DeletePod { .. } => {
            "see the operator's log for what the API server answers".to_owned()
        }
        _ => format!("see the operator's log for what the members answer, and that of {pod}"),
    }
}

fn remedy_of_wait(step: &str, context: Context<'_>, ordinal: u32) -> String {
    let (pod, claims) = (context.desired.pod(ordinal), context.desired.claims(ordinal).join(" "));
    match step {
        "AwaitPod" => format!("see `kubectl describe pod {pod}` and its log for what keeps it"),
        "AwaitVolume" => format!("see `kubectl describe pvc {claims}` for its finalizers and its provisioner"),
        "AwaitCatchUp" => format!("see the logs of {pod} and of the leader, and the network and disk between them"),
        "AwaitQuorum" | "AwaitVoters" | "AwaitMembers" => "bring the members back that do not answer".to_owned(),
        _ => format!("see the logs of {pod} and of the operator"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latch::{Disk, RemovalReason};
    use crate::observed::{LatchSeen, MemberPhase, MemberState, Observed, VolumeSeen};
    use crate::plan::fixture::{self, awaiting, desired, disk, running, volume};
    use crate::plan::{Decision, plan};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    /// What the latch holds after this round, which has to write it.
    fn written(desired: &Desired, observed: &mut Observed, now: Timestamp) -> Option<Operation> {
        let Step::Act { action: Action::WriteLatch { latch, resource_version, .. }, .. } =
            plan(desired, observed, now, 7).step
        else {
            panic!("the latch was to be written")
        };
        let operation = latch.operation.clone();
        observed.latch = LatchSeen::Present { latch, resource_version };
        operation
    }

    fn with(observed: &mut Observed, operation: Operation) {
        let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
        latch.operation = Some(operation);
    }

    /// Two of three members, and the pod of the third on an empty disk.
    fn joining(desired: &Desired, disk_id: &str) -> Observed {
        let mut observed = running(desired, 2);
        observed.pods.insert(2, fixture::pod(2));
        observed.volumes.insert(2, VolumeSeen { marked: None, ..volume(2) });
        observed.members.insert(2, awaiting(desired, 2, disk_id));
        observed
    }

    #[test]
    fn joining_keeps_its_id_and_has_a_deadline_for_each_stage() {
        let desired = desired(3);
        let mut observed = joining(&desired, "disk-2");
        let begun = written(&desired, &mut observed, at(1)).unwrap();
        assert_eq!(begun.id, Some(Ulid::from_parts(60_000, 7)));
        assert_eq!((begun.started_at, begun.deadline, begun.attempt), (at(1), Some(at(11)), 1));
        let recorded = written(&desired, &mut observed, at(5)).unwrap();
        assert_eq!((recorded.id, recorded.started_at, recorded.deadline), (begun.id, at(1), Some(at(15))));
        // The learner is in the configuration.
        let added = recorded.disk().unwrap().member_id;
        let mut configuration = running(&desired, 3).configuration.unwrap();
        (configuration.members[2].id, configuration.members[2].learner) = (added, true);
        observed.configuration = Some(configuration);
        let added = written(&desired, &mut observed, at(9)).unwrap();
        assert_eq!((added.id, added.deadline, added.attempt), (begun.id, Some(at(19)), 1));
        observed.configuration.as_mut().unwrap().members[2].learner = false;
        assert_eq!(written(&desired, &mut observed, at(12)), None);
    }

    #[test]
    fn joining_on_another_disk_is_another_attempt_and_no_progress() {
        let desired = desired(3);
        let mut observed = joining(&desired, "disk-2");
        written(&desired, &mut observed, at(0));
        let first = written(&desired, &mut observed, at(1)).unwrap();
        observed.members.insert(2, awaiting(&desired, 2, "disk-other"));
        let second = written(&desired, &mut observed, at(2)).unwrap();
        assert_eq!(second.disk().map(|disk| disk.disk_id.as_str()), Some("disk-other"));
        assert_eq!((second.id, second.deadline, second.attempt), (first.id, first.deadline, 2));
    }

    #[test]
    fn catching_up_has_as_much_longer_as_there_is_data() {
        let desired = desired(3);
        let mut observed = joining(&desired, "disk-2");
        written(&desired, &mut observed, at(0));
        let crate::observed::MemberSeen::Answered(leader) = observed.members.get_mut(&0).unwrap() else { panic!() };
        leader.db_size_bytes = 8 << 30;
        let recorded = written(&desired, &mut observed, at(0)).unwrap();
        assert_eq!(recorded.deadline, Some(at(10) + SignedDuration::from_secs(1_024)));
    }

    #[test]
    fn removing_keeps_its_id_when_the_volume_is_dealt_with() {
        let desired = desired(1);
        let mut observed = running(&desired, 2);
        let removal = written(&desired, &mut observed, at(1)).unwrap();
        assert_eq!(removal.deadline, Some(at(6)));
        observed.configuration.as_mut().unwrap().members.pop();
        let retiring = written(&desired, &mut observed, at(2)).unwrap();
        assert!(matches!(retiring.work, Work::Retire { reason: RemovalReason::ScaleIn, .. }));
        assert_eq!((retiring.id, retiring.started_at), (removal.id, at(1)));
        assert_eq!(retiring.deadline, Some(at(13)), "ten minutes, and one for the pod to end");
    }

    #[test]
    fn operation_of_an_operator_that_knew_no_ids_gets_one_before_anything_is_done() {
        let desired = desired(1);
        let mut observed = running(&desired, 2);
        let disk: Disk = disk(1);
        let work = Work::Remove { disk, reason: RemovalReason::ScaleIn };
        let old = Operation { id: None, deadline: None, ..fixture::operation(1, work) };
        with(&mut observed, old.clone());
        let completed = written(&desired, &mut observed, at(3)).unwrap();
        assert_eq!((completed.id, completed.deadline), (Some(Ulid::from_parts(180_000, 7)), Some(at(8))));
        assert!(old.is(&completed) && completed.started_at == old.started_at);
    }

    #[test]
    fn what_takes_too_long_is_said_and_goes_on_being_tried() {
        let desired = desired(3);
        let mut observed = running(&desired, 2);
        with(&mut observed, fixture::operation(2, Work::Join { disk: None }));
        let decide = |observed: &Observed, minutes| plan(&desired, observed, at(minutes), 7);
        let Decision { overdue: None, step: Step::Wait { step: "AwaitPod", .. }, .. } = decide(&observed, 59) else {
            panic!("it is in time")
        };
        let Decision { overdue: Some(stall), step: Step::Wait { .. }, .. } = decide(&observed, 60) else {
            panic!("it is overdue")
        };
        assert_eq!(stall.reason, "OperationOverdue");
        for said in ["main-2 does not exist yet", "by 1970-01-01T01:00:00Z", "kubectl describe pod main-2"] {
            assert!(stall.message.contains(said), "{}", stall.message);
        }
        // The pod is there: the next stage has its own time.
        let pod = joining(&desired, "disk-2");
        observed = Observed { latch: observed.latch, ..pod };
        assert!(decide(&observed, 90).overdue.is_some(), "it acts, and has not yet got on");
        written(&desired, &mut observed, at(90));
        assert_eq!(decide(&observed, 99).overdue, None);
        // What has a reason of its own says that.
        let refused = fixture::state(&desired, 2, 3);
        let refused = MemberState { phase: MemberPhase::Refused, refusal: "damaged".to_owned(), ..refused };
        observed.members.insert(2, fixture::answered(refused));
        let Decision { overdue: None, step: Step::Stall(stall), .. } = decide(&observed, 200) else {
            panic!("stalled")
        };
        assert_eq!(stall.reason, "DirectoryRefused");
    }
}
