//! The watchers of one client stream and how far each has come.
//!
//! A watcher is *live* when the stream's cursor speaks for it: every event up to the cursor that it wants was delivered.
//! Otherwise it *lags*, because it starts in the past or because the stream fell out of the ring, and has a position of its
//! own; it becomes live where the two meet. The caller asks `live` and `lagging` what to fetch, hands the events to
//! `deliver_live` and `deliver_lagging`, and sends what comes back, in that order, before anything that it asks for later.

mod create;
mod deliver;
mod progress;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use create::{Admitted, Created, Now, Rejection};
pub use deliver::{Delivery, MESSAGE_REVISIONS_MAX, Progressed};
pub use progress::Progress;

use super::index::IntervalIndex;
use super::range::KeyRange;

/// The watch id that speaks for a whole stream, or for a watcher that was never made.
pub const NO_WATCH_ID: i64 = -1;

/// Invariant: `cursor <= target`, and no live watcher wants an event above `cursor` and at or below `target` that was not
/// delivered, unless `cursor < target` says that there may be one.
#[derive(Debug)]
pub struct Stream {
    watchers: Watchers,
    live: IntervalIndex<u32>,
    lagging: IntervalIndex<u32>,
    lagging_slots: BTreeSet<u32>,
    next_auto_id: i64,
    cursor: i64,
    target: i64,
    /// The newest revision that a header of this stream has shown.
    shown: i64,
    /// A requested progress, sent once the cursor is there and nothing lags.
    progress_requested: Option<i64>,
}

#[derive(Debug)]
struct Watcher {
    id: i64,
    range: KeyRange,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    fragment: bool,
    progress_notify: bool,
    /// No event since the last tick of the progress timer.
    quiet: bool,
    /// A tick found it quiet; told at the next moment at which nothing is pending.
    notify_due: bool,
    /// As the client asked for it; 0 = from the next revision on.
    start: i64,
    /// The first revision that was not yet delivered to it; a live watcher's may lie below the cursor, which then counts.
    next: i64,
    /// Events up to here may have been passed over before the stream was woken for this range.
    unseen_up_to: i64,
}

impl Watcher {
    fn wants(&self, revision: i64, delete: bool) -> bool {
        revision >= self.next && !if delete { self.no_delete } else { self.no_put }
    }
}

/// Slots for watchers, found by slot (from an index) or by the client's id.
#[derive(Debug, Default)]
struct Watchers {
    slots: Vec<Option<Watcher>>,
    free: Vec<u32>,
    by_id: BTreeMap<i64, u32>,
}

impl Watchers {
    fn insert(&mut self, watcher: Watcher) -> u32 {
        let end = u32::try_from(self.slots.len()).expect("memory ends long before 2^32 watchers");
        let slot = self.free.pop().unwrap_or(end);
        let taken = self.by_id.insert(watcher.id, slot);
        assert_eq!(taken, None, "an id names one watcher");
        if slot == end {
            self.slots.push(Some(watcher));
        } else {
            self.slots[slot as usize] = Some(watcher);
        }
        slot
    }

    fn remove(&mut self, slot: u32) -> Watcher {
        let watcher = self.slots[slot as usize].take().expect("only a watcher that exists is removed");
        self.by_id.remove(&watcher.id);
        if self.by_id.is_empty() {
            *self = Watchers::default();
        } else {
            self.free.push(slot);
        }
        watcher
    }

    fn get(&self, slot: u32) -> &Watcher {
        self.slots[slot as usize].as_ref().expect("an index names only watchers that exist")
    }

    fn get_mut(&mut self, slot: u32) -> &mut Watcher {
        self.slots[slot as usize].as_mut().expect("an index names only watchers that exist")
    }
}

/// A watcher that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub watch_id: i64,
    pub range: KeyRange,
    /// No other watcher of the stream has this very range: the stream need not be woken for it any more.
    pub unwatched: bool,
}

impl Stream {
    /// A stream without watchers, made when the store stood at `revision`.
    pub fn new(revision: i64) -> Stream {
        Stream {
            watchers: Watchers::default(),
            live: IntervalIndex::default(),
            lagging: IntervalIndex::default(),
            lagging_slots: BTreeSet::new(),
            next_auto_id: 0,
            cursor: revision,
            target: revision,
            shown: 0,
            progress_requested: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.watchers.by_id.is_empty()
    }

    pub fn len(&self) -> usize {
        self.watchers.by_id.len()
    }

    /// How many watchers are not live.
    pub fn lagging_len(&self) -> usize {
        self.lagging_slots.len()
    }

    /// The ranges of all watchers, some of them more than once.
    pub fn ranges(&self) -> impl Iterator<Item = &KeyRange> {
        self.watchers.slots.iter().flatten().map(|watcher| &watcher.range)
    }

    /// The revision for the header of a message that is sent now: never below one that was shown before. `revision` was
    /// published, so that the cursor can reach it.
    pub fn stamp(&mut self, revision: i64) -> i64 {
        self.shown = self.shown.max(revision);
        self.shown
    }

    /// Ends a watcher; its memory is gone when this returns. `None` when the stream has no such watcher.
    pub fn cancel(&mut self, watch_id: i64) -> Option<Removed> {
        let slot = *self.watchers.by_id.get(&watch_id)?;
        Some(self.remove(slot))
    }

    /// Ends the lagging watchers that need a revision below `compacted`, which is gone.
    pub fn cancel_compacted(&mut self, compacted: i64) -> Vec<Removed> {
        let gone: Vec<u32> =
            self.lagging_slots.iter().copied().filter(|slot| self.watchers.get(*slot).next < compacted).collect();
        gone.into_iter().map(|slot| self.remove(slot)).collect()
    }

    fn remove(&mut self, slot: u32) -> Removed {
        let watcher = self.watchers.remove(slot);
        let index = if self.lagging_slots.remove(&slot) { &mut self.lagging } else { &mut self.live };
        assert!(index.remove(&watcher.range, slot), "a watcher stands in the index of its state");
        let unwatched = !self.live.contains_range(&watcher.range) && !self.lagging.contains_range(&watcher.range);
        Removed { watch_id: watcher.id, range: watcher.range, unwatched }
    }

    /// Whether an event goes to a lagging watcher, so that it is worth reading.
    pub fn lagging_wants(&self, revision: i64, key: &[u8], delete: bool) -> bool {
        self.lagging.any(key, |slot| self.watchers.get(slot).wants(revision, delete))
    }
}
