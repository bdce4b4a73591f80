//! quoratectl: etcdctl's commands, flags, texts and exit codes, so that what drives etcd drives Quorate. The program is
//! this library and nothing else; [`client`] is for other crates as well.
//!
//! Reading order: `flags` (how arguments are read), `settings` (the global flags and their environment), `commands` (the
//! table of commands), `command` (what each does), `render` (what each prints), `go` (Go's way of writing values).

pub mod client;
pub mod command;
pub mod commands;
pub mod error;
pub mod flags;
pub mod go;
pub mod program;
pub mod render;
pub mod settings;
pub mod txn;

pub use error::Error;
