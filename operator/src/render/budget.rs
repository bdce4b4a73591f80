//! The PodDisruptionBudget: evictions leave the votes that are needed.

use serde_json::{Value, json};

use crate::crd::LABEL_CLUSTER;
use crate::desired::Desired;

use super::{LABEL_SERVING, metadata};

/// Evictions leave `available` pods of those that the operator counts on; one that is unhealthy anyway may always go, lest it block a drain for ever.
pub fn budget(desired: &Desired, available: u32) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(desired, &desired.name),
        "spec": {
            "minAvailable": available,
            "selector": {"matchLabels": {LABEL_CLUSTER: desired.name, LABEL_SERVING: "true"}},
            "unhealthyPodEvictionPolicy": "IfHealthyBudget",
        },
    })
}
