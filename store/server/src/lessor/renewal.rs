//! Keep-alives and the time that is left: answered by the leader from memory, asked of it by the others.

use std::future::Future;
use std::time::Duration;

use quorate_api::Error;
use quorate_core::apply::attached_keys;
use quorate_core::lease::{Found, OtherTerm, Remaining};
use quorate_core::log::Term;
use tokio::sync::oneshot;

use super::{Lessor, State, TimeToLive, now_ms};
use crate::peer::{Call, Reply};
use crate::store::Store;

/// How long a request waits for a leader before it looks for one again, until its own time-out. Asking again is harmless:
/// nothing here is replicated.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

impl State {
    fn wait(&mut self, id: i64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let waiting = self.waiting.entry(id).or_default();
        waiting.retain(|other| !other.is_closed());
        waiting.push(sender);
        receiver
    }
}

impl Lessor {
    /// Renews a lease; its TTL in seconds, or 0 when there is none (any more).
    ///
    /// # Errors
    /// A time-out without a leader, or the server is stopping.
    pub async fn keep_alive(&self, store: &Store, id: i64) -> Result<i64, Error> {
        let here = || self.keep_alive_here(store, id);
        let there = |reply| match reply {
            Reply::KeepAlive { ttl_seconds } => Some(ttl_seconds),
            _ => None,
        };
        ask(store, here, Call::KeepAlive { id }, there).await
    }

    /// The time that a lease has left, and its keys if `keys`.
    ///
    /// # Errors
    /// A time-out without a leader, the database's, or the server is stopping.
    pub async fn time_to_live(&self, store: &Store, id: i64, keys: bool) -> Result<TimeToLive, Error> {
        let here = || self.time_to_live_here(store, id, keys);
        let there = |reply| match reply {
            Reply::TimeToLive { ttl_seconds, granted_seconds, keys } => {
                Some(TimeToLive { ttl_seconds, granted_seconds, keys })
            }
            _ => None,
        };
        ask(store, here, Call::TimeToLive { id, keys }, there).await
    }

    /// Answers another member's call, on the leader.
    pub async fn handle(&self, store: &Store, call: Call) -> Reply {
        let reply = match call {
            Call::KeepAlive { id } => {
                self.keep_alive_here(store, id).await.map(|ttl_seconds| Reply::KeepAlive { ttl_seconds })
            }
            Call::TimeToLive { id, keys } => self.time_to_live_here(store, id, keys).await.map(|known| {
                let TimeToLive { ttl_seconds, granted_seconds, keys } = known;
                Reply::TimeToLive { ttl_seconds, granted_seconds, keys }
            }),
            Call::IsCaughtUp { member } => store.is_caught_up(member).await.map(Reply::CaughtUp),
            Call::Integrity => store.inspect().await.map(|inspection| Reply::Integrity(inspection.integrity)),
        };
        reply.unwrap_or_else(Reply::Failed)
    }

    async fn keep_alive_here(&self, store: &Store, id: i64) -> Result<i64, Error> {
        let arrived_ms = now_ms();
        let renew = |state: &mut State, term| state.leases.keep_alive(now_ms(), arrived_ms, term, id);
        let renewed = self.confirmed(store, id, renew).await?;
        if renewed.is_some() {
            store.metrics().lease.renewed.inc();
        }
        Ok(renewed.unwrap_or(0))
    }

    async fn time_to_live_here(&self, store: &Store, id: i64, keys: bool) -> Result<TimeToLive, Error> {
        let look = |state: &mut State, term| state.leases.time_to_live(now_ms(), term, id);
        let Some(Remaining { granted_s, remaining_ms }) = self.confirmed(store, id, look).await? else {
            return Ok(TimeToLive { ttl_seconds: -1, granted_seconds: 0, keys: Vec::new() });
        };
        let ttl_seconds = i64::try_from(remaining_ms / 1000).unwrap_or(granted_s);
        let keys = if keys {
            let view = store.served_view()?;
            attached_keys(&*view, id).map_err(|error| Error::Unmapped(error.to_string()))?
        } else {
            Vec::new()
        };
        Ok(TimeToLive { ttl_seconds, granted_seconds: granted_s, keys })
    }

    /// Asks the memory after a confirmation of leadership that began after this call, in the term that was confirmed, with everything
    /// applied that was committed by then. `None` when there is no such lease.
    async fn confirmed<T>(
        &self,
        store: &Store,
        id: i64,
        mut find: impl FnMut(&mut State, Term) -> Result<Found<T>, OtherTerm>,
    ) -> Result<Option<T>, Error> {
        loop {
            let term = store.confirm_leadership_applied().await?;
            let outcome = {
                let mut state = self.lock();
                match find(&mut state, term).map_err(|_| Error::NotLeader)? {
                    Found::Known(known) => return Ok(Some(known)),
                    Found::Missing => return Ok(None),
                    Found::Expiring => state.wait(id),
                }
            };
            // A dropped sender is the signal.
            let _ = outcome.await;
        }
    }
}

/// Answers here if this member leads, else asks the leader, until someone can tell.
async fn ask<T, F: Future<Output = Result<T, Error>>>(
    store: &Store,
    here: impl Fn() -> F,
    call: Call,
    there: impl Fn(Reply) -> Option<T>,
) -> Result<T, Error> {
    let asked = async {
        loop {
            let answer = if store.status().is_leader() {
                here().await
            } else {
                match store.call_leader(call.clone()).await {
                    Ok(Reply::Failed(error)) => Err(error),
                    Ok(reply) => there(reply).ok_or(Error::NotLeader),
                    Err(error) => Err(error),
                }
            };
            match answer {
                Ok(known) => return Ok(known),
                Err(Error::Stopped) => return Err(Error::Stopped),
                Err(_) => tokio::time::sleep(ASK_AGAIN_AFTER).await,
            }
        }
    };
    tokio::time::timeout(store.request_timeout(), asked).await.unwrap_or(Err(Error::Timeout))
}
