//! One budget of memory for what others make this member hold: requests in flight, answers being built and sent, events that wait for
//! slow watchers, frames that wait for peers.
//!
//! What is under way is only counted, never cut off half-way; when the budget is full, new requests are refused (`rpc/router`) and
//! streams take no more events (`watch_hub`): they read them from the log later. So it is passed by what was admitted before, at most.
//! What has a bound of its own and does not grow with clients is not counted: RocksDB, the log's tail, the ring of recent events.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The default is this part of the memory that the process may use: the rest is RocksDB's, the page cache's and everybody else's.
const DEFAULT_PART: usize = 4;
/// The default on the smallest machine.
const DEFAULT_BYTES_MIN: usize = 64 << 20;

/// Who holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Requests,
    Answers,
    Watches,
    Peers,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Requests, Part::Answers, Part::Watches, Part::Peers];

    /// Its label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Part::Requests => "requests",
            Part::Answers => "answers",
            Part::Watches => "watches",
            Part::Peers => "peers",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    charged: [AtomicUsize; Part::ALL.len()],
    refused: AtomicU64,
}

impl Budget {
    /// `bytes_max` 0 = the default of this machine.
    pub fn new(bytes_max: usize) -> Arc<Budget> {
        let bytes_max = if bytes_max == 0 { default_bytes(Path::new("/")) } else { bytes_max };
        Arc::new(Budget { bytes_max, charged: Default::default(), refused: AtomicU64::new(0) })
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that a part holds now.
    pub fn charged(&self, part: Part) -> usize {
        self.charged[part as usize].load(Ordering::Relaxed)
    }

    pub fn is_full(&self) -> bool {
        Part::ALL.into_iter().map(|part| self.charged(part)).sum::<usize>() >= self.bytes_max
    }

    /// Whether something new may begin; what is refused is counted.
    pub fn admits(&self) -> bool {
        let admits = !self.is_full();
        if !admits {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// What was refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts these bytes until the charge is dropped.
    pub fn charge(self: &Arc<Self>, part: Part, bytes: usize) -> Charge {
        self.charged[part as usize].fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), part, bytes: AtomicUsize::new(bytes) }
    }
}

/// Bytes that are counted as long as this lives.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    part: Part,
    bytes: AtomicUsize,
}

impl Charge {
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.charged[self.part as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// From now on so many.
    pub fn set(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        let total = &self.budget.charged[self.part as usize];
        total.fetch_add(bytes, Ordering::Relaxed);
        total.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A quarter of what the machine has or the control group allows, whatever is less.
fn default_bytes(root: &Path) -> usize {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let limit = |path: &str| read(path)?.trim().parse::<usize>().ok();
    let installed = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib.saturating_mul(1024))
    });
    let allowed =
        ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"].into_iter().find_map(limit);
    let usable = [installed, allowed].into_iter().flatten().min().unwrap_or(0);
    (usable / DEFAULT_PART).max(DEFAULT_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_admits_nothing_new_until_a_charge_ends() {
        let budget = Budget::new(100);
        let request = budget.charge(Part::Requests, 60);
        assert!(budget.admits());
        // What is under way is counted beyond the bound, not cut off.
        let answer = budget.charge(Part::Answers, 30);
        answer.add(20);
        assert_eq!((budget.charged(Part::Requests), budget.charged(Part::Answers)), (60, 50));
        assert!(!budget.admits() && !budget.admits());
        assert_eq!(budget.refused(), 2);
        answer.set(39);
        assert!(budget.admits(), "99 of 100");
        drop(request);
        drop(answer);
        assert_eq!(Part::ALL.map(|part| budget.charged(part)), [0; 4]);
    }

    #[test]
    fn the_default_is_a_quarter_of_the_least_that_limits_the_process() {
        let gib = 1usize << 30;
        for (files, expected) in [
            (vec![], DEFAULT_BYTES_MIN),
            (vec![("proc/meminfo", "MemFree: 1 kB\nMemTotal:        8388608 kB\n")], 2 * gib),
            (vec![("proc/meminfo", "MemTotal: 8388608 kB\n"), ("sys/fs/cgroup/memory.max", "max\n")], 2 * gib),
            (vec![("proc/meminfo", "MemTotal: 8388608 kB\n"), ("sys/fs/cgroup/memory.max", "4294967296\n")], gib),
            (vec![("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n")], DEFAULT_BYTES_MIN),
        ] {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in &files {
                let path = root.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            assert_eq!(default_bytes(root.path()), expected, "{files:?}");
        }
    }
}
