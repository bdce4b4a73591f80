//! What the status shows in the situations that it is looked at for.

use super::*;
use crate::latch::Work;
use crate::observed::LatchSeen;
use crate::plan::{fixture, plan};

fn status(observed: &Observed, replicas: u32) -> QuorateClusterStatus {
    status_at(observed, replicas, Timestamp::UNIX_EPOCH)
}

fn status_at(observed: &Observed, replicas: u32, now: Timestamp) -> QuorateClusterStatus {
    let desired = fixture::desired(replicas);
    let decision = plan(&desired, observed, now, 7);
    view(&View {
        desired: &desired,
        observed,
        facts: &decision.facts,
        step: &decision.step,
        overdue: decision.overdue.as_ref(),
        certificates: Vec::new(),
        previous: None,
        now,
    })
}

#[test]
fn status_of_a_whole_cluster() {
    let desired = fixture::desired(3);
    insta::assert_yaml_snapshot!(status(&fixture::running(&desired, 3), 3));
}

#[test]
fn operation_that_did_not_get_on_in_time_is_stalled_and_still_shown_as_it_is() {
    let desired = fixture::desired(3);
    let mut observed = fixture::running(&desired, 2);
    let LatchSeen::Present { latch, .. } = &mut observed.latch else { panic!("no latch") };
    latch.operation = Some(fixture::operation(2, Work::Join { disk: None }));
    let seen = |minutes: i64| {
        let status = status_at(&observed, 3, Timestamp::from_second(minutes * 60).unwrap());
        let pick = |kind: &&str| status.conditions.iter().find(|one| one.type_ == *kind).cloned();
        (status.operation, ["Stalled", "Reconciling", "Ready"].iter().filter_map(pick).collect::<Vec<_>>())
    };
    insta::assert_yaml_snapshot!([seen(59), seen(60)]);
}

#[test]
fn member_with_another_bundle_is_told_by_its_hash() {
    let desired = fixture::desired(3);
    let mut observed = fixture::running(&desired, 3);
    let hashes = |observed: &Observed| -> Vec<Option<String>> {
        status(observed, 3).members.into_iter().map(|member| member.ca_bundle_hash).collect()
    };
    let mut state = fixture::state(&desired, 1, 3);
    state.bundles.peers = "cc".repeat(32);
    observed.members.insert(1, MemberSeen::Answered(Box::new(state.clone())));
    let seen = hashes(&observed);
    // What the description of the field says, by coreutils: printf '%s\n%s\n' aa… bb… | sha256sum
    assert_eq!(seen[0].as_deref(), Some("913f9338fb6c1725"));
    assert_eq!(seen[2], seen[0]);
    assert_ne!(seen[1], seen[0]);
    state.bundles = Bundles::default();
    observed.members.insert(1, MemberSeen::Answered(Box::new(state)));
    assert_eq!(hashes(&observed)[1], None, "without TLS");
}

#[test]
fn node_that_runs_too_many_voters_reduces_the_protection() {
    let desired = fixture::desired(3);
    let mut observed = fixture::running(&desired, 3);
    let reduced = |observed: &Observed| {
        let conditions = status(observed, 3).conditions;
        conditions.into_iter().find(|one| one.type_ == "ProtectionReduced").unwrap()
    };
    assert_eq!(reduced(&observed).reason, "Margin", "one voter a node");
    observed.pods.get_mut(&2).unwrap().node = Some("node1".to_owned());
    let crowded = reduced(&observed);
    assert_eq!((crowded.status.as_str(), crowded.reason.as_str()), ("True", "NodeHoldsQuorum"));
    assert!(crowded.message.starts_with("node1 runs 2 of 3 voters"), "{}", crowded.message);
}

#[test]
fn smallest_size_is_what_was_given_and_never_more_than_what_is_asked_for() {
    let desired = fixture::desired(3);
    let mut observed = fixture::running(&desired, 3);
    let storage = |observed: &Observed| status(observed, 3).storage.unwrap();
    observed.volumes.get_mut(&0).unwrap().capacity = Some("4Gi".to_owned());
    assert_eq!(storage(&observed).min_capacity, "1Gi", "a provisioner may give more");
    observed.volumes.get_mut(&1).unwrap().request = "2Gi".to_owned();
    let growing = storage(&observed);
    assert_eq!((growing.min_capacity.as_str(), growing.resizing), ("1Gi", vec!["data-main-1".to_owned()]));
}

#[test]
fn silent_voter_degrades_and_two_lose_the_quorum() {
    let desired = fixture::desired(3);
    let mut observed = fixture::running(&desired, 3);
    observed.members.insert(1, MemberSeen::Silent { reason: "refused".to_owned() });
    let holds = |status: &QuorateClusterStatus, kind: &str| {
        status.conditions.iter().any(|one| one.type_ == kind && one.status == "True")
    };
    let one = status(&observed, 3);
    for (kind, expected) in [("Ready", false), ("Available", true), ("Degraded", true), ("QuorumLost", false)] {
        assert_eq!(holds(&one, kind), expected, "{kind}");
    }
    observed.members.insert(2, MemberSeen::Silent { reason: "refused".to_owned() });
    observed.configuration = None;
    let two = status(&observed, 3);
    for (kind, expected) in [("Ready", false), ("Available", false), ("Degraded", true), ("QuorumLost", true)] {
        assert_eq!(holds(&two, kind), expected, "{kind}");
    }
    assert_eq!(two.quorum.unwrap().margin, -1);
}
