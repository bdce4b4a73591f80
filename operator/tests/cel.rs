//! Objects that the API server must take or refuse (`objects.json`), run through the CEL rules of the schema; the same
//! table runs against a real API server in e2e.

#![allow(clippy::unwrap_used)]

use kube::core::cel::{validate_cel, validate_cel_update};
use quorate_operator::crd::QuorateCluster;
use serde_json::{Value, json};

/// A line of the table: what is set where, and what the refusal says, if it is one.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    founded: bool,
    /// Size of the log's volume before the change, where there is one.
    #[serde(rename = "walStorage")]
    wal_storage: Option<String>,
    path: String,
    value: Value,
    refused: Option<String>,
}

#[derive(serde::Deserialize)]
struct Table {
    create: Vec<Case>,
    update: Vec<Case>,
}

fn table() -> Table {
    serde_json::from_str(include_str!("objects.json")).unwrap()
}

fn object(change: impl FnOnce(&mut Value)) -> QuorateCluster {
    let mut value = json!({
        "apiVersion": "quorate.io/v1alpha1", "kind": "QuorateCluster", "metadata": {"name": "main", "namespace": "a"},
        "spec": {"version": "0.1.0", "storage": {"size": "1Gi"}},
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

impl Case {
    fn judge(&self, result: Result<(), impl std::fmt::Display>) {
        let got = result.err().map(|errors| errors.to_string()).unwrap_or_default();
        match &self.refused {
            None => assert_eq!(got, "", "{}", self.name),
            Some(text) => assert!(got.contains(text), "{}: expected {text:?}, got {got:?}", self.name),
        }
    }
}

#[test]
fn creation_takes_what_is_allowed_and_says_what_is() {
    for case in table().create {
        case.judge(validate_cel(&object(|object| set(object, &case.path, &case.value))));
    }
}

#[test]
fn updates_refuse_what_cannot_change_and_let_status_writes_through() {
    for case in table().update {
        let found = |object: &mut Value| {
            if let Some(size) = &case.wal_storage {
                object["spec"]["storage"]["walStorage"] = json!({"size": size});
            }
            if case.founded {
                let storage = json!({"minCapacity": "768Mi", "resizing": []});
                object["status"] = json!({"clusterID": "8f3a91c0d2e4b617", "storage": storage});
            }
        };
        let new = object(|object| {
            found(object);
            set(object, &case.path, &case.value);
        });
        case.judge(validate_cel_update(&new, &object(found)));
    }
    let shown = object(|object| object["status"] = json!({"clusterID": "8f3a91c0d2e4b617", "voters": 3}));
    assert!(validate_cel_update(&shown, &object(|_| {})).is_ok(), "a write of status");
}

/// Sets a field; objects on the way are made.
fn set(object: &mut Value, path: &str, value: &Value) {
    let mut place = object;
    for key in path.trim_start_matches('/').split('/') {
        place = &mut place[key];
    }
    *place = value.clone();
}
