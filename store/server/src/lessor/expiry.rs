//! The leader's task that proposes the end of leases whose time is over.

use std::time::Duration;

use quorate_core::command::{Expiry, Request};
use quorate_core::lease::Due;
use quorate_core::log::Term;
use tokio::task::JoinSet;

use super::{Lessor, now_ms};
use crate::store::Store;

/// How long the task sleeps at most while this member leads. Its timer stands still while the machine is suspended and the
/// clock of leases does not, so this is what a suspension adds to the lateness of an expiry.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Leases that expire within this time go together, so that many small ones share an entry and a sync.
const LOOK_NOT_BEFORE: Duration = Duration::from_millis(20);

/// Expiries that are proposed and not yet applied. The driver makes few entries out of them.
const IN_FLIGHT_MAX: usize = 4096;

/// How long an expiry whose outcome is unknown, or leadership that could not be confirmed, waits to be tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

impl Lessor {
    /// Runs until the lessor is stopped.
    pub async fn run(self, store: Store) {
        let stopped = self.0.stopped.clone();
        tokio::select! {
            () = stopped.cancelled() => {}
            () = self.expire_forever(store) => {}
        }
    }

    async fn expire_forever(self, store: Store) {
        let mut in_flight = JoinSet::new();
        loop {
            while in_flight.try_join_next().is_some() {}
            if in_flight.len() > IN_FLIGHT_MAX / 2 {
                // Half of the places are awaited, so that a confirmation of leadership serves many expiries.
                in_flight.join_next().await;
                continue;
            }
            let Some(sleep) = self.until_next_look() else {
                self.0.promoted.notified().await;
                continue;
            };
            tokio::time::sleep(sleep).await;
            let due = self.lock().leases.due(now_ms(), IN_FLIGHT_MAX - in_flight.len());
            if due.is_empty() {
                continue;
            }
            let Ok(term) = store.confirm_leadership().await else {
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            };
            let begun = self.lock().leases.begin_expiry(now_ms(), term, due);
            for due in begun {
                in_flight.spawn(self.clone().propose(store.clone(), term, due));
            }
        }
    }

    /// `None` while this member does not lead.
    fn until_next_look(&self) -> Option<Duration> {
        let state = self.lock();
        state.leases.term()?;
        let next_ms = state.leases.next_due_ms().map(|next_ms| next_ms.saturating_sub(now_ms()));
        let sleep = next_ms.map_or(LOOK_EVERY, Duration::from_millis);
        Some(sleep.clamp(LOOK_NOT_BEFORE, LOOK_EVERY))
    }

    /// Proposes one expiry until it has an outcome. Proposing it again is harmless: it names the lease by its grant, and the
    /// term in which alone it has effect.
    async fn propose(self, store: Store, term: Term, due: Due) {
        let expiry = Some(Expiry { grant_index: due.grant_index, term });
        while self.waits_for_outcome(term, due) {
            match store.propose(Request::LeaseRevoke { id: due.id, expiry }).await {
                Ok(_) if !self.waits_for_outcome(term, due) => {
                    store.metrics().lease.expired.inc();
                    return;
                }
                Ok(_) => tracing::warn!(lease = due.id, term, "an expiry had no effect, trying again"),
                Err(error) => tracing::warn!(lease = due.id, term, %error, "cannot propose an expiry, trying again"),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    fn waits_for_outcome(&self, term: Term, due: Due) -> bool {
        self.lock().leases.awaits_outcome(term, due)
    }
}
