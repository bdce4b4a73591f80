//! What the parts of a run tell each other while it goes on: the time, the newest revision, how far the history is recorded,
//! what is compacted, and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Cheap to clone: one board a run.
#[derive(Clone)]
pub struct Board {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    newest: AtomicI64,
    recorded: AtomicI64,
    compacted: AtomicI64,
    values: AtomicU64,
    stop: watch::Sender<bool>,
}

impl Board {
    pub fn new() -> Board {
        let (stop, _) = watch::channel(false);
        let (newest, recorded, compacted) = (AtomicI64::new(1), AtomicI64::new(1), AtomicI64::new(0));
        let shared = Shared { started: Instant::now(), newest, recorded, compacted, values: AtomicU64::new(0), stop };
        Board { shared: Arc::new(shared) }
    }

    /// Time since the start of the run; all records of it use this clock.
    pub fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// The highest revision that any client has seen.
    pub fn newest(&self) -> i64 {
        self.shared.newest.load(Ordering::Relaxed)
    }

    pub fn saw(&self, revision: i64) {
        self.shared.newest.fetch_max(revision, Ordering::Relaxed);
    }

    /// The history is recorded up to this revision.
    pub fn recorded(&self) -> i64 {
        self.shared.recorded.load(Ordering::Relaxed)
    }

    pub fn record(&self, revision: i64) {
        self.shared.recorded.fetch_max(revision, Ordering::Relaxed);
    }

    /// A compaction up to this revision was asked for.
    pub fn compacted(&self) -> i64 {
        self.shared.compacted.load(Ordering::Relaxed)
    }

    pub fn compact(&self, revision: i64) {
        self.shared.compacted.fetch_max(revision, Ordering::Relaxed);
    }

    /// A number that no other value of the run has.
    pub fn unique(&self) -> u64 {
        self.shared.values.fetch_add(1, Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.shared.stop.borrow()
    }

    /// Waits until the end of the load.
    pub async fn stopped(&self) {
        // The sender lives as long as this value.
        let _ = self.shared.stop.subscribe().wait_for(|stopped| *stopped).await;
    }
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}
