//! Side-by-side measurements of Quorate and a real etcd: both servers are started here in turn, with the same flags on the
//! same disk, and loaded by the same lean client.
//!
//! Reading order: [`arguments`] says what to run, [`run`] alternates the servers, [`server`] is one process of either,
//! [`loader`] drives it over [`grpc`] with the requests of [`workload`], [`process`] reads what it cost, [`summary`] makes
//! medians and ratios of the rounds with [`statistics`], and [`page`] and [`table`] show them with the facts of [`machine`].

pub mod arguments;
pub mod error;
pub mod grpc;
pub mod loader;
pub mod machine;
pub mod page;
pub mod process;
pub mod run;
pub mod server;
pub mod statistics;
pub mod summary;
pub mod table;
pub mod workload;

pub use error::{Error, Result};
