//! What is rendered for a cluster, as snapshots.

use crate::observed::LatchSeen;
use crate::plan::fixture;

use super::*;

fn yaml(child: &Child, desired: &Desired, observed: &Observed) -> String {
    serde_yaml::to_string(&child.document(desired, observed)).unwrap()
}

#[test]
fn children_of_a_founded_cluster_of_three() {
    let desired = fixture::desired(3);
    let observed = fixture::running(&desired, 3);
    for child in Child::DOCUMENTS {
        let name = format!("{child:?}");
        insta::assert_snapshot!(name, yaml(&child, &desired, &observed));
    }
}

#[test]
fn statefulset_without_tls_takes_a_token() {
    let mut desired = fixture::desired(1);
    desired.tls = crate::desired::Tls { client: false, require_client_certificates: false, peer: false };
    let observed = fixture::running(&desired, 1);
    insta::assert_snapshot!(yaml(&Child::StatefulSet, &desired, &observed));
}

#[test]
fn statefulset_with_all_that_is_passed_on_to_pods() {
    let mut desired = fixture::desired(1);
    let term = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]});
    let pods = json!({
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}},
        "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway"},
        ],
        "metadata": {"labels": {"team": "a", "quorate.io/serving": "false"}, "annotations": {"note": "kept"}},
        "priorityClassName": "high",
        "runtimeClassName": "sandboxed",
        "terminationGracePeriodSeconds": 30,
    });
    desired.template.pods = serde_json::from_value(pods).unwrap();
    desired.template.image.digest = Some(format!("sha256:{}", "0a".repeat(32)));
    desired.template.pre_vote = false;
    let mut observed = fixture::running(&desired, 1);
    observed.latch = LatchSeen::Absent;
    insta::assert_snapshot!(yaml(&Child::StatefulSet, &desired, &observed));
}

#[test]
fn statefulset_with_the_logs_on_volumes_of_their_own() {
    let mut desired = fixture::desired_with_wal(1);
    desired.storage.wal.as_mut().unwrap().class = Some("fast".to_owned());
    let observed = fixture::running(&desired, 1);
    insta::assert_snapshot!(yaml(&Child::StatefulSet, &desired, &observed));
}

#[test]
fn template_at_rest_is_the_latched_one_whatever_the_spec_says() {
    let mut desired = fixture::desired(3);
    let observed = fixture::running(&desired, 3);
    let before = yaml(&Child::StatefulSet, &desired, &observed);
    desired.template.version = "9.9.9".to_owned();
    assert_eq!(yaml(&Child::StatefulSet, &desired, &observed), before);
}

#[test]
fn template_of_claims_keeps_the_size_that_it_was_made_with() {
    let mut desired = fixture::desired(3);
    let observed = fixture::running(&desired, 3);
    let before = yaml(&Child::StatefulSet, &desired, &observed);
    desired.storage.size = "2Gi".to_owned();
    assert_eq!(yaml(&Child::StatefulSet, &desired, &observed), before);
}

#[test]
fn child_of_another_owner_is_a_conflict_and_never_forced() {
    let desired = fixture::desired(1);
    let mut observed = fixture::running(&desired, 1);
    observed.latch = LatchSeen::Absent;
    let mut live = Child::ClientService.document(&desired, &observed).unwrap();
    assert_eq!(drift(&desired, &observed, Child::ClientService, Some(&live)), None);
    live["metadata"]["ownerReferences"][0]["uid"] = json!("somebody else");
    let conflict = drift(&desired, &observed, Child::ClientService, Some(&live)).unwrap().conflict.unwrap();
    assert!(conflict.contains("kubectl delete services main -n team"), "{conflict}");
}
