//! The API group `quorate.io/v1alpha1`: types, schema and validation rules of `QuorateCluster`.
//!
//! The spec is intent only and the operator never writes it; defaults live in the schema, so what `kubectl get` shows is
//! what the operator acts on. `schema` renders the CRD that `crdgen` writes to `crds/`.

pub mod cluster;
pub mod pods;
pub mod raft;
pub mod schema;
pub mod status;
pub mod storage;
pub mod tls;

pub use cluster::{ImageSpec, LimitsSpec, PullPolicy, QuorateCluster, QuorateClusterSpec};
pub use pods::PodsSpec;
pub use raft::{RaftProfile, RaftSpec};
pub use status::{MemberStatus, OperationStatus, QuorateClusterStatus};
pub use storage::{StorageRetention, StorageSpec, VolumePolicy, WalStorageSpec};
pub use tls::{TlsMode, TlsSpec};

/// API group of every kind of this operator.
pub const GROUP: &str = "quorate.io";
/// Kept on a cluster while volumes, the latch or certificate authorities have to be dealt with before it goes.
pub const FINALIZER: &str = "quorate.io/cluster";
/// Label on every child: the name of its `QuorateCluster`.
pub const LABEL_CLUSTER: &str = "quorate.io/cluster";
/// Set by the user to the cluster id of retained disks that this `QuorateCluster` shall take over.
pub const ANNOTATION_ADOPT: &str = "quorate.io/adopt";
/// Set by the user to `true` to stop every mutation; status is still refreshed.
pub const ANNOTATION_PAUSED: &str = "quorate.io/paused";
/// Set by the user to `true` to let `tls.peer.mode: Disabled` through.
pub const ANNOTATION_PLAINTEXT_PEERS: &str = "quorate.io/allow-plaintext-peers";
/// On a volume claim: cluster id (16 hex digits) of the cluster whose member lives on it.
pub const ANNOTATION_CLUSTER_ID: &str = "quorate.io/cluster-id";
/// On a volume claim: member id (16 hex digits) that its disk was added for.
pub const ANNOTATION_MEMBER_ID: &str = "quorate.io/member-id";
/// On a volume claim: disk id that the member's directory was born with.
pub const ANNOTATION_DISK_ID: &str = "quorate.io/disk-id";
