//! The quorate server: thin shells around quorate-core.
//!
//! Reading order: `member` (a member's life, where everything is wired), `driver` (the thread that asks `core/node` what to do, and does
//! it), `store` (the handle of every RPC), `inbox` and `waiters` (how requests reach the driver and answers their callers), `wal`,
//! `backend`, `directory` and `snapshot` (what is on disk), `peer` (other members), `watch_hub` and `lessor`, then the surface: `rpc`,
//! `http`, `listen`, `tls`, `memory` (the one budget of what clients make a member hold), `metrics`, `logging`, `config`.

pub mod backend;
pub mod config;
pub mod directory;
pub mod driver;
pub mod http;
pub mod inbox;
pub mod integrity;
pub mod lessor;
pub mod listen;
pub mod logging;
pub mod member;
pub mod memory;
pub mod metrics;
pub mod peer;
pub mod reconfig;
pub mod rpc;
pub mod scrub;
pub mod slices;
pub mod snapshot;
pub mod store;
pub mod tls;
pub mod version;
pub mod waiters;
pub mod wal;
pub mod watch_hub;
