//! `spec.pods`: what is passed on to the pods unchanged.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::schema::rules;

/// Settings of the members' pods.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodsSpec {
    /// Requests and limits of the server's container.
    pub resources: ResourcesSpec,
    /// Labels that a node must have.
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Where pods may and may not run, by nodes and by other pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How pods are spread. When absent: at most one more on a node than on any other, and as even over zones as can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// Labels and annotations besides the operator's own.
    pub metadata: PodMetadata,
    /// Priority class; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Runtime class; the node's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// Seconds a member has to hand over leadership and flush before it is killed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self >= 5 && self <= 3600", "pods.terminationGracePeriodSeconds must be from 5 to 3600")])))]
    pub termination_grace_period_seconds: i64,
}

impl Default for PodsSpec {
    fn default() -> Self {
        Self {
            resources: ResourcesSpec::default(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: None,
            metadata: PodMetadata::default(),
            priority_class_name: None,
            runtime_class_name: None,
            termination_grace_period_seconds: 60,
        }
    }
}

/// Labels and annotations of the pods.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels; those that the operator sets are its own.
    #[schemars(extend("maxProperties" = 32))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self.all(key, !key.startsWith('quorate.io/') && !key.startsWith('app.kubernetes.io/'))", "pods.metadata.labels must not begin with quorate.io/ or app.kubernetes.io/, which the operator sets")])))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[schemars(extend("maxProperties" = 32))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self.all(key, !key.startsWith('quorate.io/'))", "pods.metadata.annotations must not begin with quorate.io/, which the operator sets")])))]
    pub annotations: BTreeMap<String, String>,
}

/// Requests and limits by resource name.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourcesSpec {
    /// What the scheduler sets aside.
    #[schemars(extend("maxProperties" = 8))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self.all(k, isQuantity(string(self[k])))", "pods.resources.requests must hold quantities such as cpu: 500m and memory: 1Gi")])))]
    pub requests: BTreeMap<String, QuantityText>,
    /// What the container may use at most.
    #[schemars(extend("maxProperties" = 8))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self.all(k, isQuantity(string(self[k])))", "pods.resources.limits must hold quantities such as cpu: 2 and memory: 1Gi")])))]
    pub limits: BTreeMap<String, QuantityText>,
}

/// A quantity as text; a whole number is taken too, as in every pod.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
pub struct QuantityText(pub String);

impl<'de> Deserialize<'de> for QuantityText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i64),
            Text(String),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Number(number) => number.to_string(),
            Either::Text(text) => text,
        }))
    }
}

impl JsonSchema for QuantityText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "QuantityText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "maxLength": 32 })
    }
}
