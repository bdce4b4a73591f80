//! What one group commit costs: `scripts/cargo bench -p quorate --bench wal [-- DIRECTORY]`. Prints the latency of appending a group
//! with one entry of 300 bytes, with and without the sync, on the file system of DIRECTORY (default: the system's temporary one).

#![allow(clippy::unwrap_used, reason = "a bench stops at the first error")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate::wal::{Options, Wal};
use quorate_core::log::{Entry, EntryKind, HardState};
use quorate_core::wal_format::Group;

const GROUPS: u64 = 3000;
const ENTRY_BYTES: usize = 300;

fn main() {
    let parent = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .map_or(std::env::temp_dir(), PathBuf::from);
    println!("{:<10} {:>9} {:>9} {:>9} {:>9}", "sync", "mean µs", "p50 µs", "p99 µs", "max µs");
    for fsync in [true, false] {
        let directory = parent.join(format!("quorate-bench-wal-{}", std::process::id()));
        let mut latencies = append(&directory, fsync);
        std::fs::remove_dir_all(&directory).unwrap();
        latencies.sort_unstable();
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_micros();
        let mean = latencies.iter().sum::<Duration>().as_micros() / latencies.len() as u128;
        println!("{:<10} {mean:>9} {:>9} {:>9} {:>9}", fsync, at(50), at(99), at(100));
    }
}

fn append(directory: &Path, fsync: bool) -> Vec<Duration> {
    let options = Options { fsync, ..Options::new([1; 16]) };
    let (mut wal, _) = Wal::open(directory, options, 0).unwrap();
    let append = |index| {
        let entries = [Entry { index, term: 1, kind: EntryKind::Normal, data: vec![7; ENTRY_BYTES].into() }];
        let hard_state = Some(HardState { term: 1, vote: 1, commit: index - 1 });
        let begun = Instant::now();
        wal.append(Group { number: index, commit: index - 1, hard_state, entries: &entries, marker: None }).unwrap();
        begun.elapsed()
    };
    (1..=GROUPS).map(append).collect()
}
