//! `status`: a view of what was observed. Nothing is decided from it; wiping it changes nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator last saw.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct QuorateClusterStatus {
    /// Generation of the spec that this status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Cluster id in 16 hex digits; a view of the latch.
    #[serde(rename = "clusterID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub cluster_id: Option<String>,
    /// Version that the leader runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Level of the features that all members may use; it only rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_level: Option<i64>,
    /// Revision of the pod template that the members were built with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_epoch: Option<i64>,
    /// Pods that exist.
    pub replicas: i32,
    /// Members that are ready.
    pub ready_replicas: i32,
    /// Members that vote.
    pub voters: i32,
    /// Members that do not vote yet.
    pub learners: i32,
    /// Name of the leader's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Label selector of the pods, for the scale subresource.
    pub selector: String,
    /// Votes needed and there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<QuorumStatus>,
    /// Timers in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raft: Option<RaftStatus>,
    /// Sizes of the volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// The one operation that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,
    /// One entry a member, by name.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub members: Vec<MemberStatus>,
    /// Certificates and when they end.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub certificates: Vec<CertificateStatus>,
    /// Ready, Reconciling and Stalled as kstatus reads them; Available, QuorumLost, Degraded, UpToDate,
    /// CertificatesReady, StorageHealthy, ClusterIDConsistent, ProtectionReduced and Paused of this kind.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Votes needed for a decision, healthy voters, and how many more may fail.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct QuorumStatus {
    pub needed: i32,
    pub healthy: i32,
    /// Negative when quorum is lost.
    pub margin: i32,
}

/// Timers that the leader reports.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RaftStatus {
    /// Of `Auto` the one that it has chosen.
    pub profile: String,
    pub heartbeat_interval_milliseconds: i64,
    pub election_timeout_milliseconds: i64,
    /// Longest round trip from the leader to another member, rounded up to a power of two; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_peer_rtt_milliseconds: Option<i64>,
}

/// How small `spec.storage.size` may become, and which volumes are still growing.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// The largest size that a volume was asked for and has, or `spec.storage.size` where that is smaller.
    #[schemars(length(min = 1, max = 32))]
    pub min_capacity: String,
    /// Volume claims that do not yet have the size that they were asked for.
    pub resizing: Vec<String>,
}

/// The operation in the latch.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// A ULID: it sorts by when the operation began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 26))]
    pub id: Option<String>,
    /// ScaleOut, ScaleIn or Replace.
    #[serde(rename = "type")]
    pub kind: String,
    /// Pod of the member that is added or removed.
    pub target: String,
    /// What is waited for or done next.
    pub step: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Until when it shall have come to its next stage. Over it the condition Stalled is true with reason OperationOverdue, and the
    /// operation goes on being tried; a next stage has a deadline of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Disks that a joining member began on; more than 1 when the disk of its pod was replaced before it was a member.
    #[serde(default)]
    pub attempt: i32,
    pub message: String,
}

/// One member of the configuration, or one pod that wants to become one.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of the pod and of the member.
    pub name: String,
    /// In 16 hex digits; absent before it is added.
    #[serde(rename = "memberID", default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    /// Leader, Follower, Candidate, Learner, or the phase of a member that does not take part.
    pub role: String,
    pub voter: bool,
    pub ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Entries behind the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_lag: Option<i64>,
    /// Round trip from the leader, rounded up to a power of two; absent on the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_milliseconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_size_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_in_use_bytes: Option<i64>,
    /// Node that its pod was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of its volume claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<String>,
    /// Name of the volume claim of its write-ahead log, where that has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_pvc: Option<String>,
    /// Capacity of its volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// Revision of the StatefulSet that its pod was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_hash: Option<String>,
    /// The CA bundles that it has in force: the first 16 hex digits of the sha256 of two lines, the sha256 in hex of the file for peers
    /// and that for clients (an empty line where there is none). Equal on members that trust the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_hash: Option<String>,
    /// Why the member is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A certificate of the operator's making.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Name of the Secret.
    pub name: String,
    pub not_after: Time,
    /// From when on the operator makes a new one.
    pub renew_at: Time,
}
