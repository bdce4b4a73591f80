//! The resident memory of a member's process over a time, looked at again and again.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::cluster::Cluster;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Resident memory in MiB: before, and at most while the follower came back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub before: u64,
    pub peak: u64,
}

/// Follows the resident memory of one process.
pub(super) struct MemoryWatch {
    before: u64,
    peak: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl MemoryWatch {
    pub fn start(cluster: &Cluster, member: usize) -> MemoryWatch {
        let process = cluster.members[member].process_id();
        let before = process.map_or(0, resident_mib);
        let peak = Arc::new(AtomicU64::new(before));
        let seen = Arc::clone(&peak);
        let task = tokio::spawn(async move {
            while let Some(process) = process {
                seen.fetch_max(resident_mib(process), Ordering::Relaxed);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        MemoryWatch { before, peak, task }
    }

    pub fn end(self) -> Memory {
        self.task.abort();
        Memory { before: self.before, peak: self.peak.load(Ordering::Relaxed) }
    }
}

fn resident_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1_024
}
