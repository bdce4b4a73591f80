//! Which streams want an event of the revisions that were published since the last look.

use std::sync::Arc;

use super::event::Block;
use super::index::IntervalIndex;
use super::ring::Ring;

/// Revisions looked at in one step, so that a new watcher waits for no more than these.
const DISPATCH_REVISIONS_MAX: usize = 256;

/// First and last revision with an event that a stream wants, since it last took them.
#[derive(Debug, Default)]
pub struct Wanted(Option<(i64, i64)>);

impl Wanted {
    /// Adds revisions; whether the stream wanted nothing before, so that it has to be woken.
    pub fn add(&mut self, first: i64, last: i64) -> bool {
        let was_idle = self.0.is_none();
        let (from, to) = self.0.unwrap_or((first, last));
        self.0 = Some((from.min(first), to.max(last)));
        was_idle
    }

    pub fn take(&mut self) -> Option<(i64, i64)> {
        self.0.take()
    }
}

/// Who is to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    Stream(usize),
    /// The ring has moved on, or the store was replaced: everybody looks for themselves.
    Everyone,
}

/// The revisions of one step, taken out of the ring so that it is not held while streams are looked for.
#[derive(Debug)]
pub struct Look {
    from: i64,
    blocks: Option<Vec<Arc<Block>>>,
    tail: i64,
}

impl Look {
    /// What follows `dispatched`, the revision up to which streams were woken.
    pub fn after(dispatched: i64, ring: &Ring) -> Look {
        let from = dispatched + 1;
        Look { from, blocks: ring.range(from, i64::MAX, DISPATCH_REVISIONS_MAX, usize::MAX), tail: ring.tail() }
    }

    /// Calls `wake` with who wants which revisions (first, last); returns how far that went, `None` when there was nothing.
    pub fn wake(&self, ranges: &IntervalIndex<usize>, mut wake: impl FnMut(Woken, i64, i64)) -> Option<i64> {
        let Some(blocks) = &self.blocks else {
            wake(Woken::Everyone, self.from, self.tail);
            return Some(self.tail);
        };
        for block in blocks {
            for event in &block.events {
                ranges.visit(event.key(), |stream| wake(Woken::Stream(stream), block.revision, block.revision));
            }
        }
        blocks.last().map(|last| last.revision)
    }
}
