//! A snapshot that a member asks for although its log has no gap, because its state is damaged, and what raft 0.7 makes of it.
//!
//! From the request on the member takes no entry, and the snapshot must reach the end of its log as of the request: what it acknowledged
//! and the snapshot lacks would be lost. A leader that needs this very member to commit up to there, and did not hear of its
//! acknowledgement, can neither commit nor build such a snapshot, and both wait for ever (`quorate-sim --seed 1233`). So a request above
//! what is committed lapses after an election timeout, at either end: entries are sent and acknowledged again, and when they are
//! committed the member asks anew.
//!
//! A snapshot that ends before the log does was built for an earlier request, and comes late: to a process that has started anew and
//! acknowledged more since. Raft takes whatever comes while it waits, and would drop the log beyond (`quorate-sim --seed 2253`).

use raft::eraftpb::MessageType;
use raft::{INVALID_INDEX, ProgressState, StateRole};

use super::{Replica, Role};
use crate::log::Index;

/// What this member knows of such requests.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Ticks in a row with a request, its own or a follower's, above what is committed.
    waiting_ticks: usize,
    /// The last own request that lapsed.
    lapsed: Index,
}

impl Replica {
    /// Asks the leader for a snapshot at or above the end of this member's log, though the log has no gap. Until it comes, no entry is
    /// taken. May be repeated: without a leader, before an entry of its term is here, or before what a lapsed request waited for is
    /// committed, nothing is asked.
    pub fn request_snapshot(&mut self) {
        // A new leader may have shortened the log; then all of it will do.
        if self.commit() >= self.asked.lapsed.min(self.last_index()) {
            let _ = self.node.request_snapshot();
        }
    }

    /// Steps a heartbeat to a member that waits for a snapshot. Raft answers with the request alone; the leader takes that neither for
    /// its read index nor for a sign of life.
    pub(super) fn answer_heartbeat(&mut self, message: &raft::eraftpb::Message) {
        let raft = &mut self.node.raft;
        let waits = raft.state == StateRole::Follower && raft.pending_request_snapshot != INVALID_INDEX;
        if !waits || message.get_msg_type() != MessageType::MsgHeartbeat {
            return;
        }
        let request = std::mem::replace(&mut raft.pending_request_snapshot, INVALID_INDEX);
        // Errors say that raft has no use for it.
        let _ = self.node.step(message.clone());
        self.node.raft.pending_request_snapshot = request;
    }

    /// Steps a message; a snapshot that ends before this member's log as one that nobody asked for, which replaces no log that it agrees
    /// with.
    pub(super) fn step_asked(&mut self, message: raft::eraftpb::Message) {
        let raft = &mut self.node.raft;
        let is_early = message.get_msg_type() == MessageType::MsgSnapshot
            && message.get_snapshot().get_metadata().index < raft.raft_log.last_index();
        let request = if is_early { std::mem::take(&mut raft.pending_request_snapshot) } else { INVALID_INDEX };
        // Errors say that the message was local, from a peer that is not in the configuration, or a dropped proposal, which
        // never comes by message here.
        let _ = self.node.step(message);
        if request != INVALID_INDEX && self.node.snap().is_none() {
            self.node.raft.pending_request_snapshot = request;
        }
    }

    /// Lets requests lapse that wait for an election timeout for what cannot be committed. To be called with every tick.
    pub(super) fn lapse_requests(&mut self) {
        let (commit, leads) = (self.commit(), self.role() == Role::Leader);
        let raft = &mut self.node.raft;
        let of_follower = |raft: &raft::Raft<_>| {
            leads && raft.prs().iter().any(|(_, progress)| progress.pending_request_snapshot > commit)
        };
        if raft.pending_request_snapshot <= commit && !of_follower(raft) {
            self.asked.waiting_ticks = 0;
            return;
        }
        self.asked.waiting_ticks += 1;
        if self.asked.waiting_ticks < self.timing.election_ticks {
            return;
        }
        self.asked.waiting_ticks = 0;
        if raft.pending_request_snapshot > commit {
            self.asked.lapsed = std::mem::replace(&mut raft.pending_request_snapshot, INVALID_INDEX);
        }
        if leads {
            for (_, progress) in raft.mut_prs().iter_mut().filter(|(_, one)| one.pending_request_snapshot > commit) {
                progress.pending_request_snapshot = INVALID_INDEX;
                // What was sent meanwhile was not taken. A snapshot that is under way ends by its report.
                if progress.state != ProgressState::Snapshot {
                    progress.become_probe();
                }
            }
        }
    }
}
