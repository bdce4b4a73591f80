//! Who belongs to the cluster: the members of the configuration, and what a change of it does. Pure; the raft crate's view of it
//! (`ConfState`) follows from here, and `replica` asserts that the two agree.

mod change;
mod codec;
mod identity;
mod joint;
mod reach;
mod recovery;
mod rows;
mod succession;

pub use change::{Change, Proposed, Refused};
pub use identity::{Founding, added_member_id, founding, recovered_cluster_id};
pub use reach::{Reach, Word};
pub use rows::RowError;
pub(crate) use rows::removed_key;
pub use succession::successor;

use std::collections::{BTreeMap, BTreeSet};

use crate::log::{ConfState, Index, MemberId};

/// A member as the configuration holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    pub id: MemberId,
    /// Empty until the member published it ("unstarted").
    pub name: String,
    pub peer_urls: Vec<String>,
    /// Empty until the member published them.
    pub client_urls: Vec<String>,
    pub learner: bool,
    /// Random identity of the directory that this member was added with (hex); empty for members founded by flags or added through
    /// etcd's own call.
    pub disk_id: String,
}

/// The configuration. Invariant: no id is both a member and removed; removed ids never come back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    members: BTreeMap<MemberId, Member>,
    removed: BTreeSet<MemberId>,
    /// Raft index of the last change that was accepted; what a guarded change compares.
    index: Index,
    /// Of a joint configuration, until it is left.
    joint: Option<joint::Joint>,
}

impl Membership {
    /// The configuration that a member was founded or admitted with, which counts while it has applied nothing.
    pub fn seeded(members: impl IntoIterator<Item = Member>) -> Membership {
        let mut membership = Membership::default();
        for (index, member) in (1..).zip(members) {
            let change = if member.learner { Change::AddLearner(member) } else { Change::AddVoter(member) };
            membership.apply(index, change);
        }
        membership
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub fn is_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    pub fn index(&self) -> Index {
        self.index
    }

    /// Ascending.
    pub fn voter_ids(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.members.values().filter(|member| !member.learner).map(|member| member.id)
    }

    /// Voters, also those that go when a joint configuration is left.
    pub fn voters(&self) -> usize {
        self.voter_ids().count()
    }

    /// The raft crate's view of this configuration; empty before the first change.
    pub fn conf_state(&self) -> ConfState {
        let learners = self.members.values().filter(|m| m.learner).map(|m| m.id).collect();
        let voters = self.members.keys().copied().filter(|id| self.is_lasting_voter(*id)).collect();
        let outgoing = self.joint.iter().flat_map(|joint| joint.outgoing.iter().copied()).collect();
        ConfState { voters, learners, outgoing, ..Default::default() }
    }

    /// Sets what a member published about itself. Unknown and removed members are ignored: the command may come late.
    pub fn set_attributes(&mut self, id: MemberId, name: String, client_urls: Vec<String>) {
        if let Some(member) = self.members.get_mut(&id) {
            member.name = name;
            member.client_urls = client_urls;
        }
    }
}
