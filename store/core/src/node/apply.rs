//! The order of apply: committed entries in order, one hand-over at a time, and a membership change alone as a barrier.

use std::collections::VecDeque;

use super::{Effect, Node};
use crate::log::{ConfState, Entry, EntryKind, Index};
use crate::replica::{self, Departure, Role};

/// Entries handed over at once; what is more waits for `Applied`, so that reads and answers are not held up by a long replay.
const ENTRIES_PER_TURN_MAX: usize = 1_024;
/// So many election timeouts a leader holds the removal of *others* back for those that stay to hear of it. Nothing is lost without:
/// it only helps should this leader die for good at this very moment.
const HOLD_ELECTION_TIMEOUTS: u64 = 2;

/// Invariant: applied ≤ handed ≤ the last entry of `committed`, all contiguous.
#[derive(Debug)]
pub(super) struct Pipeline {
    committed: VecDeque<Entry>,
    handed: Index,
    /// Bytes of the entries that were handed over and are not applied.
    handed_bytes: usize,
    applied: Index,
    /// The membership change that is being applied.
    barrier: Option<Entry>,
    /// The change that is held back (`Node::may_depart`), and the tick since which it is.
    held: Option<(Index, u64)>,
    /// The state is damaged: nothing is handed over before a snapshot replaces it.
    halted: bool,
}

impl Pipeline {
    pub fn new(applied: Index) -> Pipeline {
        let committed = VecDeque::new();
        Pipeline { committed, handed: applied, handed_bytes: 0, applied, barrier: None, held: None, halted: false }
    }

    pub fn applied(&self) -> Index {
        self.applied
    }

    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// Takes back what was handed over last and could not be applied; it changed nothing.
    fn halt(&mut self, entries: Vec<Entry>) {
        let first = entries.first().map(|entry| entry.index);
        let last = entries.last().map(|entry| entry.index);
        assert_eq!((first, last), (Some(self.applied + 1), Some(self.handed)), "what was handed over comes back whole");
        for entry in entries.into_iter().rev() {
            self.committed.push_front(entry);
        }
        self.handed = self.applied;
        self.barrier = None;
        self.halted = true;
    }

    /// Bytes of entries that are committed and not handed over.
    pub fn waiting_bytes(&self) -> usize {
        self.committed.iter().map(|entry| entry.data.len()).sum()
    }

    pub fn push(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let last = self.committed.back().map_or(self.handed, |last| last.index);
            assert_eq!(entry.index, last + 1, "committed entries come in order, each once");
            self.committed.push_back(entry);
        }
    }

    /// The membership change that is next.
    fn next_change(&self) -> Option<&Entry> {
        let idle = self.handed == self.applied && self.barrier.is_none() && !self.halted;
        self.committed.front().filter(|entry| idle && entry.kind == EntryKind::Membership)
    }

    /// A snapshot replaced the state.
    pub fn restart_at(&mut self, index: Index) {
        assert!(index >= self.applied, "a snapshot at {index} does not go back behind applied {}", self.applied);
        assert!(self.barrier.is_none() && self.handed == self.applied, "no snapshot is installed during apply");
        self.committed.retain(|entry| entry.index > index);
        self.handed = index;
        self.applied = index;
        self.halted = false;
    }
}

impl Node {
    pub(super) fn hand_to_apply(&mut self, effects: &mut Vec<Effect>) {
        let apply = &mut self.apply;
        if apply.halted || apply.handed > apply.applied || apply.barrier.is_some() {
            return;
        }
        let normal = |entry: &&Entry| entry.kind == EntryKind::Normal;
        let count = apply.committed.iter().take(ENTRIES_PER_TURN_MAX).take_while(normal).count();
        if count > 0 {
            let entries: Vec<Entry> = apply.committed.drain(..count).collect();
            apply.handed = entries.last().expect("count > 0").index;
            apply.handed_bytes = entries.iter().map(|entry| entry.data.len()).sum();
            effects.push(Effect::Apply(entries));
        } else if self.may_apply_change()
            && let apply = &mut self.apply
            && let Some(entry) = apply.committed.pop_front()
        {
            apply.held = None;
            apply.handed = entry.index;
            apply.handed_bytes = entry.data.len();
            apply.barrier = Some(entry.clone());
            let payload = replica::change_payload(&entry.data).expect("raft read this change when it was proposed");
            effects.push(Effect::ApplyChange { entry, payload });
        }
    }

    /// Tells those that leave by the next change, once they may know. Returns whether raft has more to say.
    pub(super) fn tell_departure(&mut self) -> bool {
        let Some(departure) = self.next_departure() else { return false };
        if self.replica.role() != Role::Leader || self.replica.tells(departure.index) || self.persists.change_commits()
        {
            return false;
        }
        let since = match self.apply.held {
            Some((index, since)) if index == departure.index => since,
            _ => self.ticks,
        };
        self.apply.held = Some((departure.index, since));
        let patience = HOLD_ELECTION_TIMEOUTS * self.replica.election_ticks() as u64;
        let overdue = self.ticks >= since + patience && !departure.leaving.contains(&self.replica.id());
        if !overdue && !self.replica.is_known(&departure) {
            return false;
        }
        self.replica.tell(departure.index);
        true
    }

    fn next_departure(&self) -> Option<Departure> {
        self.apply.next_change().and_then(|entry| self.replica.departure(entry))
    }

    /// A change is applied when its commit is durable, and one that takes voters away (`replica/departure.rs`)
    /// - by a leader when it has told those that leave;
    /// - by a member that leaves when a leader told it.
    ///
    /// That may never come: when a majority of those that stay is dead, or they applied the change and do not talk to this member
    /// any more. It keeps voting then, without ever leading again; it ends when a peer refuses it as removed, or by hand.
    fn may_apply_change(&self) -> bool {
        if self.persists.change_commits() {
            return false;
        }
        let Some(departure) = self.next_departure() else { return true };
        if self.replica.role() == Role::Leader {
            return self.replica.tells(departure.index);
        }
        !departure.leaving.contains(&self.replica.id()) || self.replica.heard_commit() >= departure.index
    }

    /// The others go on: this member keeps the log and votes, and leads only if nobody else can.
    pub(super) fn cannot_apply(&mut self, entries: Vec<Entry>) {
        self.apply.halt(entries);
        self.replica.set_halted(true);
        self.leave_lead_without_disk();
    }

    pub(super) fn applied(&mut self, index: Index) {
        assert_eq!(index, self.apply.handed, "apply reports the end of what it was handed");
        assert!(self.apply.barrier.is_none(), "a membership change reports itself");
        self.reach(index);
    }

    fn reach(&mut self, index: Index) {
        self.apply.applied = index;
        self.flush.applied(self.apply.handed_bytes);
        self.replica.applied(index);
    }

    /// Validated by the state machine first; raft follows, then applied is reported.
    pub(super) fn change_applied(&mut self, index: Index, accepted: Option<ConfState>) {
        let entry = self.apply.barrier.take().expect("a membership change was handed over");
        assert_eq!(entry.index, index, "the change that was handed over");
        if let Some(expected) = accepted {
            let raft = self.replica.apply_change(&entry);
            assert_eq!(raft, expected, "raft and the membership table agree on the configuration");
        }
        self.reach(index);
    }
}
