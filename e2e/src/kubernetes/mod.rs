//! A real Kubernetes on one machine: kube-apiserver, controller manager and scheduler on a store of choice, and for each
//! node containerd, kubelet and kube-proxy, all in namespaces of their own. Faults are calls.
//!
//! ```text
//!  this machine's namespace        LAN namespace                    node namespaces (network + mounts)
//!  127.0.0.1:port  --relay-->  kube-apiserver  store           node1: containerd kubelet kube-proxy pods
//!  harness, tests              controller manager              node2: ...
//!                              scheduler  bridge lan0 --cables--
//! ```
//!
//! Invariant: whatever a cluster makes is in its folder, in its cgroup, or lives no longer than a process of its cgroup.
//! [`down`] therefore needs nothing but the folder's path.
//!
//! Reading order: [`Cluster`] (what tests call), `node` and `node_files`, `namespace`, `cgroup`, `cleanup`.

mod addons;
mod attached;
mod cgroup;
mod cleanup;
mod cluster;
mod control_plane;
mod error;
mod layout;
mod manifests;
mod namespace;
mod network;
mod node;
mod node_files;
mod pki;
mod process;
mod provisioner;
mod relay;
mod start;
mod state;
mod store;
mod tools;
mod volume;
mod wait;

pub use attached::Attached;
pub use cgroup::Cgroup;
pub use cleanup::down;
pub use cluster::{Cluster, NodeState};
pub use error::{Error, Result};
pub use layout::{Layout, node_address, node_name};
pub use manifests::apply;
pub use namespace::Inside;
pub use pki::write_secret;
pub use process::run;
pub use provisioner::STORAGE_CLASS;
pub use relay::{Dialer, Relay};
pub use start::{Builder, Progress};
pub use state::{Phase, State};
pub use store::Store;
pub use tools::{Tools, cache_folder, on_path, workspace_program};
pub use wait::Deadline;
