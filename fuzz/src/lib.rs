//! Fuzz targets: one function for each decoder of bytes that come from a disk, a peer or a person. A function gets any bytes and
//! panics when the decoder breaks a promise: it never panics, never believes a length that it has not checked, and what it accepts
//! it encodes to bytes that mean the same.
//!
//! `make fuzz` runs them under libFuzzer; `tests/targets.rs` runs them over their seeds and a fixed set of mutations.

mod commands;
mod log;
mod people;
mod rows;
mod snapshots;
mod wire;

/// A decoder under test.
pub struct Target {
    pub name: &'static str,
    /// What it reads, in a few words.
    pub reads: &'static str,
    pub run: fn(&[u8]),
    /// Inputs that the real encoders made.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target, by name.
pub const TARGETS: [Target; 11] = [
    Target { name: "apply", reads: "batches of commands, applied", run: commands::apply, seeds: commands::seeds },
    Target { name: "arguments", reads: "flags and environment", run: people::arguments, seeds: people::argument_seeds },
    Target { name: "change", reads: "membership changes", run: commands::change, seeds: commands::change_seeds },
    Target { name: "commands", reads: "batches of commands", run: commands::batch, seeds: commands::seeds },
    Target { name: "frame", reads: "peer frames, raft messages", run: wire::frame, seeds: wire::frame_seeds },
    Target { name: "hello", reads: "peer handshakes", run: wire::hello, seeds: wire::hello_seeds },
    Target { name: "manifest", reads: "snapshot manifests, chunks", run: snapshots::run, seeds: snapshots::seeds },
    Target { name: "member", reads: "member-local files", run: people::member_file, seeds: people::member_seeds },
    Target { name: "rows", reads: "rows of the database", run: rows::run, seeds: rows::seeds },
    Target { name: "txn", reads: "transactions as text", run: people::transaction, seeds: people::transaction_seeds },
    Target { name: "wal", reads: "WAL segments", run: log::run, seeds: log::seeds },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
