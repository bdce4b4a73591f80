//! The raft log's vocabulary: entries, hard state and configuration state as our own values, so that neither the WAL, the peer
//! frames nor the simulator speak the raft crate's generated types (only `replica` converts).

use bytes::Bytes;

/// Position in the raft log; 0 = before the first entry.
pub type Index = u64;
/// Raft term; 0 = never voted.
pub type Term = u64;
/// Member id as etcd makes them; 0 = nobody.
pub type MemberId = u64;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A batch of commands (`command::Batch`), or nothing for a new leader's first entry.
    Normal,
    /// A membership change (`membership::Change`), alone in its entry and a barrier for apply.
    Membership,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub index: Index,
    pub term: Term,
    pub kind: EntryKind,
    pub data: Bytes,
}

/// What raft must find again after a restart (Raft paper, figure 2, persistent state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    pub term: Term,
    /// 0 = no vote in this term.
    pub vote: MemberId,
    pub commit: Index,
}

/// Who votes and who learns; `outgoing` is non-empty only in a joint configuration. All lists ascend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfState {
    pub voters: Vec<MemberId>,
    pub learners: Vec<MemberId>,
    pub outgoing: Vec<MemberId>,
    pub learners_next: Vec<MemberId>,
    pub auto_leave: bool,
}

impl ConfState {
    /// Whether the member is one of this configuration, in whatever part.
    pub fn names(&self, id: MemberId) -> bool {
        [&self.voters, &self.learners, &self.outgoing, &self.learners_next].iter().any(|ids| ids.contains(&id))
    }
}

/// The point of the log that a snapshot stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotMeta {
    pub index: Index,
    pub term: Term,
    pub conf_state: ConfState,
}
