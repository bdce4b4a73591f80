//! A log that lacks what this member acknowledged. Its disk damaged the last group that it had synced before anything was written
//! behind it, and recovery had to take that for a torn write (`wal_format`). The member cannot know; a leader that heard the
//! acknowledgement does, and tells of commits up to there.
//!
//! Raft 0.7 ends the process by a panic then. Meanwhile the member may have voted for somebody who lacks those entries too: what is on
//! the disks of others only keeps them (`docs/correctness.md`).

use raft::eraftpb::{Message, MessageType};

use super::Replica;
use crate::log::{Index, MemberId};
use crate::wal_format::REBUILD;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log ends at entry {last}, but member {leader:x}, which leads, has this member's word for entry {acknowledged}: the disk lost \
     what was synced; {REBUILD}"
)]
pub struct Loss {
    pub leader: MemberId,
    /// The leader has at least this from this member, and has committed it.
    pub acknowledged: Index,
    pub last: Index,
}

impl Replica {
    /// What a message shows to be missing here. A leader's heartbeat tells a member of no commit beyond what it acknowledged to that
    /// leader; no leader of this term or a later one has ever made it drop such an entry.
    pub(super) fn loss(&self, message: &Message) -> Option<Loss> {
        let (acknowledged, last) = (message.commit, self.last_index());
        let tells = message.get_msg_type() == MessageType::MsgHeartbeat && message.term >= self.term();
        (tells && acknowledged > last).then_some(Loss { leader: message.from, acknowledged, last })
    }
}
