//! Joint changes (Raft thesis, 4.3): several members change in one step, and until the cluster leaves the joint configuration both the
//! old voters and the new ones must agree to everything, each by their majority. So the number of voters need never be even on the
//! way, and a member is replaced without the cluster tolerating less meanwhile.
//!
//! Nobody's vote goes at the beginning: who is removed stays a member, shown by etcd's MemberList too, until the change is left.

use std::collections::BTreeSet;

use quorate_api::error::Error as ApiError;

use super::{Change, Membership, Refused};
use crate::log::MemberId;

/// Changes of one step: all of seven members replaced.
const CHANGES_MAX: usize = 14;

/// The rest of a joint configuration beside its members. Invariant: who leaves is a voter of the old configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Joint {
    /// The old voters, who decide together with the new ones.
    pub outgoing: BTreeSet<MemberId>,
    /// Those who go when it is left.
    pub leaving: BTreeSet<MemberId>,
}

pub(super) fn malformed(reason: impl Into<String>) -> Refused {
    Refused::Malformed { max: CHANGES_MAX, reason: reason.into() }
}

impl Membership {
    pub fn is_joint(&self) -> bool {
        self.joint.is_some()
    }

    /// The members that go when the joint configuration in force is left; ascending.
    pub fn leaving(&self) -> impl Iterator<Item = MemberId> {
        self.joint.iter().flat_map(|joint| joint.leaving.iter().copied())
    }

    /// Whether this member will vote once no joint configuration is in force.
    pub fn is_lasting_voter(&self, id: MemberId) -> bool {
        let leaves = self.joint.as_ref().is_some_and(|joint| joint.leaving.contains(&id));
        self.members.get(&id).is_some_and(|member| !member.learner && !leaves)
    }

    /// The joint configuration that these changes lead to.
    pub(super) fn staged(&self, changes: &[Change], learners_max: u32) -> Result<Membership, Refused> {
        if changes.is_empty() || changes.len() > CHANGES_MAX {
            return Err(malformed(format!("it has {}", changes.len())));
        }
        let outgoing = self.voter_ids().collect();
        let mut staged = self.clone();
        let mut joint = Joint { outgoing, leaving: BTreeSet::new() };
        let mut named = BTreeSet::new();
        for change in changes {
            let ids = change.members();
            if matches!(change, Change::UpdatePeerUrls { .. }) || !ids.iter().all(|id| named.insert(*id)) {
                return Err(malformed(format!("{change:?}")));
            }
            match change {
                Change::Remove(id) if joint.outgoing.contains(id) => {
                    joint.leaving.insert(*id);
                }
                change => {
                    staged.check_one(change, 0)?;
                    staged.apply_one(change.clone());
                }
            }
        }
        if learners_max > 0 && staged.learners() > learners_max.max(self.learners() as u32) as usize {
            return Err(ApiError::TooManyLearners.into());
        }
        staged.joint = Some(joint);
        if !staged.members.keys().any(|id| staged.is_lasting_voter(*id)) {
            return Err(ApiError::MemberNotEnoughStarted.into());
        }
        Ok(staged)
    }

    pub(super) fn leave(&mut self) {
        let Some(Joint { outgoing: _, leaving }) = self.joint.take() else { return };
        for id in leaving {
            self.members.remove(&id);
            self.removed.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandId;
    use crate::feature;
    use crate::log::ConfState;
    use crate::membership::{Member, Proposed};

    fn member(id: MemberId) -> Member {
        Member { id, peer_urls: vec![format!("http://peer-{id}:2380")], ..Default::default() }
    }

    fn add(id: MemberId) -> Change {
        Change::AddLearner(Member { learner: true, ..member(id) })
    }

    /// Voters 1 to 3 and learners 4 and 5.
    fn cluster() -> Membership {
        let mut membership = Membership::seeded((1..=3).map(member));
        membership.apply(4, Change::Joint(vec![add(4), add(5)]));
        membership.apply(5, Change::Leave);
        membership
    }

    fn proposed(change: Change) -> Proposed {
        Proposed { id: CommandId::default(), change, expected_index: None, learners_max: 2 }
    }

    #[test]
    fn a_voter_is_replaced_in_one_step_and_goes_when_it_is_left() {
        let mut membership = cluster();
        let changed = membership.apply(6, Change::Joint(vec![Change::Promote(4), Change::Remove(2)]));
        assert_eq!(changed, [4, 2]);
        let joint =
            ConfState { voters: vec![1, 3, 4], learners: vec![5], outgoing: vec![1, 2, 3], ..Default::default() };
        assert_eq!(membership.conf_state(), joint);
        assert!(membership.get(2).is_some() && !membership.is_removed(2), "it votes until the end");
        assert!(!membership.is_lasting_voter(2) && membership.is_lasting_voter(4));
        assert_eq!(membership.apply(7, Change::Leave), [2]);
        let after = ConfState { voters: vec![1, 3, 4], learners: vec![5], ..Default::default() };
        assert_eq!((membership.conf_state(), membership.is_removed(2)), (after, true));
    }

    #[test]
    fn a_learner_that_is_removed_goes_at_once() {
        let mut membership = cluster();
        membership.apply(6, Change::Joint(vec![Change::Remove(4), Change::Promote(5)]));
        assert!(membership.is_removed(4));
        assert_eq!(membership.conf_state().voters, [1, 2, 3, 5]);
    }

    #[test]
    fn what_a_joint_change_may_be_is_checked_as_a_whole() {
        let membership = cluster();
        let malformed = |result: Result<(), Refused>| matches!(result, Err(Refused::Malformed { .. }));
        let check = |changes| membership.check(&proposed(Change::Joint(changes)), feature::JOINT_CHANGES);
        assert_eq!(check(vec![Change::Promote(4), Change::Promote(5)]), Ok(()));
        assert_eq!(check(vec![Change::Promote(4), Change::Remove(1)]), Ok(()));
        assert_eq!(check(vec![add(6), Change::Promote(5)]), Ok(()));
        assert_eq!(check(vec![add(6), Change::Remove(1)]), Err(ApiError::TooManyLearners.into()));
        assert_eq!(check(vec![Change::Promote(1), Change::Remove(2)]), Err(ApiError::MemberNotLearner.into()));
        assert_eq!(check(vec![Change::Remove(9)]), Err(ApiError::MemberNotFound.into()));
        let all = (1..=3).map(Change::Remove).collect();
        assert_eq!(check(all), Err(ApiError::MemberNotEnoughStarted.into()));
        // The URLs of a member that leaves are its own until it is gone.
        let same_urls = Change::AddVoter(Member { id: 6, ..member(1) });
        assert_eq!(check(vec![Change::Remove(1), same_urls]), Err(ApiError::PeerURLExist.into()));
        assert!(malformed(check(Vec::new())));
        assert!(malformed(check(vec![Change::Promote(4), Change::Remove(4)])));
        assert!(malformed(check(vec![Change::UpdatePeerUrls { id: 1, peer_urls: Vec::new() }, Change::Promote(4)])));
        assert!(malformed(check(vec![Change::Joint(vec![Change::Promote(4)])])));
        assert!(malformed(check((10..30).map(add).collect())));
    }

    #[test]
    fn nothing_but_leaving_is_allowed_in_a_joint_configuration() {
        let mut membership = cluster();
        let check = |membership: &Membership, change| membership.check(&proposed(change), feature::JOINT_CHANGES);
        assert_eq!(check(&membership, Change::Leave), Err(Refused::NotJoint));
        membership.apply(6, Change::Joint(vec![Change::Promote(4), Change::Remove(1)]));
        assert_eq!(check(&membership, Change::Remove(2)), Err(Refused::InFlight));
        assert_eq!(check(&membership, Change::Joint(vec![Change::Promote(5)])), Err(Refused::InFlight));
        assert_eq!(check(&membership, Change::Leave), Ok(()));
    }

    #[test]
    fn below_its_feature_level_a_joint_change_is_refused() {
        let change = proposed(Change::Joint(vec![Change::Promote(4)]));
        let refused = Refused::FeatureLevel { required: 2, actual: 1 };
        assert_eq!(cluster().check(&change, 1), Err(refused));
        assert_eq!(cluster().check(&proposed(Change::Promote(4)), 1), Ok(()));
    }
}
