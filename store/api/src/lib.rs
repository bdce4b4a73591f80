//! The wire contract of Quorate: etcd's v3 messages and services, `quorate.v1.Admin`, gRPC health, and the one table of
//! errors. Generated from `proto/`; names, numbers and types there are etcd's, so any etcd client speaks to us.
//!
//! Rust names follow prost: `ID` becomes `id`, `peerURLs` `peer_ur_ls`, `dbSizeInUse` `db_size_in_use`. Every `bytes`
//! field is a `bytes::Bytes`, which decodes without a copy.
//! With `default-features = false` only messages and [`Error`] remain: no tonic, no async.

pub mod error;

pub use error::{Code, Error};

/// The whole client surface: KV, Watch, Lease, Cluster, Maintenance and Auth.
#[allow(clippy::all)]
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

/// Keys with their values, and events.
#[allow(clippy::all)]
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

/// Users, roles and permissions.
#[allow(clippy::all)]
pub mod authpb {
    include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
}

/// Membership as etcd's raft log carries it.
#[allow(clippy::all)]
pub mod membershippb {
    include!(concat!(env!("OUT_DIR"), "/membershippb.rs"));
}

/// Leases as etcd stores them.
#[allow(clippy::all)]
pub mod leasepb {
    include!(concat!(env!("OUT_DIR"), "/leasepb.rs"));
}

/// The lock service.
#[allow(clippy::all)]
pub mod v3lockpb {
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
}

/// The election service.
#[allow(clippy::all)]
pub mod v3electionpb {
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
}

/// `quorate.v1`: what the operator needs of a member beyond etcd's surface.
#[allow(clippy::all)]
pub mod admin {
    include!(concat!(env!("OUT_DIR"), "/quorate.v1.rs"));
}

/// `grpc.health.v1`.
#[allow(clippy::all)]
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}
