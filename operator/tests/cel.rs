//! Objects that the API server must take or refuse, run through the CEL rules of the schema; the same table runs
//! against a real API server in e2e.

#![allow(clippy::unwrap_used)]

use kube::core::cel::{validate_cel, validate_cel_update};
use quorate_operator::crd::QuorateCluster;
use serde_json::{Value, json};

fn object(change: impl FnOnce(&mut Value)) -> QuorateCluster {
    let mut value = json!({
        "apiVersion": "quorate.io/v1alpha1", "kind": "QuorateCluster", "metadata": {"name": "main", "namespace": "a"},
        "spec": {"version": "0.1.0", "storage": {"size": "1Gi"}},
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn verdict(result: Result<(), impl std::fmt::Display>) -> String {
    result.err().map(|errors| errors.to_string()).unwrap_or_default()
}

#[test]
fn creation_takes_what_is_allowed_and_says_what_is() {
    type Case = (&'static str, &'static str, Value, &'static str);
    let cases: Vec<Case> = vec![
        ("defaults", "/spec/version", json!("1.4.2"), ""),
        ("one member", "/spec/replicas", json!(1), ""),
        ("seven members", "/spec/replicas", json!(7), ""),
        ("two members", "/spec/replicas", json!(2), "replicas must be 1, 3, 5 or 7"),
        ("nine members", "/spec/replicas", json!(9), "replicas must be 1, 3, 5 or 7"),
        ("version with v", "/spec/version", json!("v1.4.2"), "without a leading v"),
        ("pre-release", "/spec/version", json!("1.5.0-rc.1"), ""),
        ("size is no quantity", "/spec/storage/size", json!("10 GB"), "storage.size must be a positive quantity"),
        ("size is zero", "/spec/storage/size", json!("0"), "storage.size must be a positive quantity"),
        ("quota too small", "/spec/limits", json!({"quotaBytes": "1Mi"}), "quantity from 16Mi to 100Gi"),
        ("quota is no quantity", "/spec/limits", json!({"quotaBytes": "lots"}), "quantity from 16Mi to 100Gi"),
        ("request limit", "/spec/limits", json!({"maxRequestBytes": 10}), "maxRequestBytes must be from 65536"),
        ("operations", "/spec/limits", json!({"maxTxnOps": 0}), "maxTxnOps must be from 1 to 10000"),
        ("custom without timers", "/spec/raft", json!({"profile": "Custom"}), "profile Custom needs"),
        ("timers without custom", "/spec/raft", json!({"heartbeatIntervalMilliseconds": 100}), "profile Custom needs"),
        (
            "election below 5 heartbeats",
            "/spec/raft",
            json!({"profile": "Custom", "heartbeatIntervalMilliseconds": 100, "electionTimeoutMilliseconds": 400}),
            "at least 5 times the heartbeat",
        ),
        (
            "custom",
            "/spec/raft",
            json!({"profile": "Custom", "heartbeatIntervalMilliseconds": 50, "electionTimeoutMilliseconds": 500}),
            "",
        ),
        ("repository with tag", "/spec/image", json!({"repository": "q:1"}), "must not hold a tag"),
        ("repository with port", "/spec/image", json!({"repository": "host:5000/q"}), ""),
        ("name with digit first", "/metadata/name", json!("1main"), "must start with a letter"),
        ("name too long", "/metadata/name", json!("a".repeat(41)), "at most 40 characters"),
        (
            "bad request",
            "/spec/pods",
            json!({"resources": {"requests": {"cpu": "much"}}}),
            "requests must hold quantities",
        ),
        ("whole cpu", "/spec/pods", json!({"resources": {"requests": {"cpu": 2, "memory": "1Gi"}}}), ""),
        ("grace", "/spec/pods", json!({"terminationGracePeriodSeconds": 1}), "from 5 to 3600"),
    ];
    for (name, path, value, expected) in cases {
        let candidate = object(|object| set(object, path, value));
        let got = verdict(validate_cel(&candidate));
        if expected.is_empty() {
            assert_eq!(got, "", "{name}");
        } else {
            assert!(got.contains(expected), "{name}: expected {expected:?}, got {got:?}");
        }
    }
}

#[test]
fn updates_refuse_what_cannot_change_and_let_status_writes_through() {
    let founded = |object: &mut Value| object["status"] = json!({"clusterID": "8f3a91c0d2e4b617"});
    for (name, is_founded, path, value, expected) in [
        ("scale", true, "/spec/replicas", json!(1), ""),
        ("version before founding", false, "/spec/version", json!("0.1.1"), ""),
        ("version after founding", true, "/spec/version", json!("0.1.1"), "spec.version cannot be changed"),
        ("repository", true, "/spec/image", json!({"repository": "other"}), "spec.image cannot be changed"),
        ("pods", true, "/spec/pods", json!({"terminationGracePeriodSeconds": 9}), "spec.pods cannot be changed"),
        ("size", false, "/spec/storage/size", json!("2Gi"), "storage.size cannot be changed"),
        ("class", false, "/spec/storage/storageClassName", json!("fast"), "storageClassName cannot be changed"),
        ("client mode", false, "/spec/tls", json!({"client": {"mode": "Disabled"}}), "tls.client cannot be changed"),
        ("peer mode", false, "/spec/tls", json!({"peer": {"mode": "Disabled"}}), "tls.peer cannot be changed"),
        ("quota", true, "/spec/limits", json!({"quotaBytes": "4Gi"}), ""),
        ("timers", true, "/spec/raft", json!({"profile": "WAN"}), ""),
        ("status", true, "/status/voters", json!(3), ""),
    ] {
        let old = object(|object| {
            if is_founded {
                founded(object)
            }
        });
        let new = object(|object| {
            if is_founded {
                founded(object);
            }
            set(object, path, value);
        });
        let got = verdict(validate_cel_update(&new, &old));
        if expected.is_empty() {
            assert_eq!(got, "", "{name}");
        } else {
            assert!(got.contains(expected), "{name}: expected {expected:?}, got {got:?}");
        }
    }
}

fn set(object: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
}
