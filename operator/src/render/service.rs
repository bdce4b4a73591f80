//! Services: a headless one that gives every pod its name from the moment it starts, and one for clients.

use serde_json::{Value, json};

use crate::crd::LABEL_CLUSTER;
use crate::desired::Desired;

use super::{LABEL_SERVING, metadata};

/// Names of pods, ready or not: members find each other before they are ready, else none would ever be.
pub fn peers(desired: &Desired) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(desired, &desired.peers_service()),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": {LABEL_CLUSTER: desired.name},
            "ports": [
                {"name": "client", "port": 2379, "protocol": "TCP", "targetPort": "client"},
                {"name": "peer", "port": 2380, "protocol": "TCP", "targetPort": "peer"},
                {"name": "admin", "port": 2382, "protocol": "TCP", "targetPort": "admin"},
            ],
        },
    })
}

/// Where clients connect: only to members that are ready.
pub fn client(desired: &Desired) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(desired, &desired.name),
        "spec": {
            "type": "ClusterIP",
            "selector": {LABEL_CLUSTER: desired.name, LABEL_SERVING: "true"},
            "ports": [{"name": "client", "port": 2379, "protocol": "TCP", "targetPort": "client"}],
        },
    })
}
