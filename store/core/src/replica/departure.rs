//! A change that takes voters away, while it is committed and not applied: who stays, who goes, and who knows of the commit.
//!
//! Who goes must not go too early. If the only members that know of the commit go, those that stay still count the gone ones as
//! voters, and may never get a majority of the old configuration again: of two voters the one that stays waits for ever for the
//! vote of the one that went. So a leader tells the leaving ones of the commit only when a majority of those that stay knows of it,
//! and a leaving member (`node/apply.rs`) goes only when it was told so. Knowing is durable: the log's commit index is synced
//! before an answer tells of it (`node/persist.rs`).

use raft::StateRole;
use raft::eraftpb::{self, MessageType};

use super::{Replica, Role, convert};
use crate::log::{Entry, EntryKind, Index, MemberId};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The change.
    pub index: Index,
    /// The voters once it is applied.
    pub staying: Vec<MemberId>,
    /// The voters that it takes away.
    pub leaving: Vec<MemberId>,
}

impl Replica {
    /// What a committed change that is next to be applied takes away; `None` when every voter stays, or none would (the state machine
    /// refuses that).
    pub fn departure(&self, entry: &Entry) -> Option<Departure> {
        if entry.kind != EntryKind::Membership {
            return None;
        }
        let change = convert::decode_change(&entry.data).ok()?.raft;
        let conf = self.node.raft.prs().conf().to_conf_state();
        let now = convert::conf_state(&conf);
        let removed: Vec<MemberId> = change
            .get_changes()
            .iter()
            .filter(|one| one.get_change_type() == eraftpb::ConfChangeType::RemoveNode)
            .map(|one| one.node_id)
            .collect();
        let (staying, leaving): (Vec<MemberId>, Vec<MemberId>) = if change.leave_joint() {
            let gone = now.outgoing.iter().filter(|id| !now.voters.contains(id)).copied().collect();
            (now.voters.clone(), gone)
        } else if change.enter_joint().is_some() {
            // The old voters go on voting until the joint configuration is left.
            return None;
        } else {
            now.voters.iter().partition(|id| !removed.contains(id))
        };
        (!leaving.is_empty() && !staying.is_empty()).then_some(Departure { index: entry.index, staying, leaving })
    }

    /// Whether this leader knows that a majority of those that stay knows of the commit. Its own knowledge must be durable.
    pub fn is_known(&self, departure: &Departure) -> bool {
        let progress = self.node.raft.prs();
        let knows = |id: &&MemberId| {
            **id == self.id() || progress.get(**id).is_some_and(|peer| peer.committed_index >= departure.index)
        };
        let count = departure.staying.iter().filter(knows).count();
        self.role() == Role::Leader && count >= raft::majority(departure.staying.len())
    }

    /// Whether those that leave by the change at `index` may hear of its commit from this leader.
    pub fn tells(&self, index: Index) -> bool {
        self.told >= index
    }

    /// Tells everybody of the commit of the change at `index`, those that leave too.
    pub fn tell(&mut self, index: Index) {
        self.told = self.told.max(index);
        self.node.raft.ping();
    }

    /// The highest commit index that a leader's append or heartbeat told.
    pub fn heard_commit(&self) -> Index {
        self.heard_commit
    }

    pub(super) fn hear_commit(&mut self, kind: MessageType, term: u64, commit: Index) {
        let tells = matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat);
        // An old leader is not heard: what it did not commit itself may be gone.
        if tells && term >= self.term() {
            self.heard_commit = self.heard_commit.max(commit);
        }
    }

    /// A leader that applied its own removal steps down, and asks the most caught-up of those that stay to campaign at once.
    ///
    /// Raft 0.7 goes on leading after its own removal, and panics when the next sync or append answer makes it look for its own
    /// progress (found by the simulator).
    pub(super) fn depart(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader || raft.prs().get(raft.id).is_some() {
            return;
        }
        let voters = raft.prs().conf().voters();
        let staying = raft.prs().iter().filter(|(id, _)| voters.contains(**id));
        let successor = staying.max_by_key(|(id, progress)| (progress.matched, **id)).map(|(id, _)| *id);
        if let Some(successor) = successor {
            raft.send_timeout_now(successor);
        }
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        self.overwrite_election_timeout();
    }

    /// Lowers the commit index of messages to those that leave, as long as they may not hear of the change.
    pub(super) fn withhold(&self, messages: &mut [eraftpb::Message]) {
        let store = &self.node.raft.raft_log.store;
        let Some(index) = store.first_change_above(self.told.max(self.node.raft.raft_log.applied)) else { return };
        let Some(departure) = store.change_at(index).and_then(|entry| self.departure(&entry)) else { return };
        for message in messages {
            let tells = matches!(message.get_msg_type(), MessageType::MsgAppend | MessageType::MsgHeartbeat);
            if tells && departure.leaving.contains(&message.to) {
                message.commit = message.commit.min(index - 1);
            }
        }
    }
}
