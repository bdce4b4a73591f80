//! The heart: what a member does next, as values. `turn(events) -> effects` owns the order of persist, send, apply, answer,
//! membership barriers, flush and the cut of the log; the server's threads only perform the effects and report back with events.
//!
//! The order that it guarantees:
//! - a message that promises something (a vote, an append answer) leaves after what it promises is durable;
//! - an entry is applied after it is committed, in order, once; a membership change is applied alone, with everything before it;
//! - the log is cut only below what is applied and durable without it, and not where a follower that answers still asks for it;
//! - a member goes only when those that stay know that it may;
//! - a proposal is handed to raft at most once; one that was not handed over stays at the head of its queue;
//! - a read is answered at an index that was confirmed by a round that began after the read arrived.

mod apply;
mod cut;
mod fence;
mod flush;
mod persist;
mod propose;
mod read;
mod space;
#[cfg(test)]
mod tests;

pub use flush::FlushPolicy;
pub use propose::{Payload, Proposal};

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::CommandId;
use crate::log::{ConfState, Entry, HardState, Index, MemberId, SnapshotMeta, Term};
use crate::replica::{LogRange, LogReadError, LogReader, Loss, Message, Progress, Replica, Role, Start};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// One heartbeat interval passed.
    Tick,
    Message(Message),
    /// A proposal of this member's own clients.
    Propose(Proposal),
    /// Proposals that another member forwarded, addressed to the leader of `term`. `sequence` rises per (from, boot).
    Forwarded {
        from: MemberId,
        boot: u64,
        sequence: u64,
        term: Term,
        proposals: Vec<Proposal>,
    },
    /// The leader did not propose these; nothing happened to them.
    Refused {
        proposals: Vec<Proposal>,
    },
    /// A linearizable read arrived. Tokens rise; a confirmed token confirms all below it.
    Read {
        token: u64,
    },
    /// Everything up to this number is durable (a snapshot in it is installed).
    Persisted {
        number: u64,
    },
    /// Normal entries up to `index` are applied.
    Applied {
        index: Index,
    },
    /// The membership change at `index` is applied; `accepted` holds the configuration from here on, `None` when it was refused.
    ChangeApplied {
        index: Index,
        accepted: Option<ConfState>,
    },
    /// From now on a tick comes every so many milliseconds, and an election timeout has this many: 2 to `replica::ELECTION_TICKS_MAX`.
    Timers {
        tick_ms: u64,
        election_ticks: usize,
    },
    /// What was handed over last could not be applied, because rows that it needs are damaged; it changed nothing. Nothing more is
    /// handed over until a snapshot replaces the state.
    CannotApply {
        entries: Vec<Entry>,
    },
    /// Keep out of raft (`node/fence.rs`), or take part again.
    Fence {
        fenced: bool,
    },
    /// The log or the database cannot grow, or will soon not be able to; reported once.
    DiskFull,
    /// Both can grow again.
    DiskBack,
    /// This member's state is not to be trusted: ask the leader for a snapshot that replaces it. Does nothing on a leader, without
    /// one, or while one is asked for.
    RequestSnapshot,
    /// Hand leadership over.
    Transfer {
        to: MemberId,
    },
    /// A message to this member could not be sent.
    Unreachable {
        id: MemberId,
    },
    /// The snapshot for this member arrived, or failed.
    SnapshotSent {
        id: MemberId,
        installed: bool,
    },
    SnapshotBuilt {
        meta: SnapshotMeta,
    },
    /// What `Effect::ReadLog` asked for.
    LogRead {
        range: LogRange,
        read: Result<Vec<Entry>, LogReadError>,
    },
    /// What `Effect::Flush` asked for is done: the state up to `applied` is durable without the log, of which so many entries below
    /// stay all the same.
    Flushed {
        applied: Index,
        keep_entries: u64,
    },
    /// The log below `first` is gone.
    LogCut {
        first: Index,
    },
}

/// What to do. Effects of one turn are performed in order; `Persist` and `Apply` may go to other threads, which work in order.
#[derive(Debug)]
pub enum Effect {
    Send(Message),
    Forward {
        to: MemberId,
        sequence: u64,
        term: Term,
        proposals: Vec<Proposal>,
    },
    /// Tells a member that forwarded these that they were not proposed.
    Refuse {
        to: MemberId,
        proposals: Vec<Proposal>,
    },
    /// Make this durable, then report `Persisted`. A snapshot in it is installed first, and replaces log and state.
    Persist {
        number: u64,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        snapshot: Option<SnapshotMeta>,
    },
    /// Apply these in order, then report `Applied` with the last index, or `CannotApply` with all of them.
    Apply(Vec<Entry>),
    /// Apply this membership change, then report `ChangeApplied`, or `CannotApply` with its entry.
    ApplyChange {
        entry: Entry,
        payload: Bytes,
    },
    /// All reads up to `token` may be answered once `index` is applied. `leads` = this member confirmed its own leadership of `term`.
    ReadReady {
        token: u64,
        index: Index,
        term: Term,
        leads: bool,
    },
    /// The queue of proposals is full; nothing happened to this one.
    Overloaded(CommandId),
    /// Read these entries for a follower, then report `LogRead`, also of a failure. At most `replica::READS_MAX` are under way.
    ReadLog(LogRange),
    /// A follower needs a snapshot: build one and report `SnapshotBuilt`.
    BuildSnapshot,
    /// Make what is applied durable without the log, then report `Flushed`. On a full disk it waits for room. At most one is under way.
    Flush,
    /// Nobody here needs the log below `below`; from `wanted_from` on followers may still ask for it. Cut it as far as the disk has no
    /// room for them, then report `LogCut`.
    CutLog {
        below: Index,
        wanted_from: Index,
    },
    /// This log lacks what it acknowledged: end the process, and say so. Nothing that comes after this may be performed.
    End(Loss),
}

/// Where the member stands; compared between turns by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub role: Role,
    /// 0 when unknown.
    pub leader: MemberId,
    pub term: Term,
    pub commit: Index,
    pub applied: Index,
    /// The leader has committed in its term, so it knows what is committed.
    pub leads_with_commit: bool,
    pub sole_voter: bool,
}

pub struct Node {
    replica: Replica,
    ticks: u64,
    /// When each member was last heard of. Only members of the cluster get through to here, so it stays small.
    heard: BTreeMap<MemberId, u64>,
    proposals: propose::Queue,
    reads: read::Rounds,
    persists: persist::Order,
    apply: apply::Pipeline,
    flush: flush::Flush,
    space: space::Space,
    snapshot_asked: bool,
    fenced: bool,
    /// Ticks in a row, unfenced, at which no leader was known.
    leaderless_ticks: u64,
}

impl Node {
    /// `boot` must never have been used by this member before.
    pub fn new(start: Start, boot: u64, reader: Box<dyn LogReader>, flush: FlushPolicy) -> Node {
        let applied = start.applied;
        let replica = Replica::new(start, reader);
        Node {
            ticks: 0,
            heard: BTreeMap::new(),
            proposals: propose::Queue::default(),
            reads: read::Rounds::new(replica.id(), boot),
            persists: persist::Order::default(),
            apply: apply::Pipeline::new(applied),
            flush: flush::Flush::new(flush),
            space: space::Space::default(),
            snapshot_asked: false,
            fenced: false,
            leaderless_ticks: 0,
            replica,
        }
    }

    /// Takes what happened, in order, and says what to do. An empty turn at start yields the committed tail to replay.
    pub fn turn(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            match self.fenced {
                true => self.step_fenced(event, &mut effects),
                false => self.step(event, &mut effects),
            }
        }
        if !self.fenced {
            self.leave_joint();
            self.propose_waiting(&mut effects);
            self.start_read_round();
        }
        self.pump(&mut effects);
        if self.fenced {
            fence::silence(&mut effects);
        }
        effects
    }

    pub fn status(&self) -> Status {
        // A fenced member leads nobody and follows nobody, whatever raft was when it was fenced.
        let (role, leader) =
            if self.fenced { (Role::Follower, 0) } else { (self.replica.role(), self.replica.leader()) };
        Status {
            role,
            leader,
            term: self.replica.term(),
            commit: self.replica.commit(),
            applied: self.apply.applied(),
            leads_with_commit: !self.fenced && self.replica.leads_with_commit(),
            sole_voter: self.replica.is_sole_voter(),
        }
    }

    /// What the leader knows of every member; empty on others.
    pub fn progress(&self) -> Vec<Progress> {
        self.replica.progress()
    }

    pub fn last_index(&self) -> Index {
        self.replica.last_index()
    }

    fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Tick => self.tick(),
            Event::Message(message) => {
                self.heard.insert(message.from(), self.ticks);
                if self.has_room_for(&message)
                    && let Err(loss) = self.replica.step(message)
                {
                    effects.push(Effect::End(loss));
                }
            }
            Event::Propose(proposal) => self.enqueue(proposal, effects),
            Event::Forwarded { from, boot, sequence, term, proposals } => {
                self.take_forwarded(from, boot, sequence, term, proposals, effects);
            }
            Event::Refused { proposals } => self.take_back(proposals),
            Event::Read { token } => self.reads.request(token),
            Event::Persisted { number } => self.persisted(number, effects),
            Event::Applied { index } => self.applied(index),
            Event::ChangeApplied { index, accepted } => self.change_applied(index, accepted),
            Event::CannotApply { entries } => self.cannot_apply(entries),
            Event::Timers { tick_ms, election_ticks } => {
                self.flush.set_tick_ms(tick_ms);
                self.replica.set_election_ticks(election_ticks);
            }
            Event::Fence { fenced } => self.fence(fenced, effects),
            Event::DiskFull => self.disk_full(),
            Event::DiskBack => self.disk_back(),
            Event::RequestSnapshot => self.replica.request_snapshot(),
            Event::Transfer { to } => self.replica.transfer_leader(to),
            Event::Unreachable { id } => self.replica.report_unreachable(id),
            Event::SnapshotSent { id, installed } => self.replica.report_snapshot(id, installed),
            Event::SnapshotBuilt { meta } => {
                self.snapshot_asked = false;
                self.replica.snapshot_built(meta);
            }
            Event::LogRead { range, read } => self.replica.log_read(range, read),
            Event::Flushed { applied, keep_entries } => self.flushed(applied, keep_entries, effects),
            Event::LogCut { first } => self.replica.log_cut(first),
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.replica.tick();
        self.leaderless_ticks = if self.replica.leader() == 0 { self.leaderless_ticks + 1 } else { 0 };
        self.flush.tick();
        self.leave_lead_without_disk();
        self.proposals.expire(self.ticks);
    }

    /// Turns everything that raft has ready into effects.
    fn pump(&mut self, effects: &mut Vec<Effect>) {
        loop {
            while self.replica.has_output() {
                let output = self.replica.output();
                self.take_reads(output.reads, effects);
                self.take_persist(output.messages, output.persist, effects);
                self.apply.push(output.committed);
            }
            if !self.tell_departure() {
                break;
            }
        }
        effects.extend(self.replica.take_wanted_reads().into_iter().map(Effect::ReadLog));
        if self.replica.snapshot_wanted() && !self.snapshot_asked {
            self.snapshot_asked = true;
            effects.push(Effect::BuildSnapshot);
        }
        self.start_flush(effects);
        self.hand_to_apply(effects);
    }
}
