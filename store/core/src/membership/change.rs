//! One change of the configuration: what it is, the checks that bind when it is applied, and its effect.

use quorate_api::error::Error as ApiError;

use super::{Member, Membership};
use crate::command::CommandId;
use crate::feature;
use crate::log::{Index, MemberId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only founding and etcd's MemberAdd add voters at once; the operator adds learners.
    AddVoter(Member),
    AddLearner(Member),
    Promote(MemberId),
    Remove(MemberId),
    UpdatePeerUrls {
        id: MemberId,
        peer_urls: Vec<String>,
    },
    /// Several of the first four kinds in one step, by joint consensus (`joint`).
    Joint(Vec<Change>),
    /// Ends the joint configuration in force; proposed by whoever leads in it.
    Leave,
}

/// A change as it stands in the log, with the id of the waiter that gets its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    pub id: CommandId,
    pub change: Change,
    /// The configuration index that the proposer saw; `None` = whatever it is (etcd's own calls).
    pub expected_index: Option<Index>,
    /// How many learners may exist at once; 0 = not limited by this change.
    pub learners_max: u32,
}

/// Why a committed change has no effect. Nothing was changed; the waiter is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Api(ApiError),
    #[error("the configuration moved: expected index {expected}, it is {actual}; read it again and decide anew")]
    Moved { expected: Index, actual: Index },
    #[error("another membership change is in flight; try again when it is done")]
    InFlight,
    #[error("the cluster is not in a joint configuration: there is nothing to leave")]
    NotJoint,
    #[error("a joint change adds, promotes and removes from 1 to {max} members, each once: {reason}")]
    Malformed { max: usize, reason: String },
    #[error(
        "this change needs feature level {required}, the cluster is at {actual}: raise it when all members run a version that knows it"
    )]
    FeatureLevel { required: u32, actual: u32 },
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Refused::Api(error)
    }
}

impl Change {
    /// The members that are changed, in order; none for `Leave`, which the configuration itself names.
    pub fn members(&self) -> Vec<MemberId> {
        match self {
            Change::AddVoter(member) | Change::AddLearner(member) => vec![member.id],
            Change::Promote(id) | Change::Remove(id) | Change::UpdatePeerUrls { id, .. } => vec![*id],
            Change::Joint(changes) => changes.iter().flat_map(Change::members).collect(),
            Change::Leave => Vec::new(),
        }
    }

    /// The level that the cluster must have reached before this may be proposed.
    pub fn feature_level(&self) -> u32 {
        match self {
            Change::Joint(_) | Change::Leave => feature::JOINT_CHANGES,
            _ => feature::FOUNDING,
        }
    }
}

impl Membership {
    /// Whether the change may have effect now. The same answer on every member at the same index.
    ///
    /// `feature_level` is the cluster's; 0 while it is being founded.
    ///
    /// # Errors
    /// etcd's errors of the Cluster service, the guard of `expected_index`, or those of joint changes.
    pub fn check(&self, proposed: &Proposed, feature_level: u32) -> Result<(), Refused> {
        if let Some(expected) = proposed.expected_index
            && expected != self.index
        {
            return Err(Refused::Moved { expected, actual: self.index });
        }
        let required = proposed.change.feature_level();
        if required > feature::FOUNDING && feature_level < required {
            return Err(Refused::FeatureLevel { required, actual: feature_level });
        }
        match (&proposed.change, self.is_joint()) {
            (Change::Leave, true) => Ok(()),
            (Change::Leave, false) => Err(Refused::NotJoint),
            (_, true) => Err(Refused::InFlight),
            (Change::Joint(changes), false) => self.staged(changes, proposed.learners_max).map(drop),
            (change, false) => self.check_one(change, proposed.learners_max),
        }
    }

    pub(super) fn check_one(&self, change: &Change, learners_max: u32) -> Result<(), Refused> {
        match change {
            Change::AddVoter(member) => self.check_add(member),
            Change::AddLearner(member) => {
                self.check_add(member)?;
                if learners_max > 0 && self.learners() >= learners_max as usize {
                    return Err(ApiError::TooManyLearners.into());
                }
                Ok(())
            }
            Change::Promote(id) => match self.members.get(id) {
                None => Err(ApiError::MemberNotFound.into()),
                Some(member) if !member.learner => Err(ApiError::MemberNotLearner.into()),
                Some(_) => Ok(()),
            },
            Change::Remove(id) => match self.members.get(id) {
                None => Err(ApiError::MemberNotFound.into()),
                // The last voter cannot leave: nobody could commit anything any more.
                Some(member) if !member.learner && self.voters() == 1 => Err(ApiError::MemberNotEnoughStarted.into()),
                Some(_) => Ok(()),
            },
            Change::UpdatePeerUrls { id, peer_urls } => {
                if !self.members.contains_key(id) {
                    return Err(ApiError::MemberNotFound.into());
                }
                self.check_urls_free(peer_urls, Some(*id))
            }
            Change::Joint(_) | Change::Leave => Err(super::joint::malformed("it holds another joint change")),
        }
    }

    pub(super) fn learners(&self) -> usize {
        self.members.values().filter(|member| member.learner).count()
    }

    fn check_add(&self, member: &Member) -> Result<(), Refused> {
        if self.removed.contains(&member.id) {
            return Err(ApiError::MemberNotFound.into());
        }
        if self.members.contains_key(&member.id) {
            return Err(ApiError::MemberExist.into());
        }
        self.check_urls_free(&member.peer_urls, None)
    }

    fn check_urls_free(&self, urls: &[String], except: Option<MemberId>) -> Result<(), Refused> {
        let taken = self
            .members
            .values()
            .filter(|member| Some(member.id) != except)
            .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
        if taken { Err(ApiError::PeerURLExist.into()) } else { Ok(()) }
    }

    /// Carries out a change that `check` allowed; returns the members whose rows it changed.
    pub fn apply(&mut self, index: Index, change: Change) -> Vec<MemberId> {
        assert!(index > self.index, "change at {index} after one at {}", self.index);
        let changed = match &change {
            Change::Leave => self.leaving().collect(),
            change => change.members(),
        };
        match change {
            Change::Joint(changes) => *self = self.staged(&changes, 0).expect("checked before it is applied"),
            Change::Leave => self.leave(),
            change => self.apply_one(change),
        }
        self.index = index;
        changed
    }

    pub(super) fn apply_one(&mut self, change: Change) {
        match change {
            Change::AddVoter(member) => {
                self.members.insert(member.id, Member { learner: false, ..member });
            }
            Change::AddLearner(member) => {
                self.members.insert(member.id, Member { learner: true, ..member });
            }
            Change::Promote(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.learner = false;
                }
            }
            Change::Remove(id) => {
                self.members.remove(&id);
                self.removed.insert(id);
            }
            Change::UpdatePeerUrls { id, peer_urls } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.peer_urls = peer_urls;
                }
            }
            Change::Joint(_) | Change::Leave => unreachable!("these are carried out by `apply`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: MemberId) -> Member {
        Member { id, peer_urls: vec![format!("http://peer-{id}:2380")], ..Default::default() }
    }

    fn proposed(change: Change) -> Proposed {
        Proposed { id: CommandId::default(), change, expected_index: None, learners_max: 1 }
    }

    fn three() -> Membership {
        Membership::seeded((1..=3).map(member))
    }

    #[test]
    fn refusals_are_etcds() {
        let mut membership = three();
        membership.apply(4, Change::AddLearner(member(4)));
        membership.apply(5, Change::Remove(3));
        for (change, expected) in [
            (Change::AddLearner(member(9)), Err(ApiError::TooManyLearners.into())),
            (Change::AddVoter(member(1)), Err(ApiError::MemberExist.into())),
            (Change::AddVoter(member(3)), Err(ApiError::MemberNotFound.into())),
            (Change::AddVoter(Member { id: 9, ..member(1) }), Err(ApiError::PeerURLExist.into())),
            (Change::Promote(1), Err(ApiError::MemberNotLearner.into())),
            (Change::Promote(9), Err(ApiError::MemberNotFound.into())),
            (Change::Promote(4), Ok(())),
            (Change::Remove(3), Err(ApiError::MemberNotFound.into())),
            (Change::Remove(4), Ok(())),
            (Change::UpdatePeerUrls { id: 1, peer_urls: member(2).peer_urls }, Err(ApiError::PeerURLExist.into())),
            (Change::UpdatePeerUrls { id: 1, peer_urls: member(1).peer_urls }, Ok(())),
        ] {
            let proposed = proposed(change);
            assert_eq!(membership.check(&proposed, feature::FOUNDING), expected, "{proposed:?}");
        }
    }

    #[test]
    fn the_last_voter_stays() {
        let mut membership = Membership::default();
        membership.apply(1, Change::AddVoter(member(1)));
        membership.apply(2, Change::AddLearner(member(2)));
        let check = |change| membership.check(&proposed(change), feature::FOUNDING);
        assert_eq!(check(Change::Remove(1)), Err(ApiError::MemberNotEnoughStarted.into()));
        assert_eq!(check(Change::Remove(2)), Ok(()));
    }

    #[test]
    fn a_guarded_change_is_refused_when_the_configuration_moved() {
        let membership = three();
        let guarded = |index| Proposed { expected_index: Some(index), ..proposed(Change::Remove(3)) };
        assert_eq!(membership.check(&guarded(3), feature::FOUNDING), Ok(()));
        assert_eq!(membership.check(&guarded(2), feature::FOUNDING), Err(Refused::Moved { expected: 2, actual: 3 }));
    }
}
