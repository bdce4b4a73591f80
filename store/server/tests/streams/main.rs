//! Watches and leases of running servers, by real clients: beside a real etcd, which must say the same, and alone on three
//! members whose leader is killed and stopped.
#![allow(clippy::unwrap_used)]

mod client;
mod cluster;
mod lease;
mod lease_cluster;
#[path = "../common/ports.rs"]
mod ports;
#[path = "../rpc/process.rs"]
#[allow(dead_code)]
mod process;
mod watch;
mod watch_cluster;
