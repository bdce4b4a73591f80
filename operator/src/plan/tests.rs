//! One step at a time: what each concern decides in the situations that the design names.

use jiff::Timestamp;

use crate::claim::Claim;
use crate::latch::{Disk, Operation, RemovalReason, Work};
use crate::observed::{LatchSeen, MemberPhase, MemberSeen, MemberState, Observed, VolumeSeen};
use crate::render::{Child, Drift};
use crate::tls::{LeafKind, SecretKind};

use super::fixture::{self, answered, awaiting, desired, running};
use super::{Action, MembershipChange, Step, plan};
use crate::desired::Desired;

fn step(desired: &Desired, observed: &Observed) -> Step {
    plan(desired, observed, Timestamp::UNIX_EPOCH, 7).step
}

fn action(desired: &Desired, observed: &Observed) -> Action {
    match step(desired, observed) {
        Step::Act { action, .. } => action,
        other => panic!("an action was expected, not {other:?}"),
    }
}

fn stalled(desired: &Desired, observed: &Observed) -> &'static str {
    match step(desired, observed) {
        Step::Stall(stall) => stall.reason,
        other => panic!("a stall was expected, not {other:?}"),
    }
}

fn written_operation(desired: &Desired, observed: &Observed) -> Option<Operation> {
    match action(desired, observed) {
        Action::WriteLatch { latch, .. } => latch.operation,
        other => panic!("the latch was to be written, not {other:?}"),
    }
}

fn removed(operation: &Operation) -> (u32, RemovalReason) {
    let Work::Remove { reason, .. } = operation.work else { panic!("no removal: {operation:?}") };
    (operation.ordinal, reason)
}

fn with_operation(observed: &mut Observed, operation: Operation) {
    let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
    latch.operation = Some(operation);
}

#[test]
fn whole_cluster_is_left_alone() {
    for size in [1, 3, 5, 7] {
        let desired = desired(size);
        let observed = running(&desired, size);
        assert!(matches!(step(&desired, &observed), Step::Steady), "{size} members");
    }
}

#[test]
fn latch_is_created_before_founding_and_founding_needs_the_same_disk() {
    let desired = desired(1);
    let mut observed = fixture::nothing();
    observed.pods.insert(0, fixture::pod(0));
    observed.volumes.insert(0, crate::observed::VolumeSeen { marked: None, ..fixture::volume(0) });
    observed.members.insert(0, awaiting(&desired, 0, "disk-0"));
    let Action::CreateLatch(latch) = action(&desired, &observed) else { panic!("the latch comes first") };
    assert_eq!((latch.founder.disk_id.as_str(), latch.founder.pvc_uid.as_str()), ("disk-0", "pvc-0"));
    observed.latch = LatchSeen::Present { latch, resource_version: "1".to_owned() };
    assert!(matches!(action(&desired, &observed), Action::MarkVolume { ordinal: 0, .. }));
    observed.members.insert(0, awaiting(&desired, 0, "disk-new"));
    assert_eq!(stalled(&desired, &observed), "FoundingDiskLost");
}

#[test]
fn marked_volume_without_a_latch_forbids_founding() {
    let desired = desired(1);
    let mut observed = fixture::nothing();
    observed.volumes.insert(2, fixture::volume(2));
    assert_eq!(stalled(&desired, &observed), "LatchMissing");
}

#[test]
fn refused_directory_stalls_with_what_its_server_says_and_is_worked_around_by_nothing() {
    let refuse = |observed: &mut Observed, ordinal: u32| {
        let mut state = fixture::state(&desired(3), ordinal, 3);
        state = crate::observed::MemberState {
            phase: crate::observed::MemberPhase::Refused,
            member_id: None,
            cluster_id: None,
            disk_id: String::new(),
            refusal: "data/FORMAT was written by a later version (format 9)".to_owned(),
            ..state
        };
        observed.members.insert(ordinal, answered(state));
    };
    let message = |observed: &Observed| match step(&desired(3), observed) {
        Step::Stall(stall) => (stall.reason, stall.message),
        other => panic!("a stall was expected, not {other:?}"),
    };
    // Before founding, whichever pod it is: its disk may be that of a cluster.
    for ordinal in [0, 2] {
        let mut observed = fixture::nothing();
        observed.pods.insert(ordinal, fixture::pod(ordinal));
        refuse(&mut observed, ordinal);
        let (reason, message) = message(&observed);
        assert_eq!(reason, "DirectoryRefused");
        assert!(message.contains(&format!("main-{ordinal}: data/FORMAT was written by a later")), "{message}");
    }
    // A voter's: its disk may be repaired, so it is no evidence of a loss, and it is reported by the status.
    let mut observed = running(&desired(3), 3);
    refuse(&mut observed, 1);
    assert!(matches!(step(&desired(3), &observed), Step::Steady));
    // A joining member's.
    let mut observed = running(&desired(3), 2);
    observed.pods.insert(2, fixture::pod(2));
    with_operation(&mut observed, fixture::operation(2, Work::Join { disk: None }));
    refuse(&mut observed, 2);
    assert_eq!(message(&observed).0, "DirectoryRefused");
}

#[test]
fn retained_disks_wait_for_the_annotation_and_are_then_taken_over() {
    let mut desired = desired(3);
    let observed = running(&desired, 3);
    desired.uid = "uid-2".to_owned();
    assert_eq!(stalled(&desired, &observed), "DisksOfAnotherCluster");
    desired.adopt = Some(crate::id::Id(1));
    assert_eq!(stalled(&desired, &observed), "DisksOfAnotherCluster");
    desired.adopt = Some(fixture::CLUSTER);
    let Action::WriteLatch { latch, .. } = action(&desired, &observed) else { panic!("the record is handed over") };
    assert_eq!((latch.owner_uid.as_str(), latch.adopted_from.as_deref()), ("uid-2", Some("uid-1")));
}

#[test]
fn record_that_is_adopted_while_it_was_founded_goes_on_with_its_disk_or_is_founded_for_its_new_owner() {
    let mut desired = desired(1);
    let mut observed = running(&desired, 1);
    let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
    (latch.phase, latch.members) = (crate::latch::Phase::Founding, Vec::new());
    (latch.owner_uid, latch.adopted_from) = ("uid-2".to_owned(), Some("uid-1".to_owned()));
    desired.uid = "uid-2".to_owned();
    observed.configuration = None;
    // `Found` had reached the disk.
    let state = fixture::state(&desired, 0, 1);
    let state = MemberState { phase: crate::observed::MemberPhase::AwaitingAdoption, ..state };
    observed.members.insert(0, answered(state));
    assert_eq!(action(&desired, &observed), Action::Adopt { ordinal: 0, cluster_id: fixture::CLUSTER });
    // It had not.
    observed.members.insert(0, awaiting(&desired, 0, "disk-0"));
    let Action::WriteLatch { latch, .. } = action(&desired, &observed) else { panic!("new ids come first") };
    assert_eq!(latch.founder.member_id, crate::id::founding_member(&desired.peer_url(0), "uid-2"));
    assert_eq!(latch.cluster_id, crate::id::founding_cluster(latch.founder.member_id));
    assert_eq!((latch.founder.disk_id.as_str(), latch.founder.pvc_uid.as_str()), ("disk-0", "pvc-0"));
}

#[test]
fn copy_of_a_disk_is_not_counted_on_and_is_replaced_once_it_is_deleted() {
    let desired = desired(3);
    let mut observed = running(&desired, 3);
    observed.volumes.get_mut(&1).unwrap().uid = "pvc-copy".to_owned();
    observed.pods.get_mut(&1).unwrap().serving = false;
    assert_eq!(stalled(&desired, &observed), "CopiedDisk");
    // Neither is it adopted.
    let mut state = fixture::state(&desired, 1, 3);
    state.phase = crate::observed::MemberPhase::AwaitingAdoption;
    observed.members.insert(1, answered(state));
    assert_eq!(stalled(&desired, &observed), "CopiedDisk");
    observed.volumes.remove(&1);
    observed.members.insert(1, MemberSeen::Silent { reason: "gone".to_owned() });
    let operation = written_operation(&desired, &observed).unwrap();
    assert_eq!(removed(&operation), (1, RemovalReason::DiskLost));
}

#[test]
fn pods_whose_member_does_not_belong_to_the_cluster_are_taken_out_of_service_first() {
    let desired = desired(3);
    let whole = running(&desired, 3);
    let taken_out = |observed: &Observed| match action(&desired, observed) {
        Action::SetServing { pod, serving: false, .. } => pod,
        other => panic!("{other:?}"),
    };
    let mut copied = whole.clone();
    copied.volumes.get_mut(&1).unwrap().uid = "pvc-copy".to_owned();
    assert_eq!(taken_out(&copied), "main-1");
    let mut foreign = whole.clone();
    let state = fixture::state(&desired, 2, 3);
    foreign.members.insert(2, answered(MemberState { cluster_id: Some(crate::id::Id(9)), ..state }));
    assert_eq!(taken_out(&foreign), "main-2");
    let mut unknown = whole.clone();
    unknown.configuration.as_mut().unwrap().members.pop();
    assert_eq!(taken_out(&unknown), "main-2");
    let mut stranger = whole.clone();
    let pod = |serving| crate::observed::StrangerSeen { name: "copy".to_owned(), uid: "pod-x".to_owned(), serving };
    stranger.strangers.push(pod(true));
    assert_eq!(taken_out(&stranger), "copy");
    stranger.strangers = vec![pod(false)];
    assert!(matches!(step(&desired, &stranger), Step::Steady));
}

#[test]
fn pod_goes_back_into_service_when_its_member_answers_and_belongs_and_silence_changes_nothing() {
    let desired = desired(3);
    let mut observed = running(&desired, 3);
    observed.pods.get_mut(&1).unwrap().serving = false;
    assert!(matches!(action(&desired, &observed), Action::SetServing { serving: true, .. }));
    observed.members.insert(1, MemberSeen::Silent { reason: "refused".to_owned() });
    assert!(matches!(step(&desired, &observed), Step::Steady));
}

#[test]
fn disk_of_a_removed_member_is_set_aside_for_the_owner_that_it_had() {
    let desired = desired(3);
    let mut observed = running(&desired, 2);
    with_operation(&mut observed, fixture::operation(2, Work::Join { disk: None }));
    let mut state = fixture::state(&desired, 2, 3);
    (state.phase, state.owner_uid) = (crate::observed::MemberPhase::Removed, "uid-0".to_owned());
    observed.pods.insert(2, fixture::pod(2));
    observed.members.insert(2, answered(state));
    let expected = Action::SetAside { ordinal: 2, owner_uid: "uid-0".to_owned() };
    assert_eq!(action(&desired, &observed), expected);
}

#[test]
fn learner_has_the_voters_timers_before_it_votes() {
    let desired = desired(3);
    let mut observed = running(&desired, 3);
    let slow = crate::desired::Timers { heartbeat_milliseconds: 500, election_milliseconds: 5_000 };
    for ordinal in 0..2 {
        let state = fixture::state(&desired, ordinal, 3);
        observed.members.insert(ordinal, answered(MemberState { timers: slow, ..state }));
    }
    observed.configuration.as_mut().unwrap().members[2].learner = true;
    let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
    latch.members[2].voter = false;
    latch.tuning.timers = slow;
    let joined = fixture::operation(2, Work::Join { disk: Some(fixture::disk(2)) });
    with_operation(&mut observed, joined);
    assert_eq!(action(&desired, &observed), Action::SetTimers { ordinal: 2, generation: 3, timers: slow });
    let state = fixture::state(&desired, 2, 3);
    observed.members.insert(2, answered(MemberState { timers: slow, ..state }));
    assert!(matches!(
        action(&desired, &observed),
        Action::ChangeMembership { change: MembershipChange::Promote(_), .. }
    ));
}

#[test]
fn lost_disk_of_one_of_three_is_replaced_and_a_silent_one_is_not() {
    let desired = desired(3);
    let mut observed = running(&desired, 3);
    observed.members.insert(1, MemberSeen::Silent { reason: "refused".to_owned() });
    assert!(matches!(step(&desired, &observed), Step::Steady), "silence is no evidence");
    observed.pods.remove(&1);
    assert!(matches!(step(&desired, &observed), Step::Steady), "neither is a missing pod");
    observed.volumes.get_mut(&1).unwrap().uid = "pvc-new".to_owned();
    observed.members.insert(1, awaiting(&desired, 1, "disk-new"));
    let operation = written_operation(&desired, &observed).unwrap();
    assert_eq!(removed(&operation), (1, RemovalReason::DiskLost));
    with_operation(&mut observed, operation);
    let expected =
        Action::ChangeMembership { expected_index: 10, change: MembershipChange::Remove(fixture::member(1)) };
    assert_eq!(action(&desired, &observed), expected);
}

/// A member whose directory is there and whose log its server misses.
fn without_log(desired: &Desired, ordinal: u32) -> MemberSeen {
    let state = fixture::state(desired, ordinal, 3);
    let refusal = "/var/lib/quorate-wal/wal holds no write-ahead log although one was begun".to_owned();
    answered(MemberState { phase: MemberPhase::Refused, refusal, ..state })
}

fn retire(desired: &Desired, observed: &mut Observed, ordinal: u32, reason: RemovalReason) {
    observed.configuration.as_mut().unwrap().members.retain(|member| member.id != fixture::member(ordinal));
    let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
    latch.members.retain(|member| member.ordinal != ordinal);
    let disk = fixture::disk_of(desired, ordinal);
    latch.operation = Some(fixture::operation(ordinal, Work::Retire { disk, reason }));
    // A member that runs and is not in the configuration serves no clients.
    let runs = observed.members[&ordinal].state().is_some_and(|state| state.phase == MemberPhase::Running);
    observed.pods.get_mut(&ordinal).unwrap().serving = !runs;
}

#[test]
fn lost_log_is_a_lost_disk_and_the_data_go_with_their_member() {
    let desired = fixture::desired_with_wal(3);
    let mut observed = running(&desired, 3);
    assert!(matches!(step(&desired, &observed), Step::Steady));
    observed.members.insert(1, without_log(&desired, 1));
    assert!(matches!(step(&desired, &observed), Step::Steady), "the right volume may be repaired");
    observed.wal_volumes.get_mut(&1).unwrap().uid = "wal-new".to_owned();
    let operation = written_operation(&desired, &observed).unwrap();
    assert_eq!(removed(&operation), (1, RemovalReason::DiskLost));
    retire(&desired, &mut observed, 1, RemovalReason::DiskLost);
    let deleted = |observed: &Observed| match action(&desired, observed) {
        Action::DeleteVolume { claim, ordinal: 1, .. } => claim,
        other => panic!("a volume was to be deleted, not {other:?}"),
    };
    assert_eq!(deleted(&observed), Claim::Data);
    observed.volumes.get_mut(&1).unwrap().deleting = true;
    assert!(matches!(action(&desired, &observed), Action::DeletePod { ordinal: 1, .. }), "the new log is nobody's");
    // The other way round: a new directory refuses what is left of the log.
    observed.volumes.get_mut(&1).unwrap().uid = "pvc-new".to_owned();
    observed.wal_volumes.insert(1, VolumeSeen { uid: "wal-1".to_owned(), ..fixture::volume(1) });
    assert_eq!(deleted(&observed), Claim::Wal);
}

#[test]
fn both_volumes_of_a_member_that_was_scaled_away_go_or_stay() {
    let mut desired = fixture::desired_with_wal(1);
    let mut observed = running(&desired, 2);
    retire(&desired, &mut observed, 1, RemovalReason::ScaleIn);
    for claim in Claim::ALL {
        let Action::DeleteVolume { claim: deleted, ordinal: 1, uid, .. } = action(&desired, &observed) else {
            panic!("{claim:?} was to be deleted")
        };
        assert_eq!((deleted, Some(&uid)), (claim, observed.claim(claim, 1).map(|volume| &volume.uid)));
        let volumes = if claim == Claim::Data { &mut observed.volumes } else { &mut observed.wal_volumes };
        volumes.get_mut(&1).unwrap().deleting = true;
    }
    assert!(matches!(action(&desired, &observed), Action::DeletePod { ordinal: 1, .. }));
    observed.pods.remove(&1);
    observed.volumes.remove(&1);
    assert!(matches!(step(&desired, &observed), Step::Wait { step: "AwaitVolume", .. }), "one is still there");
    observed.wal_volumes.remove(&1);
    assert_eq!(written_operation(&desired, &observed), None);
    desired.storage.when_scaled = crate::crd::VolumePolicy::Retain;
    let mut observed = running(&desired, 2);
    retire(&desired, &mut observed, 1, RemovalReason::ScaleIn);
    observed.pods.remove(&1);
    assert_eq!(written_operation(&desired, &observed), None);
}

#[test]
fn copy_of_a_log_is_not_counted_on_and_never_adopted() {
    let desired = fixture::desired_with_wal(3);
    let mut observed = running(&desired, 3);
    observed.wal_volumes.get_mut(&1).unwrap().uid = "wal-copy".to_owned();
    observed.pods.get_mut(&1).unwrap().serving = false;
    let Step::Stall(stall) = step(&desired, &observed) else { panic!("a copy runs") };
    assert_eq!(stall.reason, "CopiedDisk");
    assert!(stall.message.contains("the volume claim wal-main-1 has UID wal-copy"), "{}", stall.message);
    // Nobody knows what a log holds that was not opened yet; the other members serve.
    let state = MemberState { phase: MemberPhase::AwaitingAdoption, ..fixture::state(&desired, 1, 3) };
    observed.members.insert(1, answered(state));
    observed.pods.get_mut(&1).unwrap().serving = true;
    let operation = written_operation(&desired, &observed).unwrap();
    assert_eq!(removed(&operation), (1, RemovalReason::DiskLost));
}

#[test]
fn founder_is_recorded_and_marked_with_both_its_volumes() {
    let desired = fixture::desired_with_wal(1);
    let mut observed = fixture::nothing();
    let unmarked = |uid: &str| VolumeSeen { uid: uid.to_owned(), marked: None, ..fixture::volume(0) };
    observed.pods.insert(0, fixture::pod(0));
    observed.volumes.insert(0, unmarked("pvc-0"));
    observed.members.insert(0, awaiting(&desired, 0, "disk-0"));
    let Step::Wait { step: "AwaitVolume", message } = step(&desired, &observed) else { panic!("one is missing") };
    assert!(message.contains("wal-main-0"), "{message}");
    observed.wal_volumes.insert(0, unmarked("wal-0"));
    let Action::CreateLatch(latch) = action(&desired, &observed) else { panic!("the latch comes first") };
    let member_id = latch.founder.member_id;
    assert_eq!(latch.founder, Disk { member_id, ..fixture::disk_of(&desired, 0) });
    observed.latch = LatchSeen::Present { latch, resource_version: "1".to_owned() };
    for expected in Claim::ALL {
        let Action::MarkVolume { claim, ordinal: 0, mark, .. } = action(&desired, &observed) else {
            panic!("{expected:?} was to be marked")
        };
        assert_eq!(claim, expected);
        let volumes = if claim == Claim::Data { &mut observed.volumes } else { &mut observed.wal_volumes };
        volumes.get_mut(&0).unwrap().marked = Some(mark);
    }
    assert!(matches!(action(&desired, &observed), Action::Found { ordinal: 0, .. }));
    observed.wal_volumes.insert(0, unmarked("wal-new"));
    assert_eq!(stalled(&desired, &observed), "FoundingDiskLost");
    // Without its record a mark on the log's volume shows the cluster.
    observed.latch = LatchSeen::Absent;
    observed.volumes.clear();
    observed.wal_volumes.insert(0, fixture::volume(0));
    assert_eq!(stalled(&desired, &observed), "LatchMissing");
}

#[test]
fn joining_member_is_recorded_with_its_log_and_turned_back_when_that_is_another() {
    let desired = fixture::desired_with_wal(3);
    let mut observed = running(&desired, 2);
    observed.pods.insert(2, fixture::pod(2));
    observed.members.insert(2, awaiting(&desired, 2, "disk-2"));
    observed.volumes.insert(2, fixture::volume(2));
    with_operation(&mut observed, fixture::operation(2, Work::Join { disk: None }));
    assert!(matches!(step(&desired, &observed), Step::Wait { step: "AwaitVolume", .. }));
    observed.wal_volumes.insert(2, VolumeSeen { uid: "wal-2".to_owned(), ..fixture::volume(2) });
    let recorded = written_operation(&desired, &observed).unwrap();
    let disk = recorded.disk().unwrap().clone();
    assert_eq!(disk, Disk { member_id: disk.member_id, ..fixture::disk_of(&desired, 2) });
    // The learner is in the configuration; its log's volume is lost before it was let in, or after.
    let mut observed = running(&desired, 3);
    observed.configuration.as_mut().unwrap().members[2].learner = true;
    let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
    latch.members[2].voter = false;
    with_operation(&mut observed, fixture::operation(2, Work::Join { disk: Some(fixture::disk_of(&desired, 2)) }));
    observed.members.insert(2, awaiting(&desired, 2, "disk-2"));
    assert!(matches!(action(&desired, &observed), Action::Admit { ordinal: 2, .. }));
    observed.members.insert(2, without_log(&desired, 2));
    assert_eq!(stalled(&desired, &observed), "DirectoryRefused");
    observed.wal_volumes.get_mut(&2).unwrap().uid = "wal-new".to_owned();
    for seen in [without_log(&desired, 2), awaiting(&desired, 2, "disk-2")] {
        observed.members.insert(2, seen);
        let operation = written_operation(&desired, &observed).unwrap();
        assert_eq!(removed(&operation), (2, RemovalReason::DiskLost));
    }
}

#[test]
fn retained_disks_are_not_taken_over_by_an_object_that_wants_their_logs_elsewhere() {
    for (kept, wanted, remedy) in [
        (fixture::desired_with_wal(1), desired(1), "create it with spec.storage.walStorage"),
        (desired(1), fixture::desired_with_wal(1), "create it without spec.storage.walStorage"),
    ] {
        let mut observed = running(&kept, 1);
        observed.drift = vec![Drift { child: Child::StatefulSet, reason: "it differs".to_owned(), conflict: None }];
        let mut other = Desired { uid: "uid-2".to_owned(), ..wanted.clone() };
        assert_eq!(stalled(&other, &observed), "DisksOfAnotherCluster", "whose they are comes first");
        other.adopt = Some(fixture::CLUSTER);
        for desired in [other, wanted] {
            let Step::Stall(stall) = step(&desired, &observed) else { panic!("no pod may start") };
            assert_eq!(stall.reason, "WalStorageDiffers");
            assert!(stall.message.ends_with(remedy), "{}", stall.message);
        }
    }
}

#[test]
fn only_disk_lost_is_never_founded_again() {
    let desired = desired(1);
    let mut observed = running(&desired, 1);
    observed.configuration = None;
    observed.volumes.get_mut(&0).unwrap().uid = "pvc-new".to_owned();
    observed.members.insert(0, awaiting(&desired, 0, "disk-new"));
    assert_eq!(stalled(&desired, &observed), "DisksLost");
}

#[test]
fn clients_go_before_their_member_does_and_are_waited_for_a_while() {
    let desired = desired(1);
    let mut observed = running(&desired, 3);
    let operation = written_operation(&desired, &observed).unwrap();
    with_operation(&mut observed, operation);
    assert!(matches!(action(&desired, &observed), Action::SetServing { serving: false, .. }));
    observed.pods.get_mut(&2).unwrap().serving = false;
    assert_eq!(action(&desired, &observed), Action::Drain { ordinal: 2, draining: true });
    let draining = |client_connections| {
        answered(MemberState { draining: true, client_connections, ..fixture::state(&desired, 2, 3) })
    };
    observed.members.insert(2, draining(1));
    assert!(matches!(step(&desired, &observed), Step::Wait { step: "AwaitDrain", .. }));
    let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(10);
    let removes = |step: Step| matches!(step, Step::Act { action: Action::ChangeMembership { .. }, .. });
    assert!(removes(plan(&desired, &observed, later, 7).step), "some clients never go");
    observed.members.insert(2, draining(0));
    assert!(removes(step(&desired, &observed)));
    // Called off.
    let mut desired = desired.clone();
    desired.replicas = 3;
    let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
    latch.operation = None;
    assert_eq!(action(&desired, &observed), Action::Drain { ordinal: 2, draining: false });
}

#[test]
fn leader_hands_over_before_it_is_removed() {
    let desired = desired(1);
    let mut observed = running(&desired, 2);
    let operation = written_operation(&desired, &observed).unwrap();
    assert_eq!(removed(&operation), (1, RemovalReason::ScaleIn));
    with_operation(&mut observed, operation);
    for ordinal in 0..2 {
        let mut state = fixture::state(&desired, ordinal, 2);
        (state.leader_id, state.draining) = (Some(fixture::member(1)), ordinal == 1);
        observed.members.insert(ordinal, answered(state));
    }
    observed.pods.get_mut(&1).unwrap().serving = false;
    assert_eq!(action(&desired, &observed), Action::HandOver { to: fixture::member(0) });
}

#[test]
fn healthy_member_is_not_removed_while_another_is_away() {
    let desired = desired(1);
    let mut observed = running(&desired, 3);
    observed.members.insert(0, MemberSeen::Silent { reason: "refused".to_owned() });
    let operation = written_operation(&desired, &observed).unwrap();
    with_operation(&mut observed, operation);
    assert_eq!(stalled(&desired, &observed), "MembershipGuard");
}

#[test]
fn reverted_spec_calls_off_a_removal_that_has_not_happened() {
    let mut desired = desired(1);
    let mut observed = running(&desired, 3);
    let operation = written_operation(&desired, &observed).unwrap();
    with_operation(&mut observed, operation);
    desired.replicas = 3;
    assert_eq!(written_operation(&desired, &observed), None);
}

#[test]
fn raised_election_timeout_reaches_all_before_heartbeats_change() {
    let mut desired = desired(3);
    let mut observed = running(&desired, 3);
    desired.timers = crate::desired::Timers { heartbeat_milliseconds: 500, election_milliseconds: 5_000 };
    let mut pushed = Vec::new();
    for _ in 0..20 {
        match step(&desired, &observed) {
            Step::Steady => break,
            Step::Act { action: Action::WriteLatch { latch, resource_version, .. }, .. } => {
                observed.latch = LatchSeen::Present { latch, resource_version };
            }
            Step::Act { action: Action::SetTimers { ordinal, generation, timers }, .. } => {
                pushed.push((generation, timers.heartbeat_milliseconds, timers.election_milliseconds));
                let Some(MemberSeen::Answered(state)) = observed.members.get_mut(&ordinal) else { panic!() };
                (state.timers, state.timers_generation) = (timers, generation);
            }
            other => panic!("{other:?}"),
        }
    }
    let phases = [(5, 100, 5_000), (6, 500, 5_000), (7, 500, 5_000)];
    assert_eq!(pushed, phases.map(|phase| [phase; 3]).concat());
}

#[test]
fn volumes_grow_one_after_the_other_and_a_growth_that_was_not_given_is_taken_back() {
    let mut desired = desired(3);
    let mut observed = running(&desired, 3);
    desired.storage.size = "2Gi".to_owned();
    for ordinal in 0..3 {
        let Action::ResizeVolume { ordinal: grown, size, .. } = action(&desired, &observed) else { panic!("it grows") };
        assert_eq!((grown, size.as_str()), (ordinal, "2Gi"));
        let volume = observed.volumes.get_mut(&ordinal).unwrap();
        volume.request = "2Gi".to_owned();
        assert!(matches!(step(&desired, &observed), Step::Wait { step: "AwaitResize", .. }));
        observed.volumes.get_mut(&ordinal).unwrap().capacity = Some("2Gi".to_owned());
    }
    assert!(matches!(step(&desired, &observed), Step::Steady));
    observed.volumes.get_mut(&1).unwrap().request = "8Gi".to_owned();
    let Action::ResizeVolume { ordinal: 1, size, .. } = action(&desired, &observed) else { panic!("taken back") };
    assert_eq!(size, "2Gi");
    // What was given stays.
    observed.volumes.get_mut(&1).unwrap().capacity = Some("8Gi".to_owned());
    assert!(matches!(step(&desired, &observed), Step::Steady));
}

#[test]
fn paused_cluster_is_not_touched() {
    let mut desired = desired(3);
    desired.paused = true;
    let mut observed = running(&desired, 1);
    assert!(matches!(step(&desired, &observed), Step::Paused));
    let drift = |child| Drift { child, reason: "it differs".to_owned(), conflict: None };
    observed.drift = vec![drift(Child::StatefulSet)];
    assert!(matches!(step(&desired, &observed), Step::Paused));
    let leaf = Child::Secret(SecretKind::Leaf(LeafKind::Peer));
    observed.drift.push(drift(leaf.clone()));
    assert_eq!(action(&desired, &observed), Action::Apply(leaf), "certificates must not run out meanwhile");
}

#[test]
fn deletion_retains_disks_latch_and_authorities_or_deletes_them_all() {
    let mut desired = desired(1);
    desired.deleting = true;
    let mut observed = running(&desired, 1);
    assert!(matches!(action(&desired, &observed), Action::DeleteStatefulSet { .. }));
    observed.statefulset = None;
    assert_eq!(action(&desired, &observed), Action::RemoveFinalizer);
    desired.storage.when_deleted = crate::crd::VolumePolicy::Delete;
    assert!(matches!(action(&desired, &observed), Action::DeleteVolume { ordinal: 0, .. }));
    observed.volumes.clear();
    assert!(matches!(action(&desired, &observed), Action::DeleteLatch { .. }));
    let (with_wal, wal) =
        (running(&fixture::desired_with_wal(1), 1), VolumeSeen { marked: None, ..fixture::volume(0) });
    let mut with_wal = Observed { statefulset: None, volumes: observed.volumes.clone(), ..with_wal };
    with_wal.wal_volumes.insert(0, VolumeSeen { uid: "wal-0".to_owned(), ..wal });
    let expected = Action::DeleteVolume {
        claim: Claim::Wal,
        ordinal: 0,
        uid: "wal-0".to_owned(),
        resource_version: "1".to_owned(),
    };
    assert_eq!(action(&desired, &with_wal), expected, "it is recorded as the log of the founder");
    observed.latch = LatchSeen::Absent;
    assert_eq!(action(&desired, &observed), Action::RemoveFinalizer);
}
