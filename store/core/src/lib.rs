//! The replicated state machine and the raft driver as values in, values out.
//!
//! Reading order: `log` and `command` (what is replicated), `node` and `replica` (how it becomes committed, in which order effects
//! happen), `apply` and `mvcc` (what a committed command does), `lease`, `membership`, `watch`, `backend` (what storage must offer).
//!
//! Invariant: nothing here does I/O, reads a clock, draws randomness, spawns threads or awaits. The manifest shows it.

pub mod apply;
pub mod backend;
pub mod command;
pub mod feature;
pub mod integrity;
pub mod lease;
pub mod log;
pub mod membership;
pub mod memory;
pub mod mvcc;
pub mod node;
pub mod replica;
pub mod validate;
pub mod wal_format;
pub mod watch;
