//! A disk that is full, or that does not answer, or whose rows are damaged. A leader hands over to another member; and what would only
//! pile up behind a log or database that cannot grow is not taken from the leader: an append that is dropped is never acknowledged, and
//! comes again.

use super::Node;
use crate::log::MemberId;
use crate::replica::{Message, Role};

/// Syncs that may be owed to a full disk before appends are dropped; far below what the shell's queue to the log holds.
const PERSISTS_FULL_MAX: usize = 64;
/// Committed bytes that may wait for a full database before appends are dropped.
const BACKLOG_FULL_BYTES_MAX: usize = 64 << 20;
/// A sync that takes so many election timeouts is a stall. The others go on committing, but nothing that this member answers for
/// itself becomes durable, and a change of its term never would.
const STALL_ELECTION_TIMEOUTS: u64 = 1;
/// A leader whose disk stays full or stalled tries to hand over again after so many election timeouts: the others may have had no room
/// themselves, and leadership must not run in circles.
const AGAIN_ELECTION_TIMEOUTS: u64 = 10;
/// The same for one that applies nothing, and so lets no lease expire: raft gives a try up after one.
const AGAIN_HALTED_ELECTION_TIMEOUTS: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct Space {
    full: bool,
    /// The last try to hand leadership over: its tick, and to whom.
    handed_over: Option<(u64, MemberId)>,
}

impl Node {
    pub(super) fn disk_full(&mut self) {
        self.space.full = true;
        self.leave_lead_without_disk();
    }

    pub(super) fn disk_back(&mut self) {
        self.space = Space::default();
    }

    /// At every tick: leadership may also come to this member while its disk is full.
    pub(super) fn leave_lead_without_disk(&mut self) {
        let has_disk = !self.space.full && !self.is_stalled() && !self.apply.is_halted();
        if has_disk || self.replica.role() != Role::Leader || self.replica.transferring_to().is_some() {
            return;
        }
        let timeouts = if self.apply.is_halted() { AGAIN_HALTED_ELECTION_TIMEOUTS } else { AGAIN_ELECTION_TIMEOUTS };
        let pause = timeouts * self.replica.election_ticks() as u64;
        if self.space.handed_over.is_some_and(|(tick, _)| self.ticks < tick + pause) {
            return;
        }
        if let Some(to) = self.replica.successor(self.space.handed_over.map(|(_, tried)| tried)) {
            self.space.handed_over = Some((self.ticks, to));
            self.replica.transfer_leader(to);
        }
    }

    /// Whether a sync is overdue.
    fn is_stalled(&self) -> bool {
        let limit = STALL_ELECTION_TIMEOUTS * self.replica.election_ticks() as u64;
        self.persists.waits_since().is_some_and(|since| self.ticks >= since + limit)
    }

    /// Whether a message is stepped. Without room for its entries it is as good as lost on the way.
    pub(super) fn has_room_for(&self, message: &Message) -> bool {
        !(self.space.full || self.apply.is_halted())
            || !message.has_entries()
            || (self.persists.outstanding() < PERSISTS_FULL_MAX && self.apply.waiting_bytes() < BACKLOG_FULL_BYTES_MAX)
    }
}
