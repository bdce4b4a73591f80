//! What waits for the driver's thread: a queue that anyone fills and the driver drains whole, with a wait until the next tick.
//!
//! Bounded in items and in bytes, clients and peers each on an account of their own, so that neither keeps the other out: a proposal
//! that finds no room is refused, a peer's connection waits, and so holds the peer back. The driver takes everything at once, into
//! `node`'s own bounds. What this member's threads report is never refused: each has one thing under way. Reads are a number and
//! not items.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_core::node::Event;
use tokio::sync::oneshot;

use quorate_core::integrity::Report;
use quorate_core::membership::Membership;
use quorate_core::replica::Progress;

use crate::store::Timers;

/// Who fills the inbox from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Clients,
    Peers,
}

/// What one source may have waiting. Something larger than `bytes` waits only alone.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub items: usize,
    pub bytes: usize,
}

/// A quarter of the items and half of the bytes that `node`'s queue of proposals holds: what may come while the driver is in one turn.
const CLIENTS_MAX: Bounds = Bounds { items: 16_384, bytes: 64 << 20 };
/// As many bytes as a member keeps for one of its peers (`peer/queue`); the rest waits there.
const PEERS_MAX: Bounds = Bounds { items: 16_384, bytes: 64 << 20 };

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
    /// Keep this member out of raft, or let it in again; answers whether it was leaderless (`Node::is_leaderless`).
    Fence {
        fenced: bool,
        done: oneshot::Sender<bool>,
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
    /// `Node::is_leaderless`.
    pub leaderless: bool,
    pub integrity: Report,
}

/// The state that replaced this member's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub index: u64,
    pub revision: i64,
}

/// What became of an event that was offered.
#[derive(Debug)]
pub enum Offered {
    Taken,
    /// There is no room now; it is given back.
    Full(Event),
    /// The driver has stopped.
    Closed,
}

/// What one source has waiting.
#[derive(Debug, Clone, Copy)]
struct Account {
    max: Bounds,
    items: usize,
    bytes: usize,
}

impl Account {
    fn new(max: Bounds) -> Account {
        Account { max, items: 0, bytes: 0 }
    }

    /// Counts it, or says no.
    fn admit(&mut self, bytes: usize) -> bool {
        let fits = self.items < self.max.items && self.bytes.saturating_add(bytes) <= self.max.bytes;
        let admitted = fits || self.items == 0;
        if admitted {
            self.items += 1;
            self.bytes += bytes;
        }
        admitted
    }
}

struct State {
    items: Vec<Input>,
    clients: Account,
    peers: Account,
    /// Highest token of a linearizable read that was asked for.
    read_token: u64,
    closed: bool,
}

/// See the module. Shared by all threads.
pub struct Inbox {
    state: Mutex<State>,
    filled: Condvar,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox::bounded(CLIENTS_MAX, PEERS_MAX)
    }
}

/// What the driver got.
pub struct Drained {
    pub items: Vec<Input>,
    pub read_token: u64,
}

impl Inbox {
    pub(crate) fn bounded(clients: Bounds, peers: Bounds) -> Inbox {
        let (clients, peers) = (Account::new(clients), Account::new(peers));
        let state = State { items: Vec::new(), clients, peers, read_token: 0, closed: false };
        Inbox { state: Mutex::new(state), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic anywhere ends the process, so a poisoned lock is never seen by a healthy one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what this member itself reports or asks. Returns false when the driver has stopped.
    pub fn push(&self, input: Input) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        self.add(&mut state, input);
        true
    }

    /// Takes what came from outside and holds about so many bytes, if its source has room.
    pub fn offer(&self, source: Source, event: Event, bytes: usize) -> Offered {
        let mut state = self.lock();
        if state.closed {
            return Offered::Closed;
        }
        let account = match source {
            Source::Clients => &mut state.clients,
            Source::Peers => &mut state.peers,
        };
        if !account.admit(bytes) {
            return Offered::Full(event);
        }
        self.add(&mut state, Input::Event(event));
        Offered::Taken
    }

    fn add(&self, state: &mut State, input: Input) {
        state.items.push(input);
        if state.items.len() == 1 {
            self.filled.notify_one();
        }
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
        (state.clients, state.peers) = (Account::new(state.clients.max), Account::new(state.peers.max));
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

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Bounds = Bounds { items: 3, bytes: 100 };

    fn offer(inbox: &Inbox, source: Source, bytes: usize) -> bool {
        match inbox.offer(source, Event::Tick, bytes) {
            Offered::Taken => true,
            Offered::Full(event) => {
                assert!(matches!(event, Event::Tick), "it is given back");
                false
            }
            Offered::Closed => panic!("the inbox is open"),
        }
    }

    fn drain(inbox: &Inbox) -> usize {
        inbox.drain(Instant::now(), 0).items.len()
    }

    #[test]
    fn each_source_has_its_own_bounds_in_items_and_in_bytes_until_the_driver_takes_all() {
        for source in [Source::Clients, Source::Peers] {
            let inbox = Inbox::bounded(FEW, FEW);
            let other = if source == Source::Clients { Source::Peers } else { Source::Clients };
            assert!(offer(&inbox, source, 60) && offer(&inbox, source, 40), "100 bytes fit");
            assert!(!offer(&inbox, source, 1), "not one byte more");
            assert!(offer(&inbox, source, 0) && !offer(&inbox, source, 0), "nor a fourth item");
            assert!(offer(&inbox, other, 100), "the other is not kept out");
            assert!(inbox.push(Input::Stop), "and what this member reports is always taken");
            assert_eq!(drain(&inbox), 5);
            assert!(offer(&inbox, source, 100) && offer(&inbox, other, 100), "there is room again");
        }
    }

    #[test]
    fn what_is_larger_than_the_bound_waits_alone() {
        let inbox = Inbox::bounded(FEW, FEW);
        assert!(offer(&inbox, Source::Peers, 1_000) && !offer(&inbox, Source::Peers, 1));
        assert_eq!(drain(&inbox), 1);
        assert!(offer(&inbox, Source::Peers, 1) && !offer(&inbox, Source::Peers, 1_000));
    }

    #[test]
    fn a_closed_inbox_takes_nothing() {
        let inbox = Inbox::default();
        inbox.close();
        assert!(!inbox.push(Input::Stop));
        assert!(matches!(inbox.offer(Source::Clients, Event::Tick, 1), Offered::Closed));
    }
}
