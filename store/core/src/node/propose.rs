//! Proposals: a bounded queue, drained into one entry a turn; followers forward theirs to the leader in frames of our own.
//!
//! A proposal is handed to raft at most once. Raft's own forwarding is not used, because it loses proposals silently.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Effect, Node};
use crate::command::{BatchBuilder, CommandId};
use crate::log::{MemberId, Term};
use crate::membership::{Change, Proposed};
use crate::replica::{Dropped, Role};

/// Proposals that wait for a leader or for room; above either bound new ones are refused with etcd's "too many requests".
const QUEUE_ITEMS_MAX: usize = 65_536;
const QUEUE_BYTES_MAX: usize = 128 << 20;
/// Commands are packed into one entry up to this many bytes; a larger command has an entry of its own.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// While this many entries wait for the leader's own disk, proposals gather into the next one instead.
const PERSISTS_OUTSTANDING_MAX: usize = 2;
/// A proposal that found no leader for this many ticks is forgotten; its client was answered long before.
const EXPIRES_TICKS: u64 = 300;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// `command::encode` of the command.
    Command(Bytes),
    /// A membership change, in an entry of its own.
    Change(Proposed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub id: CommandId,
    pub payload: Payload,
}

impl Proposal {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        match &self.payload {
            Payload::Command(data) => data.len(),
            Payload::Change(_) => 512,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// With the tick at which each is forgotten.
    waiting: VecDeque<(u64, Proposal)>,
    bytes: usize,
    /// Sequence of the last frame that this member forwarded.
    forwarded: u64,
    /// Leader and term to which it went.
    forwarded_to: (MemberId, Term),
    /// These gave it back, at this tick.
    given_back: Option<((MemberId, Term), u64)>,
    /// Highest sequence taken per (member, boot): a frame that comes twice is dropped.
    taken: BTreeMap<MemberId, (u64, u64)>,
}

impl Queue {
    pub fn expire(&mut self, ticks: u64) {
        while self.waiting.front().is_some_and(|(expires, _)| *expires <= ticks) {
            self.pop();
        }
    }

    pub fn take_all(&mut self) -> Vec<Proposal> {
        self.bytes = 0;
        self.waiting.drain(..).map(|(_, proposal)| proposal).collect()
    }

    fn pop(&mut self) -> Option<Proposal> {
        let (_, proposal) = self.waiting.pop_front()?;
        self.bytes -= proposal.bytes();
        Some(proposal)
    }

    fn push_back(&mut self, expires: u64, proposal: Proposal) {
        self.bytes += proposal.bytes();
        self.waiting.push_back((expires, proposal));
    }

    fn push_front(&mut self, expires: u64, proposal: Proposal) {
        self.bytes += proposal.bytes();
        self.waiting.push_front((expires, proposal));
    }
}

impl Node {
    pub(super) fn enqueue(&mut self, proposal: Proposal, effects: &mut Vec<Effect>) {
        let queue = &mut self.proposals;
        if queue.waiting.len() >= QUEUE_ITEMS_MAX || queue.bytes + proposal.bytes() > QUEUE_BYTES_MAX {
            effects.push(Effect::Overloaded(proposal.id));
            return;
        }
        queue.push_back(self.ticks + EXPIRES_TICKS, proposal);
    }

    /// Proposals that the leader refused, or that could not be sent, go back to the head, in their order. The same leader gets them again
    /// at the next tick: at once, it would give them back as fast as it is asked.
    pub(super) fn take_back(&mut self, proposals: Vec<Proposal>) {
        self.proposals.given_back = Some((self.proposals.forwarded_to, self.ticks));
        for proposal in proposals.into_iter().rev() {
            self.proposals.push_front(self.ticks + EXPIRES_TICKS, proposal);
        }
    }

    /// A leader takes forwards that are addressed to its own term, each frame once; everything else is refused, which tells the
    /// sender that nothing happened.
    pub(super) fn take_forwarded(
        &mut self,
        from: MemberId,
        boot: u64,
        sequence: u64,
        term: Term,
        proposals: Vec<Proposal>,
        effects: &mut Vec<Effect>,
    ) {
        let taken = self.proposals.taken.entry(from).or_default();
        if (boot, sequence) <= *taken {
            return;
        }
        *taken = (boot, sequence);
        if self.replica.role() != Role::Leader || self.replica.term() != term {
            effects.push(Effect::Refuse { to: from, proposals });
            return;
        }
        let bytes: usize = proposals.iter().map(Proposal::bytes).sum();
        let queue = &self.proposals;
        if queue.waiting.len() + proposals.len() > QUEUE_ITEMS_MAX || queue.bytes + bytes > QUEUE_BYTES_MAX {
            effects.push(Effect::Refuse { to: from, proposals });
            return;
        }
        for proposal in proposals {
            self.proposals.push_back(self.ticks + EXPIRES_TICKS, proposal);
        }
    }

    /// Hands the queue on: to raft when this member leads, to the leader when another does, nowhere when nobody does.
    pub(super) fn propose_waiting(&mut self, effects: &mut Vec<Effect>) {
        if self.proposals.waiting.is_empty() {
            return;
        }
        if self.replica.role() == Role::Leader {
            self.propose_as_leader(effects);
        } else if self.replica.leader() != 0 {
            self.forward(effects);
        }
    }

    fn forward(&mut self, effects: &mut Vec<Effect>) {
        let to = (self.replica.leader(), self.replica.term());
        if self.proposals.given_back == Some((to, self.ticks)) {
            return;
        }
        self.proposals.forwarded_to = to;
        let mut proposals = Vec::with_capacity(self.proposals.waiting.len());
        while let Some(proposal) = self.proposals.pop() {
            proposals.push(proposal);
        }
        self.proposals.forwarded += 1;
        effects.push(Effect::Forward { to: to.0, sequence: self.proposals.forwarded, term: to.1, proposals });
    }

    fn propose_as_leader(&mut self, effects: &mut Vec<Effect>) {
        if self.replica.transferring_to().is_some() {
            return;
        }
        while self.persists.outstanding() < PERSISTS_OUTSTANDING_MAX {
            let Some((_, first)) = self.proposals.waiting.front() else { return };
            let proposed = match &first.payload {
                Payload::Change(proposed) => {
                    let proposed = proposed.clone();
                    self.propose_change(&proposed)
                }
                Payload::Command(_) => self.propose_batch(),
            };
            if proposed.is_err() {
                // It was not handed to raft, so it stays at the head.
                return;
            }
            self.pump(effects);
        }
    }

    fn propose_change(&mut self, proposed: &Proposed) -> Result<(), Dropped> {
        self.replica.propose_change(&proposed.change, proposed.encode())?;
        self.proposals.pop();
        Ok(())
    }

    /// Whoever leads in a joint configuration and knows what is committed ends it, until that is done. Raft's automatic leave may be
    /// lost with the leader that entered it.
    pub(super) fn leave_joint(&mut self) {
        if !self.replica.leads_with_commit() || !self.replica.is_joint() {
            return;
        }
        let leave = Proposed { id: CommandId::default(), change: Change::Leave, expected_index: None, learners_max: 0 };
        // Refused while one is in flight or leadership is being handed over: the next turn tries again.
        let _ = self.replica.propose_change(&leave.change, leave.encode());
    }

    fn propose_batch(&mut self) -> Result<(), Dropped> {
        let mut batch = BatchBuilder::default();
        for (_, proposal) in &self.proposals.waiting {
            let Payload::Command(data) = &proposal.payload else { break };
            if batch.count() > 0 && batch.bytes() + data.len() > ENTRY_BYTES_MAX {
                break;
            }
            batch.push_encoded(data);
        }
        let count = batch.count();
        self.replica.propose(batch.finish())?;
        for _ in 0..count {
            self.proposals.pop();
        }
        Ok(())
    }
}
