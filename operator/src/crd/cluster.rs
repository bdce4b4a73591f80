//! `QuorateCluster`: one replicated cluster of 1, 3, 5 or 7 members.
//!
//! Every rule that the API server can check stands here as CEL with a message that says what is allowed; `desired`
//! checks them again, because an object may have been stored under an older schema.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pods::PodsSpec;
use super::raft::RaftSpec;
use super::schema::rules;
use super::status::QuorateClusterStatus;
use super::storage::StorageSpec;
use super::tls::TlsSpec;

/// What a Quorate cluster shall be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "quorate.io",
    version = "v1alpha1",
    kind = "QuorateCluster",
    namespaced,
    cel,
    doc = "A replicated key-value store that speaks etcd's protocol, run and repaired by the operator.",
    derive = "PartialEq",
    shortname = "qc",
    category = "quorate",
    status = "QuorateClusterStatus",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Voters", type_ = "integer", json_path = ".status.voters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Operation", type_ = "string", json_path = ".status.operation.type"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name must have at most 40 characters, so that pod names and their labels fit into 63"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must start with a letter and hold only lower-case letters, digits and '-', because Services are named after it"),
    validation = Rule::new("self.spec.storage.size == oldSelf.spec.storage.size || !has(self.status) || !has(self.status.storage) || quantity(self.spec.storage.size).compareTo(quantity(self.status.storage.minCapacity)) >= 0")
        .message("spec.storage.size cannot be made smaller than status.storage.minCapacity, which volumes were given: volumes do not shrink"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.clusterID) || self.spec.version == oldSelf.spec.version")
        .message("spec.version cannot be changed once the cluster is founded: this release of the operator does not roll members; keep the old version"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.clusterID) || self.spec.image == oldSelf.spec.image")
        .message("spec.image cannot be changed once the cluster is founded: this release of the operator does not roll members; keep the old values"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.clusterID) || self.spec.pods == oldSelf.spec.pods")
        .message("spec.pods cannot be changed once the cluster is founded: this release of the operator does not roll members; keep the old values"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.clusterID) || self.spec.raft.snapshotEntries == oldSelf.spec.raft.snapshotEntries")
        .message("spec.raft.snapshotEntries cannot be changed once the cluster is founded: this release of the operator does not roll members; keep the old value"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.clusterID) || self.spec.raft.preVote == oldSelf.spec.raft.preVote")
        .message("spec.raft.preVote cannot be changed once the cluster is founded: this release of the operator does not roll members; keep the old value")
)]
#[serde(rename_all = "camelCase")]
pub struct QuorateClusterSpec {
    /// Voting members: 1, 3, 5 or 7.
    #[serde(default = "default_replicas")]
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]")
        .message("replicas must be 1, 3, 5 or 7: an even number of voters survives no more failures than one voter fewer"))]
    pub replicas: i32,

    /// Version of the server, a semantic version without a leading v; the tag of the image.
    #[schemars(length(min = 5, max = 64))]
    #[x_kube(validation = Rule::new(r"self.matches('^(0|[1-9][0-9]{0,17})[.](0|[1-9][0-9]{0,17})[.](0|[1-9][0-9]{0,17})(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)([.](0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?$')")
        .message("version must be a semantic version without a leading v, such as 1.4.2 or 1.5.0-rc.1"))]
    pub version: String,

    /// Where the server's image comes from.
    #[serde(default)]
    pub image: ImageSpec,

    /// The volume of each member.
    pub storage: StorageSpec,

    /// Timing of the consensus protocol.
    #[serde(default)]
    pub raft: RaftSpec,

    /// What one request and the whole store may hold.
    #[serde(default)]
    pub limits: LimitsSpec,

    /// Encryption and certificates of clients and peers.
    #[serde(default)]
    pub tls: TlsSpec,

    /// What is passed on to the pods.
    #[serde(default)]
    pub pods: PodsSpec,
}

fn default_replicas() -> i32 {
    3
}

/// Image of the server; its tag is always `spec.version`, and a digest pins what the tag stands for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageSpec {
    /// Repository without a tag.
    #[schemars(length(min = 1, max = 255))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("!self.matches('(@|:[^/]*$)')", "image.repository must not hold a tag or a digest: the tag is spec.version")])))]
    pub repository: String,
    /// Digest that the image must have; any image with the tag when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 71, max = 71))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self.matches('^sha256:[0-9a-f]{64}$')", "image.digest must be sha256: and 64 lower-case hex digits")])))]
    pub digest: Option<String>,
    /// When the kubelet pulls it.
    pub pull_policy: PullPolicy,
    /// Names of Secrets with registry credentials.
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub pull_secrets: Vec<String>,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self {
            repository: "quorate".to_owned(),
            digest: None,
            pull_policy: PullPolicy::IfNotPresent,
            pull_secrets: Vec::new(),
        }
    }
}

/// When the kubelet pulls the image.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The word Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Limits that are pushed to running members without a restart.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// Size of the store at which writes are refused with NOSPACE.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("isQuantity(self) && quantity(self).compareTo(quantity('16Mi')) >= 0 && quantity(self).compareTo(quantity('100Gi')) <= 0", "limits.quotaBytes must be a quantity from 16Mi to 100Gi, such as 8Gi")])))]
    pub quota_bytes: String,
    /// Largest request in bytes.
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self >= 65536 && self <= 67108864", "limits.maxRequestBytes must be from 65536 (64 KiB) to 67108864 (64 MiB)")])))]
    pub max_request_bytes: i64,
    /// Most operations in one transaction.
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self >= 1 && self <= 10000", "limits.maxTxnOps must be from 1 to 10000")])))]
    pub max_txn_ops: i64,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { quota_bytes: "8Gi".to_owned(), max_request_bytes: 1_572_864, max_txn_ops: 128 }
    }
}
