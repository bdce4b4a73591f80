//! The RPCs of a running server, asked by a real client: beside a real etcd, which must answer the same, and alone where the two
//! differ on purpose or etcd cannot be brought into the state.
#![allow(clippy::unwrap_used)]

mod alone;
mod beside_etcd;
mod client;
mod flags;
mod metrics;
#[path = "../common/ports.rs"]
mod ports;
mod process;
mod raw;
mod stream_failures;
mod tls;
