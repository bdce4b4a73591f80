//! The handle that every RPC works through: propose, read linearizably, look at the state. Cheap to clone.
//!
//! It owns no state of its own beyond waiters: the driver's thread owns raft and apply, and publishes what others may see.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;
use quorate_core::apply::Response;
use quorate_core::backend::{self, Cursor, Family, View};
use quorate_core::command::{self, Command, CommandId, Request};
use quorate_core::log::{Index, MemberId, Term};
use quorate_core::membership::{Change, Membership, Proposed, Refused};
use quorate_core::mvcc;
use quorate_core::node::{Event, Payload, Proposal};
use quorate_core::replica::Role;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::backend::{Backend, Snapshot};
use crate::inbox::{Inbox, Input, Inspection};
use crate::lessor::Lessor;
use crate::metrics::Metrics;
use crate::peer::{Call, Peers, Reply};
use crate::waiters::{Confirmed, Proposals, Reads};
use crate::watch_hub::WatchHub;

/// How much longer than two election timeouts a proposal may take (etcd's `ReqTimeout`).
const REQUEST_TIMEOUT_BASE: Duration = Duration::from_secs(5);
/// What etcd charges for a put beside its key and value when it compares with the quota.
const PUT_COST_BYTES: u64 = 256;
const LEASE_COST_BYTES: u64 = 64;

/// Who this member is; fixed for the life of the process.
#[derive(Debug, Clone)]
pub struct Identity {
    pub cluster_id: u64,
    pub member_id: MemberId,
    pub name: String,
    /// Rises with each start of this member.
    pub boot: u64,
}

/// Limits that may change while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `None` = no quota.
    pub quota_bytes: Option<u64>,
    pub request_bytes_max: usize,
    pub txn_ops_max: usize,
}

/// What the driver last published.
#[derive(Debug, Clone)]
pub struct Status {
    pub role: Role,
    /// 0 when unknown.
    pub leader: MemberId,
    pub term: Term,
    pub committed: Index,
    pub applied: Index,
    pub is_learner: bool,
    pub revision: i64,
    pub compact_revision: i64,
    pub feature_level: u32,
    pub alarms: Vec<pb::AlarmMember>,
    pub db_size_in_use: u64,
    /// What is in use and what is compacted but not yet reclaimed on this member.
    pub db_size: u64,
    /// When this member last knew a leader and lost it; for the text of time-outs.
    pub leader_lost: Option<Instant>,
    /// This member is not part of the configuration any more.
    pub removed: bool,
}

impl Status {
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}

/// A consistent view of the database with its revisions; reads at any revision between compact and current.
pub struct ReadView {
    snapshot: Snapshot,
    pub state: mvcc::State,
}

impl Deref for ReadView {
    type Target = Snapshot;
    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl View for ReadView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, backend::Error> {
        self.snapshot.get(family, key)
    }

    fn cursor(
        &self,
        family: Family,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + '_>, backend::Error> {
        self.snapshot.cursor(family, lower, upper)
    }
}

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
    pub heartbeat: Duration,
    pub election: Duration,
    pub strict_reconfig: bool,
    pub learners_max: u32,
    pub watch_hub: WatchHub,
    pub lessor: Lessor,
    pub peers: Peers,
    pub counter: AtomicU64,
    /// Bytes that were compacted and not reclaimed by a complete compaction of the database yet; this member's alone.
    pub unreclaimed: AtomicU64,
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
    pub fn timers(&self) -> (Duration, Duration) {
        (self.0.heartbeat, self.0.election)
    }

    pub fn election_timeout(&self) -> Duration {
        self.0.election
    }

    /// How long a proposal or a linearizable read may take.
    pub fn request_timeout(&self) -> Duration {
        REQUEST_TIMEOUT_BASE + 2 * self.0.election
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

    async fn propose_unchecked(&self, request: Request) -> Result<Response, ApiError> {
        let id = self.next_id();
        let command = Command { id, user: String::new(), auth_revision: 0, request };
        let data = command::encode(&command);
        if data.len() > self.0.limits.load().request_bytes_max {
            return Err(ApiError::RequestTooLarge);
        }
        let (_waiting, answer) = self.0.proposals.wait(id.counter);
        let began = Instant::now();
        self.push(Event::Propose(Proposal { id, payload: Payload::Command(data) }))?;
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
        let Some(quota) = self.0.limits.load().quota_bytes else { return Ok(()) };
        let cost = match request {
            Request::Put(put) => put_cost(put),
            Request::Txn(txn) => txn_cost(txn),
            Request::LeaseGrant(_) => LEASE_COST_BYTES,
            _ => return Ok(()),
        };
        if cost == 0 || self.0.status.load().db_size + cost < quota {
            return Ok(());
        }
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

    fn push(&self, event: Event) -> Result<(), ApiError> {
        if self.0.inbox.push(Input::Event(event)) { Ok(()) } else { Err(ApiError::Stopped) }
    }

    /// etcd names the likely cause: a leader was lost while the request waited, or within an election before.
    fn timeout_since(&self, began: Instant) -> ApiError {
        let lost = self.0.status.load().leader_lost;
        match lost {
            Some(at) if at + 2 * self.0.election >= began => ApiError::TimeoutDueToLeaderFail,
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

    /// Confirms that this member leads, by a round that began after the call; returns the term.
    ///
    /// # Errors
    /// Not the leader, or a time-out without a quorum.
    pub async fn confirm_leadership(&self) -> Result<Term, ApiError> {
        if !self.0.status.load().is_leader() {
            return Err(ApiError::NotLeader);
        }
        let confirmed = self.confirmed(false).await?;
        if confirmed.leads { Ok(confirmed.term) } else { Err(ApiError::NotLeader) }
    }

    async fn confirmed(&self, until_applied: bool) -> Result<Confirmed, ApiError> {
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

    /// Changes the membership and waits until this member applied the change; `expected_index` guards it.
    ///
    /// # Errors
    /// etcd's of the Cluster service, or the guard's.
    pub async fn change(&self, change: Change, expected_index: Option<Index>) -> Result<(), Refused> {
        let id = self.next_id();
        let proposed = Proposed { id, change, expected_index, learners_max: self.0.learners_max };
        self.0.membership.load().check(&proposed)?;
        let (_waiting, answer) = self.0.proposals.wait_change(id.counter);
        let began = Instant::now();
        self.push(Event::Propose(Proposal { id, payload: Payload::Change(proposed) }))?;
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ApiError::Stopped.into()),
            Err(_) => Err(self.timeout_since(began).into()),
        }
    }

    /// As etcd's Cluster service does it: with the strict checks, whatever the configuration index is. Returns all members.
    ///
    /// # Errors
    /// etcd's of the Cluster service.
    pub async fn change_membership(&self, change: Change) -> Result<Vec<pb::Member>, ApiError> {
        if self.0.strict_reconfig {
            crate::reconfig::check(&self.membership(), &change, self.0.identity.member_id, &self.0.peers.connected())?;
        }
        if let Change::Promote(id) = change {
            self.check_caught_up(id).await?;
        }
        self.change(change, None).await.map_err(|refused| match refused {
            Refused::Api(error) => error,
            other => ApiError::Unmapped(other.to_string()),
        })?;
        Ok(self.members())
    }

    /// A learner may vote from 90 % of the leader's log on.
    async fn check_caught_up(&self, id: MemberId) -> Result<(), ApiError> {
        if !self.membership().get(id).is_some_and(|member| member.learner) {
            // The change itself tells apart unknown members and voters.
            return Ok(());
        }
        if !self.status().is_leader() {
            return match self.call_leader(Call::IsCaughtUp { member: id }).await? {
                Reply::CaughtUp(true) => Ok(()),
                _ => Err(ApiError::LearnerNotReady),
            };
        }
        if self.is_caught_up(id).await? { Ok(()) } else { Err(ApiError::LearnerNotReady) }
    }

    /// Whether a member's log has reached 90 % of this leader's.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn is_caught_up(&self, id: MemberId) -> Result<bool, ApiError> {
        let inspection = self.inspect().await?;
        let progress = inspection.progress.iter().find(|progress| progress.id == id);
        Ok(progress.is_some_and(|progress| progress.match_index * 10 >= inspection.last_index * 9))
    }

    /// The most caught-up other voter.
    ///
    /// # Errors
    /// Not the leader, or nobody else could lead.
    pub async fn successor(&self) -> Result<MemberId, ApiError> {
        let this = self.0.identity.member_id;
        let membership = self.membership();
        let voter = |id| membership.get(id).is_some_and(|member| !member.learner);
        let progress = self.inspect().await?.progress;
        let others = progress.into_iter().filter(|p| p.id != this && p.recently_active && voter(p.id));
        let best = others.max_by_key(|progress| progress.match_index).map(|progress| progress.id);
        best.ok_or(if self.status().is_leader() { ApiError::BadLeaderTransferee } else { ApiError::NotLeader })
    }

    /// What only the driver knows.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn inspect(&self) -> Result<Inspection, ApiError> {
        let (sender, receiver) = oneshot::channel();
        if !self.0.inbox.push(Input::Inspect(sender)) {
            return Err(ApiError::Stopped);
        }
        receiver.await.map_err(|_| ApiError::Stopped)
    }

    /// Hands leadership to `target` and waits until it leads.
    ///
    /// # Errors
    /// etcd's of MoveLeader.
    pub async fn move_leader(&self, target: MemberId) -> Result<(), ApiError> {
        let status = self.status();
        if !status.is_leader() {
            return Err(ApiError::NotLeader);
        }
        if target == self.0.identity.member_id {
            return Ok(());
        }
        if self.membership().get(target).is_none_or(|member| member.learner) {
            return Err(ApiError::BadLeaderTransferee);
        }
        let mut changes = self.changes();
        self.push(Event::Transfer { to: target })?;
        let moved = async {
            while self.0.status.load().leader != target {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let transferred = tokio::time::timeout(self.request_timeout(), moved).await;
        transferred
            .map_err(|_| ApiError::Unmapped("etcdserver: request timed out, leader transfer took too long".into()))
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

fn put_cost(put: &pb::PutRequest) -> u64 {
    PUT_COST_BYTES + (put.key.len() + put.value.len()) as u64
}

/// The dearer branch counts, nested ones included.
fn txn_cost(txn: &pb::TxnRequest) -> u64 {
    let branch = |ops: &[pb::RequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(pb::request_op::Request::RequestPut(put)) => put_cost(put),
                Some(pb::request_op::Request::RequestTxn(txn)) => txn_cost(txn),
                _ => 0,
            })
            .sum()
    };
    branch(&txn.success).max(branch(&txn.failure))
}
