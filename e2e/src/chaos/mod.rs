//! Chaos on real processes: 3 or 5 members, each in a network namespace and on a disk of its own, under load and under faults
//! that are drawn from a seed; everything that clients saw is judged by `crate::history`.
//!
//! Reading order: [`plan`] (what is drawn), [`run`] (one run), [`clients`] (its thread), [`cluster`] and [`member`] (what stands), [`switch`] (the
//! network), [`nemesis`] (what a fault does), [`load`], [`keeper`], [`watchers`], [`recorder`] (who sees what), [`report`]. Beside it, measured and not
//! judged: [`catch_up`], [`cut_off`] and [`liveness`].

mod board;
pub mod catch_up;
mod clients;
pub mod cluster;
pub mod cut_off;
mod endpoints;
mod error;
pub mod hours;
mod keeper;
pub mod liveness;
mod load;
pub mod member;
mod memory;
mod meter;
mod nemesis;
pub mod plan;
mod processors;
mod recorder;
mod report;
mod run;
mod slow_disk;
mod stream;
mod switch;
mod tls;
mod watchers;
mod wire;

pub use error::Error;
pub use nemesis::Tally;
pub use plan::{Kind, Plan};
pub use report::Report;
pub use run::run;
