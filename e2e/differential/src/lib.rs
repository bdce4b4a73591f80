//! The outside judge. It sends the same generated requests to a real etcd and to Quorate, and every answer, error text, header and
//! watch message must be the same, up to the rules of [`exceptions`].
//!
//! Reading order: [`step`] (a line of a sequence) with [`names`], [`generate`] (sequences from seeds), [`run`] (plays one) with
//! [`session`] (one side), [`watching`] (watch streams) and [`compare`]; [`coverage`] (what was reached), [`shrink`], [`corpus`]
//! (past findings) and [`suite`] (many sequences, until the time is over).

pub mod compare;
pub mod corpus;
pub mod coverage;
mod error;
pub mod exceptions;
pub mod facts;
pub mod generate;
pub mod names;
pub mod requests;
pub mod run;
pub mod server;
pub mod session;
pub mod shrink;
pub mod step;
pub mod stream;
pub mod suite;
pub mod watching;
pub mod wire;

pub use error::Error;
