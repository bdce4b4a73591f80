//! The order of durability: what raft handed out, in order, and the messages that wait for it.

use std::collections::VecDeque;

use super::{Effect, Node};
use crate::log::Index;
use crate::replica::{Message, Persist};

/// One thing that raft handed out. Invariant: numbers rise from front to back.
#[derive(Debug)]
struct Waiting {
    number: u64,
    durable: bool,
    /// The tick at which it was handed out.
    since: u64,
    /// What it says must be durable before anything that leaves later: a term, or the commit of a membership change.
    is_fence: bool,
    change_committed: bool,
    snapshot: Option<Index>,
    messages: Vec<Message>,
}

#[derive(Debug, Default)]
pub(super) struct Order {
    waiting: VecDeque<Waiting>,
}

impl Order {
    /// Persists that were handed out and are not durable yet.
    pub fn outstanding(&self) -> usize {
        self.waiting.iter().filter(|waiting| !waiting.durable).count()
    }

    /// Since which tick the oldest of them waits.
    pub fn waits_since(&self) -> Option<u64> {
        self.waiting.iter().find(|waiting| !waiting.durable).map(|waiting| waiting.since)
    }

    fn is_fenced(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_fence)
    }

    /// Whether the commit of a membership change is not durable yet.
    pub fn change_commits(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.change_committed)
    }
}

impl Node {
    /// Raft lets a leader send at once, while its own disk works. Not so before its term is durable: a sole voter leads in the very
    /// step that raises its term, and its appends to a learner would leave before that; after a crash two different entries could
    /// share index and term. So messages wait for the sync as long as a term does.
    ///
    /// They also wait for the commit of a membership change: whoever leaves by it goes when it hears of the commit, and a power cut
    /// must not make those forget it that stay.
    pub(super) fn take_persist(&mut self, messages: Vec<Message>, mut persist: Persist, effects: &mut Vec<Effect>) {
        let is_fence = persist.term_moved || persist.change_committed;
        if is_fence || self.persists.is_fenced() {
            persist.messages_after.extend(messages);
        } else {
            effects.extend(messages.into_iter().map(Effect::Send));
        }
        let Persist {
            number,
            hard_state,
            entries,
            snapshot,
            messages_after,
            must_sync,
            term_moved: _,
            change_committed,
        } = persist;
        assert!(
            self.persists.waiting.back().is_none_or(|last| last.number < number),
            "persist {number} is not the next"
        );
        self.persists.waiting.push_back(Waiting {
            number,
            // What changes the commit index alone owes no sync: the log itself tells it again.
            durable: !must_sync,
            since: self.ticks,
            is_fence,
            change_committed,
            snapshot: snapshot.as_ref().map(|meta| meta.index),
            messages: messages_after,
        });
        if must_sync {
            effects.push(Effect::Persist { number, hard_state, entries, snapshot });
        }
        self.release_durable(effects);
    }

    pub(super) fn persisted(&mut self, number: u64, effects: &mut Vec<Effect>) {
        for waiting in self.persists.waiting.iter_mut().take_while(|waiting| waiting.number <= number) {
            waiting.durable = true;
        }
        self.release_durable(effects);
    }

    /// Sends what waited for a durable prefix, and tells raft.
    fn release_durable(&mut self, effects: &mut Vec<Effect>) {
        while self.persists.waiting.front().is_some_and(|waiting| waiting.durable) {
            let Some(Waiting { number, snapshot, messages, .. }) = self.persists.waiting.pop_front() else { break };
            effects.extend(messages.into_iter().map(Effect::Send));
            self.replica.persisted(number);
            if let Some(index) = snapshot {
                // The installed snapshot is the applied state.
                self.apply.restart_at(index);
                self.flush.replaced();
                self.replica.set_halted(false);
                self.replica.applied(index);
            }
        }
    }
}
