//! The peer transport: one long-lived connection per peer and direction, with a versioned handshake and frames of our own, and a
//! connection of their own for snapshots, so that heartbeats never wait behind one.
//!
//! Every queue is bounded; what does not fit is dropped and reported to raft as unreachable, which is what raft expects of a network.

mod connection;
mod frame;
pub mod handshake;
mod incoming;
mod lifeline;
mod outgoing;
mod queue;
mod schedule;
mod snapshots;
#[cfg(test)]
mod tests;

pub use connection::{Error as ConnectError, Stream, connect, discover};
pub use frame::{Call, DecodeError, Frame, Reply};
pub use incoming::{IncomingCall, IncomingSnapshot, serve};
pub use schedule::{Schedule, due};
pub use snapshots::Snapshots;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use quorate_api::Error as ApiError;
use quorate_core::log::{MemberId, Term};
use quorate_core::membership::{Membership, Reach, Word};
use quorate_core::node::{Event, Proposal};
use quorate_core::replica::Message;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::inbox::{Inbox, Input};
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::tls::Plane;
use queue::Queue;

/// A peer counts as connected for strict membership changes after this long.
const CONNECTED_AFTER: Duration = Duration::from_secs(5);
/// Calls that wait for a reply of one peer at once.
const CALLS_MAX: usize = 65_536;

/// What every connection needs to know of this member.
pub struct Local {
    pub cluster_id: u64,
    pub member_id: MemberId,
    pub boot: u64,
    pub disk_id: String,
    pub tls: Option<Plane>,
    pub inbox: Arc<Inbox>,
    pub metrics: Arc<Metrics>,
    /// Frames that wait for a peer are charged to it.
    pub budget: Arc<Budget>,
    /// Configuration as applied, or as admitted while nothing is applied yet.
    pub membership: ArcSwap<Membership>,
    /// Feature level in force.
    pub feature_level: AtomicU64,
    /// Set when a peer says that this member was removed.
    pub removed: watch::Sender<bool>,
}

/// What is known of the connection to one peer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    /// Since when frames can be sent to it.
    pub connected_since: Option<Instant>,
    /// Smoothed round trip; zero before the first answer.
    pub round_trip: Duration,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Highest feature level that the peer's binary knew when it last called; 0 before that.
    pub feature_level: u32,
    /// Highest protocol that it speaks, as it said when it connected; 0 before that.
    pub protocol: u16,
}

struct Peer {
    urls: Vec<String>,
    queue: Queue,
    /// Closing it ends the connection's task.
    _alive: oneshot::Sender<()>,
}

/// The peers of this member. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    local: Arc<Local>,
    runtime: Handle,
    peers: RwLock<BTreeMap<MemberId, Peer>>,
    reach: Mutex<Reach>,
    links: Arc<Links>,
    calls: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    next_call: AtomicU64,
}

/// Links by member, written by the connections' tasks.
#[derive(Default)]
pub(crate) struct Links(Mutex<BTreeMap<MemberId, Link>>);

impl Links {
    pub(crate) fn update(&self, id: MemberId, change: impl FnOnce(&mut Link)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default());
    }

    /// As `update`, of a peer that has not left the configuration meanwhile.
    pub(crate) fn update_known(&self, id: MemberId, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&id) {
            change(link);
        }
    }
}

impl Peers {
    pub fn new(local: Arc<Local>, runtime: Handle) -> Peers {
        Peers(Arc::new(Shared {
            local,
            runtime,
            peers: RwLock::default(),
            reach: Mutex::default(),
            links: Arc::default(),
            calls: Mutex::default(),
            next_call: AtomicU64::new(0),
        }))
    }

    pub fn local(&self) -> &Arc<Local> {
        &self.0.local
    }

    pub(crate) fn links(&self) -> &Links {
        &self.0.links
    }

    /// Connects to the members of a configuration and leaves those that are gone. Called by the driver when it changed.
    pub fn update(&self, membership: &Membership) {
        self.0.local.membership.store(Arc::new(membership.clone()));
        self.connect_and_leave();
    }

    /// Notes where a caller is reached, until what is returned is dropped. `None` when too many call.
    fn visit(&self, id: MemberId, word: Word) -> Option<Visit> {
        let visit = self.reach().arrived(id, word)?;
        self.connect_and_leave();
        Some(Visit { peers: self.clone(), id, visit })
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.0.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect_and_leave(&self) {
        // What is wanted is looked up with the peers locked, so that the last of two callers sees what both changed.
        let mut peers = self.0.peers.write().unwrap_or_else(PoisonError::into_inner);
        let (this, membership, reach) = (self.0.local.member_id, self.0.local.membership.load(), self.reach());
        // Nobody is reached at no URL.
        peers.retain(|id, peer| reach.urls(this, &membership, *id) == peer.urls);
        for id in reach.ids(this, &membership) {
            peers.entry(id).or_insert_with(|| self.start(id, reach.urls(this, &membership, id).to_vec()));
        }
        let mut links = self.0.links.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|id, _| peers.contains_key(id));
    }

    fn start(&self, id: MemberId, urls: Vec<String>) -> Peer {
        let Shared { local, links, runtime, .. } = &*self.0;
        links.update(id, |_| {});
        let (queue, frames) = Queue::new();
        let (alive, gone) = oneshot::channel();
        runtime.spawn(outgoing::run(local.clone(), links.clone(), id, urls.clone(), frames, gone));
        Peer { urls, queue, _alive: alive }
    }

    /// Queues a frame; false when it was dropped.
    pub(crate) fn queue(&self, to: MemberId, frame: Frame) -> bool {
        let peers = self.0.peers.read().unwrap_or_else(PoisonError::into_inner);
        let queued = peers.get(&to).is_some_and(|peer| peer.queue.push(frame, &self.0.local.budget));
        if !queued {
            self.0.local.metrics.peers.not_sent(to, 1);
        }
        queued
    }

    /// Sends a raft message, or tells raft that its receiver cannot be reached.
    pub fn send(&self, message: Message) {
        let to = message.to();
        if !self.queue(to, Frame::Raft(message)) {
            self.0.local.inbox.push(Input::Event(Event::Unreachable { id: to }));
        }
    }

    /// Hands proposals to the leader. What cannot be queued was not sent, so it comes back.
    pub fn forward(&self, to: MemberId, sequence: u64, term: Term, proposals: Vec<Proposal>) {
        let frame = Frame::Forward { sequence, term, proposals: proposals.clone() };
        if !self.queue(to, frame) {
            self.0.local.inbox.push(Input::Event(Event::Refused { proposals }));
        }
    }

    /// Gives proposals back to the member that forwarded them. If that is lost, its clients time out.
    pub fn refuse(&self, to: MemberId, proposals: Vec<Proposal>) {
        let _ = self.queue(to, Frame::Refused { proposals });
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Reply>>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a member and waits for its reply.
    ///
    /// # Errors
    /// Not connected, too many calls, or no reply in time.
    pub async fn call(&self, to: MemberId, call: Call, timeout: Duration) -> Result<Reply, ApiError> {
        let number = self.0.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut calls = self.calls();
            if calls.len() >= CALLS_MAX {
                return Err(ApiError::RequestTooManyRequests);
            }
            calls.insert(number, sender);
        }
        let _forget = Forget { peers: self, number };
        if !self.queue(to, Frame::Call { number, call }) {
            return Err(ApiError::TimeoutDueToConnectionLost);
        }
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(Reply::Failed(error))) => Err(error),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Err(ApiError::TimeoutDueToConnectionLost),
        }
    }

    pub(crate) fn replied(&self, number: u64, reply: Reply) {
        if let Some(sender) = self.calls().remove(&number) {
            let _ = sender.send(reply);
        }
    }

    /// The members that this one has been connected with long enough to rely on.
    pub fn connected(&self) -> BTreeSet<MemberId> {
        let long_enough = |link: &Link| link.connected_since.is_some_and(|since| since.elapsed() >= CONNECTED_AFTER);
        self.all_links().into_iter().filter(|(_, link)| long_enough(link)).map(|(id, _)| id).collect()
    }

    /// What is known of every peer's connection.
    pub fn all_links(&self) -> BTreeMap<MemberId, Link> {
        self.0.links.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a member can be asked for its hashes.
    pub fn speaks_integrity(&self, id: MemberId) -> bool {
        self.all_links().get(&id).is_some_and(|link| link.protocol >= handshake::PROTOCOL_INTEGRITY)
    }

    /// The peer URLs of a member of the configuration in force.
    pub fn urls(&self, id: MemberId) -> Vec<String> {
        let membership = self.0.local.membership.load();
        membership.get(id).map(|member| member.peer_urls.clone()).unwrap_or_default()
    }
}

/// A caller that said where it is reached, for as long as its connection lasts.
struct Visit {
    peers: Peers,
    id: MemberId,
    visit: u64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.peers.reach().left(self.id, self.visit);
        self.peers.connect_and_leave();
    }
}

/// Forgets a call that nobody waits for any more.
struct Forget<'a> {
    peers: &'a Peers,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.peers.calls().remove(&self.number);
    }
}
