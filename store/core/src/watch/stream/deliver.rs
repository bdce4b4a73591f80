//! Which event goes to which watcher, in what messages.

use std::sync::Arc;

use super::{Removed, Stream};
use crate::watch::event::Block;

/// A stream that is no further behind than this many revisions gets each in a message of its own, as etcd's does, whose
/// channel holds as many; one further behind gets them together.
const SEPARATE_REVISIONS_MAX: i64 = 128;

/// Most revisions that one message carries, as etcd's.
pub const MESSAGE_REVISIONS_MAX: usize = 1000;

/// Pairs of (watcher, event) after which delivering stops at the end of the revision at hand: 8 bytes each, 128 KiB.
const PICKS_MAX: usize = 16_384;

const NOT_OPEN: u32 = u32::MAX;

/// One message to one watcher, its events named by their places in the blocks that were delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub watch_id: i64,
    pub prev_kv: bool,
    pub fragment: bool,
    /// For the header.
    pub revision: i64,
    /// (block, event in it), ascending.
    pub events: Vec<(u32, u32)>,
}

/// How far a call came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progressed {
    pub deliveries: Vec<Delivery>,
    /// Every event up to this revision was considered.
    pub through: i64,
}

/// The messages being put together: one per watcher until `close`.
struct Builder {
    deliveries: Vec<Delivery>,
    /// By watcher slot: its open delivery.
    open: Vec<u32>,
    opened: Vec<u32>,
    picks: usize,
}

impl Builder {
    fn new(slots: usize) -> Builder {
        Builder { deliveries: Vec::new(), open: vec![NOT_OPEN; slots], opened: Vec::new(), picks: 0 }
    }

    fn pick(&mut self, slot: u32, event: (u32, u32), begin: impl FnOnce() -> Delivery) {
        let open = &mut self.open[slot as usize];
        if *open == NOT_OPEN {
            *open = place(self.deliveries.len());
            self.opened.push(slot);
            self.deliveries.push(begin());
        }
        self.deliveries[*open as usize].events.push(event);
        self.picks += 1;
    }

    /// What follows goes into new messages; those that were open get their header's revision.
    fn close(&mut self, revision: i64) {
        for slot in self.opened.drain(..) {
            let open = std::mem::replace(&mut self.open[slot as usize], NOT_OPEN);
            self.deliveries[open as usize].revision = revision;
        }
    }
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("a chunk holds far fewer than 2^32 events or messages")
}

impl Stream {
    /// Takes note that events up to `dispatched` were looked at for this stream, and that those it wants of them lie in
    /// `wake`, as (first, last). `dispatched` was read before `wake` was taken, so `wake` may reach further.
    pub fn advance(&mut self, wake: Option<(i64, i64)>, dispatched: i64) {
        match wake.filter(|(_, last)| *last > self.cursor) {
            Some((first, last)) => {
                if !self.is_pending() {
                    self.cursor = self.cursor.max(first - 1);
                }
                self.target = self.target.max(last).max(dispatched);
            }
            None if !self.is_pending() => {
                self.cursor = self.cursor.max(dispatched);
                self.target = self.cursor;
            }
            None => {}
        }
        assert!(self.cursor <= self.target);
    }

    /// Whether there may be events for live watchers that were not delivered.
    pub fn is_pending(&self) -> bool {
        self.cursor < self.target
    }

    /// The revisions to hand to `deliver_live` next, as (first, last).
    pub fn live(&self) -> Option<(i64, i64)> {
        self.is_pending().then_some((self.cursor + 1, self.target))
    }

    /// The first revision that a lagging watcher needs.
    pub fn lagging(&self) -> Option<i64> {
        self.lagging_slots.iter().map(|slot| self.watchers.get(*slot).next).min()
    }

    /// Delivers a run of blocks that begins right above the cursor to the live watchers. It may stop early.
    pub fn deliver_live(&mut self, blocks: &[Arc<Block>]) -> Progressed {
        let together = self.target - self.cursor > SEPARATE_REVISIONS_MAX;
        let mut builder = Builder::new(self.watchers.slots.len());
        for (at, block) in blocks.iter().enumerate() {
            if builder.picks >= PICKS_MAX {
                break;
            }
            assert_eq!(block.revision, self.cursor + 1, "live watchers get every revision in turn");
            assert!(block.revision <= self.target);
            self.pick(&mut builder, at, block, false);
            self.cursor = block.revision;
            if !together {
                builder.close(block.revision);
            }
        }
        builder.close(self.cursor);
        Progressed { deliveries: builder.deliveries, through: self.cursor }
    }

    /// Delivers events to the lagging watchers: `blocks` hold all that any of them wants of the revisions up to `through`,
    /// the first being what `lagging` named. Messages show `revision` in their header. It may stop early. Watchers that
    /// thereby reach the cursor are live from now on.
    pub fn deliver_lagging(&mut self, blocks: &[Arc<Block>], through: i64, revision: i64) -> Progressed {
        let mut builder = Builder::new(self.watchers.slots.len());
        let mut reached = through;
        for (at, block) in blocks.iter().enumerate() {
            assert!(block.revision <= through, "blocks end at {through}");
            if builder.picks >= PICKS_MAX {
                reached = block.revision - 1;
                break;
            }
            self.pick(&mut builder, at, block, true);
        }
        builder.close(revision);
        self.advance_lagging(reached);
        Progressed { deliveries: builder.deliveries, through: reached }
    }

    fn pick(&mut self, builder: &mut Builder, at: usize, block: &Block, lagging: bool) {
        let index = if lagging { &self.lagging } else { &self.live };
        for (place_in_block, event) in block.events.iter().enumerate() {
            let name = (place(at), place(place_in_block));
            index.visit(event.key(), |slot| {
                let watcher = self.watchers.slots[slot as usize].as_mut().expect("an index names what exists");
                if watcher.wants(block.revision, event.is_delete()) {
                    watcher.quiet = false;
                    builder.pick(slot, name, || Delivery {
                        watch_id: watcher.id,
                        prev_kv: watcher.prev_kv,
                        fragment: watcher.fragment,
                        revision: 0,
                        events: Vec::with_capacity(1),
                    });
                }
            });
        }
    }

    /// Every lagging watcher has what it wants up to `through`; those that reached the cursor become live.
    fn advance_lagging(&mut self, through: i64) {
        let mut arrived = Vec::new();
        for slot in &self.lagging_slots {
            let watcher = self.watchers.get_mut(*slot);
            watcher.next = watcher.next.max(through + 1);
            if watcher.next > self.cursor && watcher.next > watcher.unseen_up_to {
                arrived.push(*slot);
            }
        }
        for slot in arrived {
            self.lagging_slots.remove(&slot);
            let range = self.watchers.get(slot).range.clone();
            assert!(self.lagging.remove(&range, slot), "a lagging watcher stands in the lagging index");
            self.live.insert(&range, slot);
        }
    }

    /// The events from `live` on are no longer in the ring: the live watchers lag from there.
    pub fn fall_behind(&mut self) {
        let live: Vec<u32> =
            self.watchers.by_id.values().copied().filter(|s| !self.lagging_slots.contains(s)).collect();
        for slot in live {
            let watcher = self.watchers.get_mut(slot);
            if watcher.next > self.target {
                continue;
            }
            watcher.next = watcher.next.max(self.cursor + 1);
            let range = watcher.range.clone();
            assert!(self.live.remove(&range, slot), "a live watcher stands in the live index");
            self.lagging.insert(&range, slot);
            self.lagging_slots.insert(slot);
        }
        self.cursor = self.target;
    }

    /// Ends every watcher, as when the stream ends; what is returned names the ranges that need no waking any more.
    pub fn close(&mut self) -> Vec<Removed> {
        let slots: Vec<u32> = self.watchers.by_id.values().copied().collect();
        slots.into_iter().map(|slot| self.remove(slot)).collect()
    }
}
