//! The leases of this member: the driver tells of grants and revocations, a leader's task proposes what expires, and
//! renewals are answered from memory once leadership is confirmed (`store/README.md`, "Leases"). The times themselves are
//! kept by `quorate_core::lease`.
//!
//! Invariant: nothing is renewed or proposed without a confirmation of leadership, in the very term of this lessor, that began
//! after the request for it: a leader that was stopped must not promise what its successor never saw.

mod clock;
mod expiry;
mod renewal;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_core::apply::LeaseChange;
use quorate_core::lease::{Leases, minimum_ttl_s};
use quorate_core::log::{Index, Term};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use clock::now_ms;

/// What a client asked about a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeToLive {
    /// Whole seconds left; −1 = no such lease.
    pub ttl_seconds: i64,
    pub granted_seconds: i64,
    /// Those attached to it, if asked for.
    pub keys: Vec<bytes::Bytes>,
}

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Lessor(Arc<Shared>);

struct Shared {
    minimum_ttl_s: AtomicI64,
    state: Mutex<State>,
    /// Wakes the expiry task: this member leads now.
    promoted: Notify,
    stopped: CancellationToken,
}

#[derive(Default)]
struct State {
    leases: Leases,
    /// Who waits for the outcome of a proposed expiry, by lease. Dropping a sender wakes.
    waiting: HashMap<i64, Vec<oneshot::Sender<()>>>,
}

impl Lessor {
    /// A lessor that knows these leases, as (id, TTL in seconds, raft index of the grant).
    pub fn new(leases: impl IntoIterator<Item = (i64, i64, Index)>, election_timeout: Duration) -> Lessor {
        let lessor = Lessor(Arc::new(Shared {
            minimum_ttl_s: AtomicI64::new(0),
            state: Mutex::default(),
            promoted: Notify::new(),
            stopped: CancellationToken::new(),
        }));
        lessor.set_election_timeout(election_timeout);
        lessor.reset(leases);
        lessor
    }

    /// Grants from now on get at least what outlives an election by this timeout.
    pub fn set_election_timeout(&self, election_timeout: Duration) {
        let milliseconds = u64::try_from(election_timeout.as_millis()).unwrap_or(u64::MAX);
        self.0.minimum_ttl_s.store(minimum_ttl_s(milliseconds), Ordering::Relaxed);
    }

    /// The driver's: the store was replaced by a snapshot that holds these leases. Not on a leader.
    pub fn reset(&self, leases: impl IntoIterator<Item = (i64, i64, Index)>) {
        let now_ms = now_ms();
        let mut known = Leases::default();
        leases.into_iter().for_each(|(id, ttl_seconds, index)| known.grant(now_ms, id, ttl_seconds, index));
        let mut state = self.lock();
        assert_eq!(state.leases.term(), None, "a leader installs no snapshot");
        state.leases = known;
    }

    /// The driver's: these changes were applied, in order; before whoever waits for them is answered.
    pub fn apply(&self, changes: &[LeaseChange]) {
        if changes.is_empty() {
            return;
        }
        let now_ms = now_ms();
        let mut state = self.lock();
        for change in changes {
            match *change {
                LeaseChange::Granted { id, ttl_seconds, grant_index } => {
                    state.leases.grant(now_ms, id, ttl_seconds, grant_index);
                }
                LeaseChange::Revoked { id } => {
                    state.leases.revoke(id);
                    state.waiting.remove(&id);
                }
            }
        }
    }

    /// The driver's: this member leads `term` and has applied an entry of it. `leases` are all there are.
    pub fn promote(
        &self,
        term: Term,
        leases: impl ExactSizeIterator<Item = (i64, i64, Index)>,
        election_timeout: Duration,
    ) {
        let extend_ms = u64::try_from(election_timeout.as_millis()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        // They are not walked: every grant and revocation was followed.
        assert_eq!(state.leases.len(), leases.len(), "the lessor knows every lease that is applied");
        state.leases.promote(now_ms(), term, extend_ms);
        state.waiting.clear();
        drop(state);
        self.0.promoted.notify_one();
    }

    /// The driver's: this member does not lead any more.
    pub fn demote(&self) {
        let mut state = self.lock();
        state.leases.demote();
        state.waiting.clear();
    }

    /// Ends the expiry task and the streams of renewals, as when the server stops.
    pub fn stop(&self) {
        self.0.stopped.cancel();
    }

    /// Completes when the lessor was stopped.
    pub async fn stopped(&self) {
        self.0.stopped.cancelled().await;
    }

    /// The least TTL that is granted.
    pub fn minimum_ttl_s(&self) -> i64 {
        self.0.minimum_ttl_s.load(Ordering::Relaxed)
    }

    /// The ids of all leases by the time they have left; where that is not known (on a follower) by their TTL.
    pub fn list(&self) -> Vec<i64> {
        let mut rows = self.lock().leases.list();
        rows.sort_unstable();
        rows.into_iter().map(|row| row.id).collect()
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.lock().leases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the process; until then what the lock holds is as good as it was.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
