//! One raft peer: the raft crate behind one type, so that nothing else sees it, with each of its traps handled here.
//!
//! Follows the Raft thesis (pre-vote 9.6, leadership transfer 3.10, ReadIndex 6.4, writing to the leader's disk in parallel 10.2.1).

mod asked;
mod clock;
mod convert;
mod departure;
mod fetch;
mod founding;
mod loss;
mod message;
mod store;
#[cfg(test)]
mod tests;

pub use clock::ELECTION_TICKS_MAX;
pub use departure::Departure;
pub use fetch::{LogRange, READS_MAX};
pub use founding::{first_group, founding_entry_data};
pub use loss::Loss;
pub use message::{DecodeError, Message};
pub use store::{LogReadError, LogReader};

use raft::eraftpb::{EntryType, MessageType};
use raft::{RawNode, StateRole};

use crate::log::{ConfState, Entry, EntryKind, HardState, Index, MemberId, SnapshotMeta, Term};
use crate::membership::Change;
use store::LogStore;

/// Entries held in memory by default; older ones are read from the WAL.
pub const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Largest append message; raft's default of 0 would mean one entry a message.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Append messages in flight to one follower that is not far behind.
const MESSAGES_IN_FLIGHT_MAX: usize = 512;
/// Committed entries handed over in one turn, and the most that is read from the log by this thread.
const COMMITTED_BYTES_MAX: u64 = 16 << 20;
/// Proposed and not yet committed; above it proposals are dropped and stay queued.
const UNCOMMITTED_BYTES_MAX: u64 = 128 << 20;
/// A campaign slices everything between applied and committed out of the log at once; with more than this no campaign starts.
const CAMPAIGN_GAP_ENTRIES_MAX: u64 = 5_000;

/// Raft's clock is the tick: one heartbeat interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Ticks without a leader before a campaign; the real timeout is drawn from [n, 2n). At least 2, at most `ELECTION_TICKS_MAX`.
    pub election_ticks: usize,
    pub pre_vote: bool,
}

/// What a leader sends a follower ahead of its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Largest append message; one entry may be larger.
    pub message_bytes_max: u64,
    /// Append messages in flight; at least 1.
    pub messages_max: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window { message_bytes_max: MESSAGE_BYTES_MAX, messages_max: MESSAGES_IN_FLIGHT_MAX }
    }
}

/// What a replica starts from: the log's and the state machine's word on where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub id: MemberId,
    pub hard_state: HardState,
    /// The configuration at `applied`.
    pub conf_state: ConfState,
    pub applied: Index,
    /// Index and term of the entry before the first readable one; (0, 0) for a whole log.
    pub truncated: (Index, Term),
    pub last_index: Index,
    /// Applied entries are held in memory up to this many bytes; the log is read for what is older.
    pub memory_bytes_max: usize,
    /// Seeds the election timeouts.
    pub seed: u64,
    pub timing: Timing,
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// Why a proposal was not handed to raft; it may be proposed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    #[error("not the leader, or leadership is being handed over")]
    NotLeader,
    #[error("{UNCOMMITTED_BYTES_MAX} bytes wait to be committed")]
    OverLimit,
    #[error("another membership change is in flight")]
    ChangeInFlight,
}

/// What raft wants done after a step. `persist` must be durable before its `messages_after` leave and before
/// `Replica::persisted(number)`.
#[derive(Debug)]
pub struct Output {
    pub messages: Vec<Message>,
    pub persist: Persist,
    pub committed: Vec<Entry>,
    pub reads: Vec<ReadReady>,
}

#[derive(Debug)]
pub struct Persist {
    /// Rises; a later one covers all before it.
    pub number: u64,
    pub hard_state: Option<HardState>,
    pub entries: Vec<Entry>,
    pub snapshot: Option<SnapshotMeta>,
    pub messages_after: Vec<Message>,
    /// False when nothing but the commit index changed: no sync is owed for it, unless it passed a membership change.
    pub must_sync: bool,
    /// The term or the vote changed.
    pub term_moved: bool,
    /// The commit index passed a membership change.
    pub change_committed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReady {
    pub context: Vec<u8>,
    pub index: Index,
}

/// A follower as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub id: MemberId,
    pub match_index: Index,
    pub recently_active: bool,
}

pub struct Replica {
    node: RawNode<LogStore>,
    /// xorshift state for election timeouts: raft draws its own from the thread's rng, which would not be replayable.
    rng: u64,
    timing: Timing,
    window: Window,
    /// Commit index at start: until it is applied, ticks do not run, because raft's configuration is the one at `applied`.
    replay_until: Index,
    /// What is committed is not applied any more: the state is damaged.
    halted: bool,
    /// Changes up to here are told to those that leave by them (`departure`).
    told: Index,
    heard_commit: Index,
    asked: asked::Asked,
}

impl Replica {
    /// Builds the peer. `reader` serves entries that memory no longer holds.
    ///
    /// Invariant: applied ≤ commit ≤ last index; a commit behind applied is raised (the commit index is not synced with every batch).
    pub fn new(start: Start, reader: Box<dyn LogReader>) -> Replica {
        let Start { id, mut hard_state, conf_state, applied, truncated, last_index, memory_bytes_max, .. } = start;
        let Start { seed, timing, window, .. } = start;
        hard_state.commit = hard_state.commit.max(applied);
        assert!(hard_state.commit <= last_index, "commit {} beyond the log's end {last_index}", hard_state.commit);
        assert!(truncated.0 <= applied, "log starts at {} after applied {applied}", truncated.0);
        let config = raft::Config {
            id,
            election_tick: clock::TIMEOUT_UNITS,
            heartbeat_tick: 1,
            applied,
            max_size_per_msg: window.message_bytes_max,
            max_inflight_msgs: window.messages_max,
            check_quorum: true,
            pre_vote: timing.pre_vote,
            // Raft 0.7 merges entries into a waiting message without entries whatever its index is: after a rejection a follower
            // got entries 39.. under index 43 and acknowledged entries that it did not have (seed 1 of the node's tests).
            // Batches are made by `node` anyway.
            batch_append: false,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: COMMITTED_BYTES_MAX,
            ..Default::default()
        };
        let store = LogStore::new(hard_state, conf_state, truncated, last_index, memory_bytes_max, applied, reader);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, store, &logger).expect("the configuration above is valid");
        let mut replica = Replica {
            node,
            rng: seed | 1,
            timing,
            window,
            replay_until: hard_state.commit,
            halted: false,
            told: 0,
            heard_commit: 0,
            asked: asked::Asked::default(),
        };
        replica.draw_election_timeout();
        // Like etcd, a starting member waits for one more tick than the drawn surplus instead of a whole timeout: a live leader
        // is heard of within one heartbeat.
        replica.node.raft.election_elapsed = clock::TIMEOUT_UNITS - clock::units_per_tick(timing.election_ticks);
        replica
    }

    pub fn id(&self) -> MemberId {
        self.node.raft.id
    }

    pub fn role(&self) -> Role {
        match self.node.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// 0 when unknown.
    pub fn leader(&self) -> MemberId {
        self.node.raft.leader_id
    }

    pub fn term(&self) -> Term {
        self.node.raft.term
    }

    pub fn commit(&self) -> Index {
        self.node.raft.raft_log.committed
    }

    pub fn last_index(&self) -> Index {
        self.node.raft.raft_log.last_index()
    }

    /// Whether this member leads and has committed an entry of its own term: only then it knows what is committed.
    pub fn leads_with_commit(&self) -> bool {
        self.role() == Role::Leader && self.node.raft.commit_to_current_term()
    }

    pub fn is_sole_voter(&self) -> bool {
        let raft = &self.node.raft;
        raft.prs().is_singleton() && raft.promotable()
    }

    /// Whether old and new voters decide together (as applied).
    pub fn is_joint(&self) -> bool {
        !self.node.raft.prs().conf().to_conf_state().voters_outgoing.is_empty()
    }

    pub fn election_ticks(&self) -> usize {
        self.timing.election_ticks
    }

    pub fn transferring_to(&self) -> Option<MemberId> {
        self.node.raft.lead_transferee
    }

    /// What the leader knows of every member; empty on others.
    pub fn progress(&self) -> Vec<Progress> {
        if self.role() != Role::Leader {
            return Vec::new();
        }
        let of = |(id, progress): (&u64, &raft::Progress)| Progress {
            id: *id,
            match_index: progress.matched,
            recently_active: progress.recent_active || *id == self.id(),
        };
        self.node.raft.prs().iter().map(of).collect()
    }

    /// The first entry that a follower for which `answers` holds may still ask this leader for; one above the log when nobody does. A
    /// follower that is sent a snapshot asks for what comes after it.
    pub fn log_wanted_from(&self, answers: impl Fn(MemberId) -> bool) -> Index {
        let after = self.last_index() + 1;
        if self.role() != Role::Leader {
            return after;
        }
        let others = self.node.raft.prs().iter().filter(|(id, _)| **id != self.id() && answers(**id));
        others.map(|(_, progress)| progress.matched.max(progress.pending_snapshot) + 1).min().unwrap_or(after)
    }

    /// Who should lead instead of this leader: the most caught-up other voter that was heard of lately and stays a voter; `tried`, who
    /// gave the lead back or did not take it, only when there is no other.
    pub fn successor(&self, tried: Option<MemberId>) -> Option<MemberId> {
        let voters = self.node.raft.prs().conf().to_conf_state().voters;
        let others = self.progress().into_iter().filter(|progress| progress.id != self.id());
        let able = others.filter(|progress| progress.recently_active && voters.contains(&progress.id));
        able.max_by_key(|progress| (Some(progress.id) != tried, progress.match_index)).map(|progress| progress.id)
    }

    /// Advances raft's clock by one heartbeat interval.
    pub fn tick(&mut self) {
        self.lapse_requests();
        if self.role() != Role::Leader {
            if !self.may_campaign() {
                // It must not campaign, but its word for a leader that is gone runs out: others may need its vote.
                let elapsed = &mut self.node.raft.election_elapsed;
                *elapsed = (*elapsed + clock::units_per_tick(self.timing.election_ticks)).min(clock::TIMEOUT_UNITS);
                return;
            }
            let log = &self.node.raft.raft_log;
            if self.is_sole_voter() && log.persisted < log.last_index() {
                // Raft 0.7 asserts that a leader's log was durable when it began; the sync is under way.
                return;
            }
            if self.is_sole_voter() {
                // Nobody else could lead: waiting for a timeout would only delay the start.
                let _ = self.node.campaign();
            }
        }
        self.advance_election_clock();
        self.node.tick();
        self.set_windows();
        self.overwrite_election_timeout();
    }

    /// Replaying, a member does not know the configuration in force before the committed tail is applied. One that will never apply it
    /// campaigns nevertheless: it may hold the only copy of what a majority has, beside the dead. Raft lets it only when there is no
    /// membership change among what is committed and not applied; and that is bounded for it (`node/space.rs`).
    fn may_campaign(&self) -> bool {
        let applied = self.node.raft.raft_log.applied;
        self.halted || (applied >= self.replay_until && self.commit() - applied <= CAMPAIGN_GAP_ENTRIES_MAX)
    }

    /// From now on nothing is applied, or everything again.
    pub fn set_halted(&mut self, halted: bool) {
        self.halted = halted;
    }

    /// Steps a message of a peer. Messages that raft has no use for (unknown peer, old term) are dropped by it.
    ///
    /// # Errors
    /// The message shows that this log lacks what it acknowledged. It is not stepped, and this member must end.
    pub fn step(&mut self, message: Message) -> Result<(), Loss> {
        let message = message.into_raft();
        if let Some(loss) = self.loss(&message) {
            return Err(loss);
        }
        let gap = self.commit() - self.node.raft.raft_log.applied;
        if message.get_msg_type() == MessageType::MsgTimeoutNow && gap > CAMPAIGN_GAP_ENTRIES_MAX {
            return Ok(());
        }
        if self.role() != Role::Leader && is_for_leader(message.get_msg_type()) {
            return Ok(());
        }
        self.hear_commit(message.get_msg_type(), message.term, message.commit);
        self.answer_heartbeat(&message);
        self.step_asked(message);
        self.overwrite_election_timeout();
        Ok(())
    }

    /// Proposes the data of one normal entry.
    ///
    /// # Errors
    /// Nothing was handed to raft.
    pub fn propose(&mut self, data: bytes::Bytes) -> Result<(), Dropped> {
        self.propose_entry(EntryType::EntryNormal, data)
    }

    /// Proposes a membership change; `payload` travels in it.
    ///
    /// # Errors
    /// Nothing was handed to raft, or a change is in flight (raft would replace this one by an empty entry).
    pub fn propose_change(&mut self, change: &Change, payload: bytes::Bytes) -> Result<(), Dropped> {
        // In a joint configuration leaving it is the only change, and outside of one there is nothing to leave; raft would replace
        // such an entry by an empty one.
        if self.node.raft.has_pending_conf() || self.is_joint() != matches!(change, Change::Leave) {
            return Err(Dropped::ChangeInFlight);
        }
        let learner = |id| self.node.raft.prs().conf().learners().contains(&id);
        let data = convert::encode_change(change, learner, payload);
        self.propose_entry(EntryType::EntryConfChangeV2, data)
    }

    fn propose_entry(&mut self, kind: EntryType, data: bytes::Bytes) -> Result<(), Dropped> {
        if self.role() != Role::Leader || self.node.raft.lead_transferee.is_some() {
            return Err(Dropped::NotLeader);
        }
        let mut entry = raft::eraftpb::Entry::default();
        entry.set_entry_type(kind);
        entry.data = data;
        let mut message = raft::eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.id();
        message.set_entries(vec![entry].into());
        self.node.raft.step(message).map_err(|_| Dropped::OverLimit)
    }

    /// Asks for a point that a linearizable read may be served at. `context` must never have been used before (a reused one can
    /// give a stale read, etcd#20418). Without a leader, or with one that has not committed in its term, the request vanishes.
    pub fn read_index(&mut self, context: Vec<u8>) {
        self.node.read_index(context);
    }

    /// Hands leadership over; raft gives up after one election timeout.
    pub fn transfer_leader(&mut self, to: MemberId) {
        self.node.transfer_leader(to);
    }

    /// A message to this member was lost: its progress is probed again.
    pub fn report_unreachable(&mut self, id: MemberId) {
        self.node.report_unreachable(id);
    }

    /// A snapshot to this member was installed or failed; its progress is paused until told.
    pub fn report_snapshot(&mut self, id: MemberId, installed: bool) {
        let status = if installed { raft::SnapshotStatus::Finish } else { raft::SnapshotStatus::Failure };
        self.node.report_snapshot(id, status);
    }

    /// The lowest index that a member asked a snapshot for, if one was asked for and none that is new enough is at hand.
    pub fn snapshot_wanted(&self) -> bool {
        self.node.raft.raft_log.store.snapshot_wanted()
    }

    /// A snapshot of this point is at hand and may be sent.
    pub fn snapshot_built(&mut self, meta: SnapshotMeta) {
        self.node.mut_store().set_snapshot(meta);
    }

    /// The log below `first` was cut; the entry before it keeps its term for matching.
    pub fn log_cut(&mut self, first: Index) {
        self.node.mut_store().cut(first);
    }

    /// Everything up to persist number `number` is durable.
    pub fn persisted(&mut self, number: u64) {
        self.node.on_persist_ready(number);
    }

    /// Everything up to `index` is applied.
    pub fn applied(&mut self, index: Index) {
        self.node.advance_apply_to(index);
        self.node.mut_store().release(index);
    }

    /// Carries a membership change over into raft; returns the configuration in force from here on.
    pub fn apply_change(&mut self, entry: &Entry) -> ConfState {
        assert_eq!(entry.kind, EntryKind::Membership, "entry {} is no membership change", entry.index);
        let change = convert::decode_change(&entry.data).expect("the state machine decoded and accepted it before");
        let state =
            self.node.apply_conf_change(&change.raft).expect("membership allows only changes that raft can make");
        self.depart();
        convert::conf_state(&state)
    }

    /// Whether raft has something to do.
    pub fn has_output(&self) -> bool {
        self.node.has_ready()
    }

    /// Takes what raft wants done. Entries are readable by raft from here on, durable only after `persisted`.
    pub fn output(&mut self) -> Output {
        let mut ready = self.node.ready();
        let (mut messages, mut messages_after) = (ready.take_messages(), ready.take_persisted_messages());
        self.withhold(&mut messages);
        self.withhold(&mut messages_after);
        let is_own = |message: &raft::eraftpb::Message| message.from == self.id();
        debug_assert!(messages.iter().chain(&messages_after).all(is_own), "a member speaks in its own name");
        let (messages, messages_after) = (convert::messages(messages), convert::messages(messages_after));
        let hard_state = ready.hs().map(convert::hard_state);
        let stored = self.node.raft.raft_log.store.hard_state();
        let term_moved = hard_state.is_some_and(|now| now.term != stored.term || now.vote != stored.vote);
        let entries: Vec<Entry> = ready.take_entries().into_iter().map(convert::entry).collect();
        let snapshot = (!ready.snapshot().is_empty()).then(|| convert::snapshot_meta(ready.snapshot()));
        let committed = ready.take_committed_entries().into_iter().map(convert::entry).collect();
        let reads = ready
            .take_read_states()
            .into_iter()
            .map(|state| ReadReady { context: state.request_ctx, index: state.index })
            .collect();
        let number = ready.number();
        if let Some(meta) = &snapshot {
            self.node.mut_store().install(meta.clone());
        }
        self.node.mut_store().append(&entries);
        let commits = |now: HardState| self.node.raft.raft_log.store.has_change_in(stored.commit, now.commit);
        let change_committed = hard_state.is_some_and(commits);
        let must_sync = ready.must_sync() || change_committed;
        if let Some(now) = hard_state {
            self.node.mut_store().set_hard_state(now);
        }
        self.node.advance_append_async(ready);
        self.overwrite_election_timeout();
        let persist =
            Persist { number, hard_state, entries, snapshot, messages_after, must_sync, term_moved, change_committed };
        Output { messages, persist, committed, reads }
    }

    /// Raft redraws its timeout from the thread's rng whenever it resets its election clock; ours replaces it, so that a seed
    /// replays exactly.
    fn overwrite_election_timeout(&mut self) {
        if self.node.raft.election_elapsed == 0 {
            self.draw_election_timeout();
        }
    }

    fn draw_election_timeout(&mut self) {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.node.raft.set_randomized_election_timeout(clock::draw(self.timing.election_ticks, self.rng));
    }
}

/// What only a leader answers. Raft 0.7 has a follower pass it on to its leader in the name of who asked, and a peer that speaks in
/// another's name is hung up on, with all that is on its way. Who asked a leader that is none any more asks again.
fn is_for_leader(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgReadIndex | MessageType::MsgTransferLeader)
}

/// What a membership entry holds for the state machine: the payload that `propose_change` was given.
///
/// # Errors
/// The entry is not one.
pub fn change_payload(data: &bytes::Bytes) -> Result<bytes::Bytes, DecodeError> {
    Ok(convert::decode_change(data)?.payload)
}
