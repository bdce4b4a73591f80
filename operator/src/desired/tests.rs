//! What a spec becomes, and which specs are refused.

use serde_json::json;

use super::*;

fn object(change: impl FnOnce(&mut serde_json::Value)) -> QuorateCluster {
    let mut value = json!({
        "apiVersion": "quorate.io/v1alpha1", "kind": "QuorateCluster",
        "metadata": {"name": "main", "namespace": "team", "uid": "u-1", "generation": 2},
        "spec": {"version": "0.1.0", "storage": {"size": "1Gi"}},
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

#[test]
fn names_and_urls_follow_the_cluster() {
    let desired = Desired::parse(&object(|_| ())).unwrap();
    assert_eq!(desired.peer_url(2), "https://main-2.main-peers.team.svc:2380");
    assert_eq!(desired.ordinal("main-2"), Some(2));
    assert_eq!(desired.ordinal("main-peers"), None);
    assert_eq!(desired.ordinal("other-2"), None);
    assert_eq!(desired.volume(0), "data-main-0");
    assert_eq!(desired.claims(0), ["data-main-0"]);
    let with_wal = object(|object| object["spec"]["storage"]["walStorage"] = json!({"size": "1Gi"}));
    assert_eq!(Desired::parse(&with_wal).unwrap().claims(2), ["data-main-2", "wal-main-2"]);
}

#[test]
fn refuses_what_an_older_schema_let_through() {
    for (path, value, expected) in [
        ("/spec/replicas", json!(4), "1, 3, 5 or 7 are allowed"),
        ("/spec/version", json!("latest"), "a semantic version"),
        ("/spec/image", json!({"digest": "sha256:00"}), "64 lower-case hex digits"),
        ("/spec/storage/size", json!("big"), "spec.storage.size"),
        ("/spec/storage/walStorage", json!({"size": "0"}), "spec.storage.walStorage.size"),
        ("/spec/limits", json!({"maxTxnOps": 0}), "1 to 10000 is allowed"),
        ("/spec/raft", json!({"profile": "Custom"}), "needs both timers"),
        ("/spec/tls", json!({"peer": {"mode": "Disabled"}}), "quorate.io/allow-plaintext-peers"),
        ("/metadata/annotations", json!({"quorate.io/adopt": "x"}), "16 lower-case hex digits"),
    ] {
        let (parent, key) = path.rsplit_once('/').unwrap();
        let object = object(|object| object.pointer_mut(parent).unwrap()[key] = value);
        let message = Desired::parse(&object).unwrap_err().to_string();
        assert!(message.contains(expected), "{path}: {message}");
    }
}

#[test]
fn deleted_object_is_parsed_whatever_its_spec_says() {
    let object = object(|object| {
        object["spec"]["replicas"] = json!(4);
        object["spec"]["tls"] = json!({"peer": {"mode": "Disabled"}});
        object["spec"]["storage"]["walStorage"] = json!({"size": "none"});
        object["metadata"]["annotations"] = json!({"quorate.io/adopt": "x"});
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    assert!(Desired::parse(&object).is_err());
    assert!(Desired::parse_deleted(&object).unwrap().deleting);
}
