//! The operator who grows and shrinks the cluster, and replaces members whose disk is refused.

use quorate_core::command::CommandId;
use quorate_core::log::MemberId;
use quorate_core::membership::{Change, Member, Proposed};
use quorate_core::node::{Event, Payload, Proposal};

use crate::cluster::{Cluster, What};
use crate::host::member;

/// Entries that a learner may lack when it is promoted.
const PROMOTE_LAG_MAX: u64 = 30;

impl Cluster {
    /// The operator's next step towards the wanted number of voters.
    pub(crate) fn administer(&mut self) {
        if !self.faults {
            return;
        }
        let at = self.now + self.chance.between(300_000, 2_500_000);
        self.at(at, What::Administer);
        if self.chance.percent(8) {
            self.wanted = self.chance.between(1, self.options.members + 1);
        }
        let Some((leader, change)) = self.next_change() else { return };
        if let Change::AddLearner(_) = change {
            self.next_id += 1;
        }
        let Some(process) = self.hosts.get_mut(&leader).and_then(|host| host.process.as_mut()) else { return };
        process.next_counter += 1;
        let id = CommandId { member: leader, boot: process.boot, counter: process.next_counter };
        let proposed = Proposed { id, change, expected_index: None, learners_max: 1 };
        let proposal = Proposal { id, payload: Payload::Change(proposed) };
        self.tell_member(leader, Event::Propose(proposal));
    }

    fn next_change(&mut self) -> Option<(MemberId, Change)> {
        let leader = self.leader()?;
        let process = leader.process.as_ref()?;
        let (id, membership) = (leader.id, process.machine.membership());
        let voters: Vec<MemberId> = membership.members().filter(|m| !m.learner).map(|m| m.id).collect();
        // First of all a member that cannot start goes; the next step adds a fresh one.
        let is_broken = |id: &MemberId| self.hosts.get(id).is_some_and(|host| host.broken.is_some());
        if let Some(broken) = membership.members().map(|m| m.id).find(is_broken) {
            return Some((id, Change::Remove(broken)));
        }
        let learner = membership.members().find(|m| m.learner).map(|m| m.id);
        if let Some(learner) = learner {
            let progress = process.node.progress().into_iter().find(|progress| progress.id == learner);
            let caught_up = progress.is_some_and(|progress| {
                progress.recently_active && progress.match_index + PROMOTE_LAG_MAX >= process.node.last_index()
            });
            if caught_up {
                return Some((id, Change::Promote(learner)));
            }
            return self.chance.percent(5).then_some((id, Change::Remove(learner)));
        }
        match voters.len() as u64 {
            count if count < self.wanted => {
                Some((id, Change::AddLearner(Member { learner: true, ..member(self.next_id) })))
            }
            count if count > self.wanted => Some((id, Change::Remove(self.chance.pick(&voters)))),
            _ => None,
        }
    }
}
