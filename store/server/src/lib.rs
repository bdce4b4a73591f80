//! The quorate server: thin shells around quorate-core

pub mod config;
pub mod logging;
pub mod version;
pub mod tls;
pub mod wal;
pub mod backend;
pub mod directory;
pub mod http;
pub mod listen;
pub mod metrics;
pub mod rpc;
