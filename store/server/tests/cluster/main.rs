//! Clusters of real members: founded by flags or by the operator's calls, grown and shrunk, killed and caught up.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

mod admission;
mod alarms;
mod auto_tls;
mod corruption;
mod disk_full;
mod faults;
mod formats;
#[path = "../common/handshake.rs"]
mod handshake;
mod joint;
mod live;
mod member;
mod peer_metrics;
#[path = "../common/ports.rs"]
mod ports;
mod recover;
mod refusals;
mod refused;
mod reload_tls;
mod small_disk;
mod unknown_leader;
