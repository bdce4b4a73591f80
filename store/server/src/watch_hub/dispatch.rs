//! Wakes the streams that want an event. One task, so that finding a thousand streams never delays the driver.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use quorate_core::watch::{IntervalIndex, KeyRange};
use slab::Slab;
use tokio::sync::Notify;

use super::{Hub, lock};

/// Revisions looked at under one lock of the index, so that a new watcher waits for no more than these.
const DISPATCH_REVISIONS_MAX: usize = 256;

/// Who is woken for which keys.
pub(super) struct Index {
    /// Each range of each stream once, however many of its watchers have it.
    pub ranges: IntervalIndex<usize>,
    pub streams: Slab<Arc<Wake>>,
}

/// How a stream's task learns that there is something for it.
#[derive(Default)]
pub(super) struct Wake {
    /// First and last revision with an event that it wants, since it last took them.
    wanted: Mutex<Option<(i64, i64)>>,
    pub notify: Notify,
}

impl Wake {
    /// Whether the stream was not waiting for anything before.
    fn want(&self, first: i64, last: i64) -> bool {
        let mut wanted = lock(&self.wanted);
        let was_idle = wanted.is_none();
        let (from, to) = wanted.unwrap_or((first, last));
        *wanted = Some((from.min(first), to.max(last)));
        was_idle
    }

    pub fn take(&self) -> Option<(i64, i64)> {
        lock(&self.wanted).take()
    }
}

/// Runs until the hub stops.
pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        tokio::select! {
            () = hub.stopped.cancelled() => return,
            () = hub.work.notified() => {}
        }
        while hub.dispatch() {
            // Lets the woken streams run on this thread, too.
            tokio::task::yield_now().await;
        }
    }
}

impl Hub {
    /// Looks at the next published revisions; whether there were any.
    fn dispatch(&self) -> bool {
        let from = self.dispatched.load(Ordering::Acquire) + 1;
        let (blocks, tail) = {
            let recent = self.recent();
            (recent.ring.range(from, i64::MAX, DISPATCH_REVISIONS_MAX, usize::MAX), recent.ring.tail())
        };
        let mut woken: Vec<Arc<Wake>> = Vec::new();
        let index = lock(&self.index);
        let through = match blocks {
            Some(blocks) => {
                let Some(last) = blocks.last() else { return false };
                for block in &blocks {
                    for event in &block.events {
                        index.ranges.visit(event.key(), |stream| {
                            let wake = &index.streams[stream];
                            if wake.want(block.revision, block.revision) {
                                woken.push(Arc::clone(wake));
                            }
                        });
                    }
                }
                last.revision
            }
            // The ring has moved on, or the store was replaced: everybody looks for themselves.
            None => {
                let streams = index.streams.iter().map(|(_, wake)| wake);
                woken.extend(streams.filter(|wake| wake.want(from, tail)).map(Arc::clone));
                tail
            }
        };
        self.dispatched.fetch_max(through, Ordering::AcqRel);
        drop(index);
        woken.iter().for_each(|wake| wake.notify.notify_one());
        true
    }

    /// From now on the stream is woken for this range; returns how far events were dispatched before.
    pub(super) fn watch(&self, stream: usize, range: &KeyRange) -> i64 {
        let mut index = lock(&self.index);
        index.ranges.insert(range, stream);
        self.dispatched.load(Ordering::Acquire)
    }

    pub(super) fn unwatch(&self, stream: usize, range: &KeyRange) {
        lock(&self.index).ranges.remove(range, stream);
    }
}
