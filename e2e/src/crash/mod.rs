//! Crashes of real servers: processes killed with SIGKILL and disks that lose their power, under load, and a checker that
//! knows every acknowledged write.
//!
//! `kill -9` keeps the page cache, so a store that never syncs passes it; a power cut of a disk of its own (an ext4 image
//! on a loop mount, shut down without a flush) loses what was not synced, and a server without fdatasync must fail it. A file system
//! that turns read-only leaves the server alive on a disk that takes nothing more: it must end by itself and say why.
//!
//! Chaos (`crate::chaos`) runs its members on the same [`disk`], [`namespace`], [`process`] and [`workspace`].
//!
//! Reading order: [`rounds`] (one run: load, faults, check), [`cluster`], [`member`], [`process`], [`disk`], [`load`], [`checker`].

pub mod checker;
pub mod cluster;
pub mod disk;
mod error;
pub mod load;
pub mod member;
pub mod namespace;
pub mod process;
pub mod rounds;
pub mod workspace;

pub use error::Error;
pub use rounds::{Fault, Plan, Report, run};
