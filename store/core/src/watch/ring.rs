//! The most recent events, shared by all streams of a member. A stream holds a position in it, never a copy; one that falls
//! out of it reads the log instead.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::{Block, Encoded};

/// How much the ring keeps. Each revision is kept or dropped whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub events: usize,
    /// Bytes of encoded events, with room for one previous value each.
    pub bytes: usize,
}

impl Limits {
    /// 64 MiB: about 50 000 events of 256 bytes, several seconds of a busy member, so that only a stream that stands still
    /// for seconds has to read the log.
    pub const DEFAULT: Limits = Limits { events: 65_536, bytes: 64 << 20 };
}

/// Invariant: the blocks are of consecutive revisions and the newest is `head`.
#[derive(Debug)]
pub struct Ring {
    limits: Limits,
    blocks: VecDeque<Arc<Block>>,
    head: i64,
    events: usize,
    bytes: usize,
}

impl Ring {
    /// An empty ring behind which the store stands at revision `head`.
    pub fn new(head: i64, limits: Limits) -> Ring {
        Ring { limits, blocks: VecDeque::new(), head, events: 0, bytes: 0 }
    }

    /// The newest revision that was pushed or skipped.
    pub fn head(&self) -> i64 {
        self.head
    }

    /// The newest revision that is no longer here; the ring serves every revision above it.
    pub fn tail(&self) -> i64 {
        self.head - i64::try_from(self.blocks.len()).expect("a ring has fewer blocks than there are revisions")
    }

    /// Adds the events of the next revision and drops the oldest ones beyond the limits.
    pub fn push(&mut self, revision: i64, events: Vec<Encoded>) {
        assert_eq!(revision, self.head + 1, "every revision has events and is published once, in order");
        assert!(!events.is_empty(), "revision {revision} has events");
        self.events += events.len();
        self.bytes += events.iter().map(Encoded::charge).sum::<usize>();
        self.blocks.push_back(Arc::new(Block { revision, events: events.into() }));
        self.head = revision;
        while self.events > self.limits.events || self.bytes > self.limits.bytes {
            let oldest = self.blocks.pop_front().expect("an empty ring is within every limit");
            self.events -= oldest.events.len();
            self.bytes -= oldest.events.iter().map(Encoded::charge).sum::<usize>();
        }
    }

    /// Moves to `head` without its events: nobody watches, or the store was replaced by a snapshot.
    pub fn clear(&mut self, head: i64) {
        assert!(head >= self.head, "revisions never fall: {head} after {}", self.head);
        *self = Ring::new(head, self.limits);
    }

    /// The blocks from revision `from` on, at most `revisions` of them, none above `to`, and no more than one beyond
    /// `bytes` of bodies. `None` when `from` is no longer here.
    pub fn range(&self, from: i64, to: i64, revisions: usize, bytes: usize) -> Option<Vec<Arc<Block>>> {
        let first = usize::try_from(from - self.tail() - 1).ok()?;
        let mut taken = 0;
        let blocks = self.blocks.iter().skip(first).take(revisions).take_while(|block| {
            let fits = block.revision <= to && taken < bytes;
            taken += block.events.iter().map(|event| event.body().len()).sum::<usize>();
            fits
        });
        Some(blocks.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use quorate_api::mvccpb::KeyValue;

    use super::*;

    fn event(revision: i64) -> Encoded {
        Encoded::new(false, KeyValue { key: "k".into(), mod_revision: revision, ..Default::default() })
    }

    fn revisions(ring: &Ring, from: i64, to: i64, revisions: usize, bytes: usize) -> Option<Vec<i64>> {
        ring.range(from, to, revisions, bytes).map(|blocks| blocks.iter().map(|block| block.revision).collect())
    }

    #[test]
    fn the_oldest_revisions_are_dropped_whole_when_either_limit_is_passed() {
        let mut ring = Ring::new(10, Limits { events: 4, bytes: usize::MAX });
        ring.push(11, vec![event(11), event(11), event(11)]);
        ring.push(12, vec![event(12)]);
        assert_eq!((ring.tail(), ring.head()), (10, 12));
        ring.push(13, vec![event(13)]);
        assert_eq!((ring.tail(), ring.head()), (11, 13));
        let mut ring = Ring::new(10, Limits { events: usize::MAX, bytes: event(11).charge() });
        ring.push(11, vec![event(11)]);
        ring.push(12, vec![event(12), event(12)]);
        assert_eq!((ring.tail(), ring.head()), (12, 12), "a revision above the limit is not kept at all");
    }

    #[test]
    fn a_range_ends_at_its_bounds_and_is_refused_when_its_start_is_gone() {
        let mut ring = Ring::new(10, Limits { events: 5, bytes: usize::MAX });
        (11..=20).for_each(|revision| ring.push(revision, vec![event(revision)]));
        assert_eq!(revisions(&ring, 15, 20, 100, 100), None);
        assert_eq!(revisions(&ring, 16, 20, 100, 100), Some(vec![16, 17, 18, 19, 20]));
        assert_eq!(revisions(&ring, 17, 18, 100, 100), Some(vec![17, 18]));
        assert_eq!(revisions(&ring, 17, 20, 3, 100), Some(vec![17, 18, 19]));
        assert_eq!(revisions(&ring, 17, 20, 100, 1), Some(vec![17]));
        assert_eq!(revisions(&ring, 21, 30, 100, 100), Some(vec![]));
    }

    #[test]
    fn clearing_moves_the_head_and_keeps_nothing() {
        let mut ring = Ring::new(10, Limits::DEFAULT);
        ring.push(11, vec![event(11)]);
        ring.clear(40);
        assert_eq!((ring.tail(), ring.head(), ring.bytes, ring.events), (40, 40, 0, 0));
        assert_eq!(revisions(&ring, 40, 40, 1, 1), None);
    }
}
