//! Which entries the log holds and where each stands: the map that recovery builds, the writer extends and readers follow.

use std::collections::VecDeque;

use crate::log::{Index, Term};

/// Where an entry's record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The segment's number.
    pub seq: u64,
    /// Bytes from the start of the segment.
    pub offset: u64,
    /// Bytes of the record, padding included.
    pub bytes: u32,
    pub term: Term,
}

/// An entry came that is neither in the log nor the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} does not follow {last}, the last of the log")]
pub struct Gap {
    pub index: Index,
    pub last: Index,
}

/// The entries `first..=last`. Invariant: `first >= 1`; the log is empty when `last == first - 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIndex {
    first: Index,
    previous_term: Term,
    locations: VecDeque<Location>,
}

impl LogIndex {
    /// An empty log whose next entry is `first`; `previous_term` is the term of the entry before it (0 = none).
    pub fn new(first: Index, previous_term: Term) -> LogIndex {
        assert!(first >= 1, "raft's first index is 1");
        LogIndex { first, previous_term, locations: VecDeque::new() }
    }

    pub fn first(&self) -> Index {
        self.first
    }

    /// `first - 1` when the log is empty.
    pub fn last(&self) -> Index {
        self.first + self.locations.len() as u64 - 1
    }

    /// Term of an entry, also of the one before the first; `None` outside.
    pub fn term(&self, index: Index) -> Option<Term> {
        if index + 1 == self.first {
            return Some(self.previous_term);
        }
        self.location(index).map(|location| location.term)
    }

    pub fn location(&self, index: Index) -> Option<Location> {
        let position = index.checked_sub(self.first)?;
        self.locations.get(usize::try_from(position).ok()?).copied()
    }

    /// Adds the entry, replacing it and everything behind it if the log already has it. An entry below the first (met by the
    /// recovery scan only, where an old suffix was rewritten before the log was cut) restarts the log there, the term before it
    /// unknown (0). Returns how many entries were replaced.
    ///
    /// # Errors
    /// When entries are missing between the last one and `index`.
    pub fn put(&mut self, index: Index, location: Location) -> Result<usize, Gap> {
        if index > self.last() + 1 || index == 0 {
            return Err(Gap { index, last: self.last() });
        }
        if index < self.first {
            let replaced = self.locations.len();
            *self = LogIndex { first: index, previous_term: 0, locations: VecDeque::from([location]) };
            return Ok(replaced);
        }
        let kept = usize::try_from(index - self.first).expect("it is at most the number of entries in memory");
        let replaced = self.locations.len() - kept;
        self.locations.truncate(kept);
        self.locations.push_back(location);
        Ok(replaced)
    }

    /// A snapshot replaces everything: the log is empty and continues after `index`.
    pub fn reset(&mut self, index: Index, term: Term) {
        *self = LogIndex::new(index + 1, term);
    }

    /// Forgets the entries below `first`. A `first` that is not above the present one changes nothing.
    ///
    /// # Panics
    /// When `first` lies beyond the end of the log.
    pub fn cut(&mut self, first: Index) {
        assert!(first <= self.last() + 1, "cut at {first} but the log ends at {}", self.last());
        while self.first < first {
            let gone = self.locations.pop_front().expect("first is at most last + 1");
            self.previous_term = gone.term;
            self.first += 1;
        }
    }
}
