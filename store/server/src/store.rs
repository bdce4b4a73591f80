//! The handle that every RPC works through: propose, read linearizably, look at the state. Cheap to clone.
//!
//! It owns no state of its own beyond waiters: the driver's thread owns raft and apply, and publishes what others may see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;
use quorate_core::apply::{self, Response};
use quorate_core::backend::Family;
use quorate_core::command::{self, Command, CommandId, Request};
use quorate_core::log::Term;
use quorate_core::membership::Membership;
use quorate_core::mvcc;
use quorate_core::node::{Event, Payload, Proposal};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::backend::Backend;
use crate::inbox::{Inbox, Input, Offered, Source};
use crate::lessor::Lessor;
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::peer::{Call, Peers, Reply};
use crate::waiters::{Confirmed, Proposals, Reads};
use crate::watch_hub::WatchHub;

mod cluster;
mod live;
mod recovery;
mod state;

pub use live::FENCED;
pub use state::{Identity, Limits, ReadView, Status, Timers};

/// How much longer than two election timeouts a proposal may take (etcd's `ReqTimeout`).
const REQUEST_TIMEOUT_BASE: Duration = Duration::from_secs(5);

/// Everything that the handle reaches; made once by `member`.
pub struct Inner {
    pub identity: Identity,
    pub inbox: Arc<Inbox>,
    pub proposals: Proposals,
    pub reads: Reads,
    pub status: ArcSwap<Status>,
    /// Wakes who waits for a change of role, leader or readiness.
    pub changed: watch::Sender<u64>,
    pub membership: ArcSwap<Membership>,
    /// Replaced when a snapshot is installed.
    pub backend: ArcSwap<Backend>,
    pub limits: ArcSwap<Limits>,
    pub timers: ArcSwap<Timers>,
    /// Whether the operator keeps this member out of raft (`live`).
    pub fenced: AtomicBool,
    /// What is on this member's disk is known to be damaged (`recovery`).
    pub damaged: AtomicBool,
    /// Whether this member has applied what it may have answered before it was started.
    pub caught_up: AtomicBool,
    pub strict_reconfig: bool,
    pub learners_max: u32,
    pub watch_hub: WatchHub,
    pub lessor: Lessor,
    pub peers: Peers,
    pub counter: AtomicU64,
    /// Bytes that were compacted and not reclaimed by a complete compaction of the database yet; this member's alone.
    pub unreclaimed: AtomicU64,
    pub budget: Arc<Budget>,
    pub metrics: Arc<Metrics>,
    pub runtime: Handle,
}

/// See the module.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

impl Store {
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    pub fn status(&self) -> Arc<Status> {
        self.0.status.load_full()
    }

    /// Changes whenever role, leader, term or membership change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    pub fn membership(&self) -> Arc<Membership> {
        self.0.membership.load_full()
    }

    /// Ascending by id.
    pub fn members(&self) -> Vec<pb::Member> {
        self.0.membership.load().members().map(|member| member.to_etcd()).collect()
    }

    pub fn limits(&self) -> Limits {
        **self.0.limits.load()
    }

    pub fn set_limits(&self, limits: Limits) {
        self.0.limits.store(Arc::new(limits));
    }

    /// Heartbeat interval and election timeout in force.
    pub fn timers(&self) -> Timers {
        **self.0.timers.load()
    }

    pub fn election_timeout(&self) -> Duration {
        self.timers().election
    }

    /// How long a proposal or a linearizable read may take.
    pub fn request_timeout(&self) -> Duration {
        REQUEST_TIMEOUT_BASE + 2 * self.election_timeout()
    }

    pub fn watch_hub(&self) -> &WatchHub {
        &self.0.watch_hub
    }

    pub fn lessor(&self) -> &Lessor {
        &self.0.lessor
    }

    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    /// What clients and peers may make this member hold in memory.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.0.budget
    }

    pub fn backend(&self) -> Arc<Backend> {
        self.0.backend.load_full()
    }

    /// Proposals that wait to be applied.
    pub fn pending_proposals(&self) -> usize {
        self.0.proposals.pending()
    }

    /// A response header of this member; 0 = the current revision.
    pub fn header(&self, revision: i64) -> pb::ResponseHeader {
        let status = self.0.status.load();
        pb::ResponseHeader {
            cluster_id: self.0.identity.cluster_id,
            member_id: self.0.identity.member_id,
            revision: if revision == 0 { status.revision } else { revision },
            raft_term: status.term,
        }
    }

    /// A snapshot of the database now.
    ///
    /// # Errors
    /// The database's, as etcd shows an internal failure.
    pub fn view(&self) -> Result<ReadView, ApiError> {
        let snapshot = self.0.backend.load().snapshot();
        let state = mvcc::State::load(&snapshot).map_err(|error| ApiError::Unmapped(error.to_string()))?;
        Ok(ReadView { snapshot, state })
    }

    /// Replicates a command and waits until this member applied it. It is proposed at most once; a time-out says that the outcome
    /// is unknown.
    ///
    /// # Errors
    /// The command's own, too large, too many requests, no space, or a time-out.
    pub async fn propose(&self, request: Request) -> Result<Response, ApiError> {
        self.refuse_over_quota(&request).await?;
        self.propose_unchecked(request).await
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    async fn propose_unchecked(&self, request: Request) -> Result<Response, ApiError> {
        let (kind, began) = (etcds_type(&request), Instant::now());
        let answer = self.replicate(request).await;
        if let Some(kind) = kind {
            self.0.metrics.server.requested(kind, began, answer.is_ok());
        }
        answer
    }

    async fn replicate(&self, request: Request) -> Result<Response, ApiError> {
        self.refuse_fenced()?;
        let id = self.next_id();
        let command = Command { id, user: String::new(), auth_revision: 0, request };
        let data = command::encode(&command);
        if command::counted_bytes(&data, self.0.identity.member_id) > self.0.limits.load().request_bytes_max {
            return Err(ApiError::RequestTooLarge);
        }
        let (_waiting, answer) = self.0.proposals.wait(id.counter);
        let began = Instant::now();
        self.hand_over(Proposal { id, payload: Payload::Command(data) })?;
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                self.0.metrics.server.proposals_failed.inc();
                Err(ApiError::Stopped)
            }
            Err(_) => {
                self.0.metrics.server.proposals_failed.inc();
                Err(self.timeout_since(began))
            }
        }
    }

    /// etcd refuses a write that would go over the quota before proposing it, and raises the alarm.
    async fn refuse_over_quota(&self, request: &Request) -> Result<(), ApiError> {
        let cost = match request {
            Request::Put(put) => apply::put_cost(put),
            Request::Txn(txn) => apply::txn_cost(txn),
            Request::LeaseGrant(_) => apply::LEASE_COST_BYTES,
            _ => return Ok(()),
        };
        let status = self.0.status.load();
        if cost > 0 && status.disk_full.is_some() {
            // The driver raises the alarm; the outcome of a write that waits for the disk would be unknown to its client.
            return Err(ApiError::NoSpace);
        }
        let quota = self.0.limits.load().quota_bytes;
        if cost == 0 || quota.is_none_or(|quota| status.db_size + cost < quota) {
            return Ok(());
        }
        drop(status);
        let alarm = pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Activate.into(),
            member_id: self.0.identity.member_id,
            alarm: pb::AlarmType::Nospace.into(),
        };
        // Boxed: a proposal inside a proposal.
        Box::pin(self.propose_unchecked(Request::Alarm(alarm))).await?;
        Err(ApiError::NoSpace)
    }

    fn next_id(&self) -> CommandId {
        let Identity { member_id, boot, .. } = self.0.identity;
        let counter = self.0.counter.fetch_add(1, Ordering::Relaxed) + 1;
        CommandId { member: member_id, boot, counter }
    }

    /// Gives a proposal to the driver. Refused as etcd does when more waits than can be taken: nothing happened to it then.
    fn hand_over(&self, proposal: Proposal) -> Result<(), ApiError> {
        let bytes = proposal.bytes();
        match self.0.inbox.offer(Source::Clients, Event::Propose(proposal), bytes) {
            Offered::Taken => Ok(()),
            Offered::Full(_) => Err(ApiError::RequestTooManyRequests),
            Offered::Closed => Err(ApiError::Stopped),
        }
    }

    fn push(&self, event: Event) -> Result<(), ApiError> {
        if self.0.inbox.push(Input::Event(event)) { Ok(()) } else { Err(ApiError::Stopped) }
    }

    /// etcd names the likely cause: a leader was lost while the request waited, or within an election before.
    fn timeout_since(&self, began: Instant) -> ApiError {
        let lost = self.0.status.load().leader_lost;
        match lost {
            Some(at) if at + 2 * self.election_timeout() >= began => ApiError::TimeoutDueToLeaderFail,
            _ => ApiError::Timeout,
        }
    }

    /// After it returns, `view` holds everything that was acknowledged anywhere before the call.
    ///
    /// # Errors
    /// A time-out without a quorum.
    pub async fn linearizable(&self) -> Result<(), ApiError> {
        self.confirmed(true).await.map(|_| ())
    }

    /// How many entries this member has not applied of those that a quorum was last heard to have committed; `None` when none was heard
    /// since it started. Asks the others, for so long at most.
    ///
    /// # Errors
    /// The member is fenced.
    pub async fn lag(&self, patience: Duration) -> Result<Option<u64>, ApiError> {
        self.refuse_fenced()?;
        // Without a quorum what was heard last counts.
        let _ = tokio::time::timeout(patience, self.confirmed(false)).await;
        Ok(self.0.reads.heard().map(|heard| heard.saturating_sub(self.status().applied)))
    }

    /// Confirms that this member leads, by a round that began after the call; returns the term.
    ///
    /// # Errors
    /// Not the leader, or a time-out without a quorum.
    pub async fn confirm_leadership(&self) -> Result<Term, ApiError> {
        self.leads(false).await
    }

    /// As `confirm_leadership`, and everything is applied here that was acknowledged anywhere before the call.
    ///
    /// # Errors
    /// Not the leader, or a time-out without a quorum.
    pub async fn confirm_leadership_applied(&self) -> Result<Term, ApiError> {
        self.leads(true).await
    }

    async fn leads(&self, until_applied: bool) -> Result<Term, ApiError> {
        if !self.0.status.load().is_leader() {
            return Err(ApiError::NotLeader);
        }
        let confirmed = self.confirmed(until_applied).await?;
        if confirmed.leads { Ok(confirmed.term) } else { Err(ApiError::NotLeader) }
    }

    async fn confirmed(&self, until_applied: bool) -> Result<Confirmed, ApiError> {
        self.refuse_fenced()?;
        let began = Instant::now();
        let (token, answer) = self.0.reads.wait(until_applied);
        self.0.inbox.request_read(token);
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(Ok(confirmed)) => Ok(confirmed),
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => {
                self.0.metrics.server.read_indexes_failed.inc();
                Err(self.timeout_since(began))
            }
        }
    }

    /// Asks the leader over the peer transport.
    ///
    /// # Errors
    /// No leader, a broken connection, or a time-out.
    pub async fn call_leader(&self, call: Call) -> Result<Reply, ApiError> {
        let leader = self.0.status.load().leader;
        if leader == 0 {
            return Err(ApiError::NoLeader);
        }
        self.0.peers.call(leader, call, self.request_timeout()).await
    }

    /// Reclaims what was compacted, without stopping anything: finishes the sweep, then compacts the database, and answers when the
    /// space is gone from `Status`.
    ///
    /// # Errors
    /// The database's, or the server is stopping.
    pub async fn defragment(&self) -> Result<(), ApiError> {
        let failed = |error: String| ApiError::Unmapped(error);
        self.0.metrics.disk.defrag_inflight.inc();
        let _timer = self.0.metrics.disk.defrag.start_timer();
        let (sender, swept) = oneshot::channel();
        let result = async {
            if !self.0.inbox.push(Input::SweepAll(sender)) {
                return Err(ApiError::Stopped);
            }
            let reclaimed = swept.await.map_err(|_| ApiError::Stopped)?;
            let backend = self.backend();
            let compacted = tokio::task::spawn_blocking(move || {
                Family::ALL.into_iter().try_for_each(|family| backend.compact(family))
            });
            compacted.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
            let (sender, done) = oneshot::channel();
            if !self.0.inbox.push(Input::Reclaimed { bytes: reclaimed, done: sender }) {
                return Err(ApiError::Stopped);
            }
            done.await.map_err(|_| ApiError::Stopped)
        };
        let result = result.await;
        self.0.metrics.disk.defrag_inflight.dec();
        result
    }

    /// Completes when the rows that a compaction to `revision` gives up are gone from this member's database.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn swept(&self, revision: i64) -> Result<(), ApiError> {
        let (done, swept) = oneshot::channel();
        if !self.0.inbox.push(Input::SweepTo { revision, done }) {
            return Err(ApiError::Stopped);
        }
        swept.await.map_err(|_| ApiError::Stopped)
    }

    /// Waits until `ready` holds of the published status.
    pub async fn wait_status(&self, ready: impl Fn(&Status) -> bool) {
        let mut changes = self.changes();
        while !ready(&self.0.status.load()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What etcd calls this request in its metrics; `None` for what it has not.
fn etcds_type(request: &Request) -> Option<&'static str> {
    Some(match request {
        Request::Put(_) => "Put",
        Request::DeleteRange(_) => "DeleteRange",
        Request::Txn(_) => "Txn",
        Request::Compact(_) => "Compaction",
        Request::LeaseGrant(_) => "LeaseGrant",
        Request::LeaseRevoke { .. } => "LeaseRevoke",
        Request::Alarm(_) => "Alarm",
        Request::MemberAttributes { .. } => "ClusterMemberAttrSet",
        Request::FeatureLevel(_) => return None,
    })
}
