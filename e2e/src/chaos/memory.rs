//! The resident memory of a member's process over a time, looked at again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_harness::status::{self, Status};
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
        // A member that does not run has none.
        let before = process.and_then(|process| resident_mib(process).ok()).unwrap_or(0);
        let peak = Arc::new(AtomicU64::new(before));
        let seen = Arc::clone(&peak);
        let task = tokio::spawn(async move {
            while let Some(Ok(mib)) = process.map(resident_mib) {
                seen.fetch_max(mib, Ordering::Relaxed);
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

fn resident_mib(process: u32) -> Result<u64, status::Error> {
    Ok(Status::of(process)?.resident_bytes()? >> 20)
}
