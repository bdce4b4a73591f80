//! Linearizable reads: one ReadIndex round confirms all reads that waited when it began (Raft thesis 6.4).
//!
//! A round's context is made of member, boot and a counter and is never used again: a reused one can give a stale read (etcd#20418).
//! A change of term, leader or role abandons the rounds, and a new one with a new context takes their reads over (etcd#21378).
//!
//! A round that is late may be lost, so another one begins; but its answer counts when it comes after all. Across a network that is
//! slower than this patience no round would ever be answered in time (found by chaos with 200 ms each way).

use std::collections::VecDeque;

use super::{Effect, Node};
use crate::log::{MemberId, Term};
use crate::replica::{ReadReady, Role};

/// A round without an answer is followed by another after this many ticks; a request to a leader that vanished is lost silently.
const ROUND_TICKS_MAX: u64 = 5;
/// Rounds that may be under way: more than a request waits for.
const ROUNDS_MAX: usize = 32;

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
    /// Those without an answer, oldest first. Invariant: of one term and leader; contexts and tokens rise.
    under_way: VecDeque<Round>,
}

impl Rounds {
    pub fn new(member: MemberId, boot: u64) -> Rounds {
        Rounds { member, boot, counter: 0, requested: 0, confirmed: 0, under_way: VecDeque::new() }
    }

    pub fn request(&mut self, token: u64) {
        self.requested = self.requested.max(token);
    }

    /// The rounds under way confirm nothing any more; a new one will serve their reads.
    pub fn abandon(&mut self) {
        self.under_way.clear();
    }

    pub(super) fn next_context(&mut self) -> Vec<u8> {
        self.counter += 1;
        [self.member, self.boot, self.counter].iter().flat_map(|part| part.to_be_bytes()).collect()
    }
}

impl Node {
    pub(super) fn start_read_round(&mut self) {
        let (term, leader) = (self.replica.term(), self.replica.leader());
        self.reads.under_way.retain(|round| round.term == term && round.leader == leader);
        let late = |round: &Round| self.ticks >= round.began_at_tick + ROUND_TICKS_MAX;
        if self.reads.under_way.back().is_some_and(|newest| !late(newest)) {
            return;
        }
        if self.reads.requested == self.reads.confirmed || leader == 0 {
            return;
        }
        if self.replica.role() == Role::Leader && !self.replica.leads_with_commit() {
            // It does not know yet what is committed; its first entry is on the way.
            return;
        }
        let context = self.reads.next_context();
        if self.reads.under_way.len() == ROUNDS_MAX {
            self.reads.under_way.pop_front();
        }
        self.reads.under_way.push_back(Round {
            context: context.clone(),
            token: self.reads.requested,
            began_at_tick: self.ticks,
            term,
            leader,
        });
        self.replica.read_index(context);
    }

    pub(super) fn take_reads(&mut self, reads: Vec<ReadReady>, effects: &mut Vec<Effect>) {
        let (term, leader) = (self.replica.term(), self.replica.leader());
        for ReadReady { context, index } in reads {
            let Some(at) = self.reads.under_way.iter().position(|round| round.context == context) else { continue };
            // Those before it confirm nothing that this one does not.
            let Some(round) = self.reads.under_way.drain(..=at).next_back() else { continue };
            if round.term != term || round.leader != leader {
                // Abandoned: the next turn begins a new round for these reads.
                continue;
            }
            self.reads.confirmed = round.token;
            let leads = self.replica.role() == Role::Leader;
            effects.push(Effect::ReadReady { token: round.token, index, term, leads });
            // Reads that came during the round need one of their own.
            self.start_read_round();
        }
    }
}
