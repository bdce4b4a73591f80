//! Old entries for followers: all but the log's last few megabytes is read beside raft (`Effect::ReadLog`), so that ticks, proposals
//! and the other followers never wait for it.
//!
//! Raft asks for entries while it makes a message. Those that are not at hand are asked for once, by where they begin, and raft makes
//! no message; when they were read, they go to every follower that continues there.

use std::collections::BTreeMap;

use raft::StorageError;

use super::store::LogReadError;
use super::{Replica, Role};
use crate::log::{Entry, Index, MemberId, Term};

/// Pieces that were asked for and did not come yet. A follower wants one at a time; after it was lost from sight it may want another.
pub const READS_MAX: usize = 16;
/// A piece is smaller than a message may be: leader and follower work on it in one go, and what comes meanwhile waits.
const PIECE_BYTES_MAX: u64 = 128 << 10;
/// Append messages in flight to a follower that is far behind: what waits for a peer is bounded, and what does not fit is dropped and
/// read again.
const MESSAGES_IN_FLIGHT_BEHIND: usize = 128;

/// A piece of the log that a leader needs for a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// The term in which the leader asked: entries that were read for another one may have been replaced meanwhile.
    pub term: Term,
    pub low: Index,
    /// One above the last.
    pub high: Index,
    /// As `LogReader::entries`.
    pub bytes_max: u64,
}

/// What was asked for, by the first index.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    pieces: BTreeMap<Index, Piece>,
}

#[derive(Debug)]
enum Piece {
    /// Not handed out yet.
    Wanted {
        high: Index,
        bytes_max: u64,
    },
    Asked,
    Read(Vec<Entry>),
    /// The log does not give it back. Raft would stop the member for any error but one: that the log was cut, and then it sends a snapshot.
    /// The entries are in the snapshot too, so that helps whatever is wrong with the log.
    Lost,
}

impl Fetches {
    /// What was read from `low` on, below `high`.
    ///
    /// # Errors
    /// It is yet to come, or the log does not hold it any more.
    pub fn get(&mut self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, StorageError> {
        match self.pieces.get(&low) {
            Some(Piece::Read(entries)) => Ok(entries.iter().take_while(|entry| entry.index < high).cloned().collect()),
            Some(Piece::Lost) => Err(StorageError::Compacted),
            Some(Piece::Wanted { .. } | Piece::Asked) => Err(StorageError::LogTemporarilyUnavailable),
            None => {
                // Raft asks again with the follower's next sign of life.
                if self.pieces.len() < READS_MAX {
                    self.pieces.insert(low, Piece::Wanted { high, bytes_max: bytes_max.min(PIECE_BYTES_MAX) });
                }
                Err(StorageError::LogTemporarilyUnavailable)
            }
        }
    }

    fn take_wanted(&mut self, term: Term) -> Vec<LogRange> {
        let mut taken = Vec::new();
        for (low, piece) in &mut self.pieces {
            if let Piece::Wanted { high, bytes_max } = *piece {
                taken.push(LogRange { term, low: *low, high, bytes_max });
                *piece = Piece::Asked;
            }
        }
        taken
    }
}

impl Replica {
    /// What is to be read from the log; each is answered by `log_read`, once.
    pub fn take_wanted_reads(&mut self) -> Vec<LogRange> {
        let term = self.term();
        self.node.mut_store().fetches_mut().take_wanted(term)
    }

    /// Sends on what was read. An error makes raft send a snapshot instead.
    pub fn log_read(&mut self, range: LogRange, read: Result<Vec<Entry>, LogReadError>) {
        let LogRange { term, low, .. } = range;
        // In one term a leader only appends; in another one the entries may have been replaced while they were read.
        if self.role() == Role::Leader && self.term() == term {
            self.node.mut_store().fetches_mut().pieces.insert(low, read.map_or(Piece::Lost, Piece::Read));
            let this = self.id();
            let continues = |(id, progress): &(&u64, &raft::Progress)| **id != this && progress.next_idx == low;
            let followers: Vec<MemberId> = self.node.raft.prs().iter().filter(continues).map(|(id, _)| *id).collect();
            let messages = self.messages_behind();
            for id in followers {
                self.node.raft.adjust_max_inflight_msgs(id, messages);
                self.node.raft.send_append(id);
                // What comes behind it is read while this one is on its way.
                self.node.raft.send_append(id);
            }
        }
        self.node.mut_store().fetches_mut().pieces.remove(&low);
    }

    fn messages_behind(&self) -> usize {
        self.window.messages_max.min(MESSAGES_IN_FLIGHT_BEHIND)
    }

    /// Narrows the window of followers that fell far behind, and opens that of those that are back.
    pub(super) fn set_windows(&mut self) {
        if self.role() != Role::Leader {
            return;
        }
        let (this, store) = (self.id(), &self.node.raft.raft_log.store);
        let (behind, usual) = (self.messages_behind(), self.window.messages_max);
        let others = self.node.raft.prs().iter().filter(|(id, _)| **id != this);
        let windows: Vec<(MemberId, usize)> = others
            .map(|(id, progress)| match progress.matched + 1 < store.sent_at_once_from() {
                true => (*id, behind),
                false => (*id, usual),
            })
            .collect();
        for (id, messages) in windows {
            self.node.raft.adjust_max_inflight_msgs(id, messages);
        }
    }
}
