//! The configuration of a cluster that one survivor goes on with, because its quorum is lost for ever.

use super::{Member, Membership};
use crate::log::{Index, MemberId};

impl Membership {
    /// Leaves `survivor` as the only member, a voter, whatever the configuration was; all others are removed for ever, also those that
    /// were to leave a joint configuration. Returns the members that changed.
    pub fn recover(&mut self, index: Index, survivor: Member) -> Vec<MemberId> {
        assert!(index > self.index, "recovery at {index} after a change at {}", self.index);
        let id = survivor.id;
        let mut changed: Vec<MemberId> = self.members.keys().copied().filter(|other| *other != id).collect();
        self.removed.extend(&changed);
        self.removed.remove(&id);
        self.members.clear();
        self.members.insert(id, Member { learner: false, ..survivor });
        self.joint = None;
        self.index = index;
        changed.push(id);
        changed
    }

    /// Whether this member is all there is, and votes.
    pub fn is_alone(&self, id: MemberId) -> bool {
        self.members.len() == 1 && self.joint.is_none() && self.is_lasting_voter(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::ConfState;
    use crate::membership::Change;

    fn member(id: MemberId) -> Member {
        Member { id, peer_urls: vec![format!("http://peer-{id}:2380")], ..Default::default() }
    }

    fn cluster() -> Membership {
        let learner = Member { learner: true, ..member(4) };
        Membership::seeded((1..=3).map(member).chain([learner]))
    }

    #[test]
    fn the_survivor_is_all_that_is_left_and_the_others_never_come_back() {
        let mut membership = cluster();
        assert!(!membership.is_alone(2));
        let mut changed = membership.recover(9, membership.get(2).unwrap().clone());
        changed.sort_unstable();
        assert_eq!(changed, [1, 2, 3, 4]);
        assert_eq!(membership.conf_state(), ConfState { voters: vec![2], ..Default::default() });
        assert_eq!((membership.index(), membership.is_alone(2)), (9, true));
        assert!([1, 3, 4].iter().all(|id| membership.is_removed(*id)) && !membership.is_removed(2));
    }

    #[test]
    fn a_joint_configuration_is_dropped_whoever_was_to_leave() {
        let mut membership = cluster();
        membership.apply(5, Change::Joint(vec![Change::Promote(4), Change::Remove(2)]));
        membership.recover(9, membership.get(2).unwrap().clone());
        assert_eq!(membership.conf_state(), ConfState { voters: vec![2], ..Default::default() });
        assert!(!membership.is_joint() && membership.is_removed(4));
    }

    #[test]
    fn a_survivor_that_the_log_goes_on_to_remove_or_that_only_learned_votes() {
        let mut membership = cluster();
        membership.apply(5, Change::Remove(2));
        membership.recover(9, member(2));
        assert!(membership.is_alone(2) && !membership.is_removed(2));
        let mut membership = cluster();
        membership.recover(9, membership.get(4).unwrap().clone());
        assert!(membership.is_alone(4));
    }
}
