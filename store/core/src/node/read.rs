//! Linearizable reads: one ReadIndex round confirms all reads that waited when it began (Raft thesis 6.4).
//!
//! A round's context is made of member, boot and a counter and is never used again: a reused one can give a stale read (etcd#20418).
//! A change of term, leader or role abandons the round, and a new one with a new context takes its reads over (etcd#21378).

use super::{Effect, Node};
use crate::log::{MemberId, Term};
use crate::replica::{ReadReady, Role};

/// A round without an answer is begun anew after this many ticks; a request to a leader that vanished is lost silently.
const ROUND_TICKS_MAX: u64 = 5;

#[derive(Debug)]
struct Round {
    context: Vec<u8>,
    /// Confirms all tokens up to this one.
    token: u64,
    began_at_tick: u64,
    term: Term,
    leader: MemberId,
}

#[derive(Debug)]
pub(super) struct Rounds {
    member: MemberId,
    boot: u64,
    counter: u64,
    requested: u64,
    confirmed: u64,
    current: Option<Round>,
}

impl Rounds {
    pub fn new(member: MemberId, boot: u64) -> Rounds {
        Rounds { member, boot, counter: 0, requested: 0, confirmed: 0, current: None }
    }

    pub fn request(&mut self, token: u64) {
        self.requested = self.requested.max(token);
    }

    /// The round under way confirms nothing any more; a new one will serve its reads.
    pub fn abandon(&mut self) {
        self.current = None;
    }

    pub(super) fn next_context(&mut self) -> Vec<u8> {
        self.counter += 1;
        [self.member, self.boot, self.counter].iter().flat_map(|part| part.to_be_bytes()).collect()
    }
}

impl Node {
    pub(super) fn start_read_round(&mut self) {
        let (term, leader) = (self.replica.term(), self.replica.leader());
        if let Some(round) = &self.reads.current {
            let late = self.ticks >= round.began_at_tick + ROUND_TICKS_MAX;
            if !late && round.term == term && round.leader == leader {
                return;
            }
            self.reads.current = None;
        }
        if self.reads.requested == self.reads.confirmed || leader == 0 {
            return;
        }
        if self.replica.role() == Role::Leader && !self.replica.leads_with_commit() {
            // It does not know yet what is committed; its first entry is on the way.
            return;
        }
        let context = self.reads.next_context();
        self.reads.current = Some(Round {
            context: context.clone(),
            token: self.reads.requested,
            began_at_tick: self.ticks,
            term,
            leader,
        });
        self.replica.read_index(context);
    }

    pub(super) fn take_reads(&mut self, reads: Vec<ReadReady>, effects: &mut Vec<Effect>) {
        for ReadReady { context, index } in reads {
            let matches = self.reads.current.as_ref().is_some_and(|round| round.context == context);
            if !matches {
                continue;
            }
            let Some(Round { token, term, leader, .. }) = self.reads.current.take() else { continue };
            if term != self.replica.term() || leader != self.replica.leader() {
                // Abandoned: the next turn begins a new round for these reads.
                continue;
            }
            self.reads.confirmed = token;
            let leads = self.replica.role() == Role::Leader;
            effects.push(Effect::ReadReady { token, index, term, leads });
            // Reads that came during the round need one of their own.
            self.start_read_round();
        }
    }
}
