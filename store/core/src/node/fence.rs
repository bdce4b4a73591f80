//! A fenced member takes no part in raft: it sends nothing, hears nothing, proposes nothing, and its clock stands still, as if it were
//! stopped. What its disk and its state machine were given before is still finished, and flushed. Lifted, it goes on where it was; to raft and to
//! the others that looks like a pause.

use std::collections::BTreeMap;

use super::{Effect, Event, Node, Proposal};
use crate::log::MemberId;
use crate::replica::Role;

impl Node {
    pub(super) fn fence(&mut self, fenced: bool, effects: &mut Vec<Effect>) {
        if fenced == self.fenced {
            return;
        }
        self.fenced = fenced;
        if !fenced {
            // What it did not hear before says nothing about now.
            self.leaderless_ticks = 0;
        }
        if fenced {
            self.reads.abandon();
            // They were not handed to raft, and nobody waits for them any more when the fence is lifted.
            let waiting = self.proposals.take_all();
            self.give_back(waiting, effects);
        } else if self.replica.role() == Role::Leader {
            // What was sent meanwhile is lost, a snapshot too.
            for progress in self.replica.progress() {
                self.replica.report_snapshot(progress.id, false);
                self.replica.report_unreachable(progress.id);
            }
        }
    }

    /// Whether no leader has been known for a whole election timeout in which this member took part; of a fenced one, whether it was
    /// so at the fence. True in every member of a cluster that has lost its quorum, and in none that a leader reaches.
    pub fn is_leaderless(&self) -> bool {
        self.replica.leader() == 0 && self.leaderless_ticks >= self.replica.election_ticks() as u64
    }

    /// What happens to a fenced member. The log and the state machine report what they were given before; messages are lost.
    pub(super) fn step_fenced(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            // What was applied goes on getting old.
            Event::Tick => self.flush.tick(),
            Event::Message(_) | Event::Transfer { .. } => {}
            Event::Propose(proposal) => self.give_back(vec![proposal], effects),
            Event::Forwarded { proposals, .. } | Event::Refused { proposals } => self.give_back(proposals, effects),
            other => self.step(other, effects),
        }
    }

    /// Tells whoever proposed these that nothing happened to them.
    fn give_back(&self, proposals: Vec<Proposal>, effects: &mut Vec<Effect>) {
        let this = self.replica.id();
        let mut of_others: BTreeMap<MemberId, Vec<Proposal>> = BTreeMap::new();
        for proposal in proposals {
            match proposal.id.member {
                own if own == this => effects.push(Effect::Overloaded(proposal.id)),
                other => of_others.entry(other).or_default().push(proposal),
            }
        }
        effects.extend(of_others.into_iter().map(|(to, proposals)| Effect::Refuse { to, proposals }));
    }
}

/// What a fenced member must not do; a refusal of others' proposals is no part of raft.
pub(super) fn silence(effects: &mut Vec<Effect>) {
    effects.retain(|effect| !matches!(effect, Effect::Send(_) | Effect::Forward { .. }));
}
