//! What waits for the driver's thread: a queue that anyone fills and the driver drains whole, with a wait until the next tick.
//!
//! Bounded by its sources: proposals by `node`'s queue bounds (the driver drains faster than it applies), peer frames by one read
//! buffer a connection, reads by being a number and not items.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_core::node::Event;
use tokio::sync::oneshot;

use quorate_core::integrity::Report;
use quorate_core::membership::Membership;
use quorate_core::replica::Progress;

use crate::store::Timers;

/// Peer frames wait outside while more than this many items wait inside.
const ITEMS_HIGH: usize = 16_384;

/// One thing for the driver.
pub enum Input {
    Event(Event),
    /// The database is durable up to this index.
    Flushed {
        applied: u64,
    },
    /// The log cannot preallocate its next segments, and why; `None` = it can again.
    LogFull(Option<String>),
    /// The log or the database failed: the process ends.
    Failed(String),
    /// Asks for what only the driver knows.
    Inspect(oneshot::Sender<Inspection>),
    /// Sweep everything that is compacted now; answers with the bytes that a compaction of the database then reclaims.
    SweepAll(oneshot::Sender<u64>),
    /// Sweep until nothing that is compacted up to this revision is left; a caller that went away stops it.
    SweepTo {
        revision: i64,
        done: oneshot::Sender<()>,
    },
    /// The database was compacted: these bytes are free.
    Reclaimed {
        bytes: u64,
        done: oneshot::Sender<()>,
    },
    /// Raft's timers change.
    SetTimers {
        timers: Timers,
        done: oneshot::Sender<()>,
    },
    /// Keep this member out of raft, or let it in again.
    Fence {
        fenced: bool,
        done: oneshot::Sender<()>,
    },
    /// Replace this member's state by its leader's.
    Rebuild(oneshot::Sender<Rebuilt>),
    /// Shut down: hand leadership over if possible, flush, stop.
    Stop,
}

/// The driver's view at one instant.
#[derive(Debug, Clone)]
pub struct Inspection {
    pub membership: Membership,
    pub progress: Vec<Progress>,
    pub last_index: u64,
    pub integrity: Report,
}

/// The state that replaced this member's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub index: u64,
    pub revision: i64,
}

#[derive(Default)]
struct State {
    items: Vec<Input>,
    /// Highest token of a linearizable read that was asked for.
    read_token: u64,
    closed: bool,
}

/// See the module. Shared by all threads.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    filled: Condvar,
}

/// What the driver got.
pub struct Drained {
    pub items: Vec<Input>,
    pub read_token: u64,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic anywhere ends the process, so a poisoned lock is never seen by a healthy one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns false when the driver has stopped.
    pub fn push(&self, input: Input) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.items.push(input);
        if state.items.len() == 1 {
            self.filled.notify_one();
        }
        true
    }

    /// Whether a peer's reader should wait before it reads on.
    pub fn is_behind(&self) -> bool {
        self.lock().items.len() >= ITEMS_HIGH
    }

    /// Asks for a linearizable read point for `token` and all below.
    pub fn request_read(&self, token: u64) {
        let mut state = self.lock();
        if token > state.read_token {
            state.read_token = token;
            self.filled.notify_one();
        }
    }

    /// Takes everything, waiting until `deadline` for something to come. `seen_read` is the last token that was taken.
    pub fn drain(&self, deadline: Instant, seen_read: u64) -> Drained {
        let mut state = self.lock();
        while state.items.is_empty() && state.read_token == seen_read {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let items = std::mem::take(&mut state.items);
        Drained { items, read_token: state.read_token }
    }

    /// Whether the driver has stopped.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Nothing is taken any more.
    pub fn close(&self) {
        self.lock().closed = true;
    }
}
