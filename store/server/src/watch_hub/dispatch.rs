//! Wakes the streams that want an event. One task, so that finding a thousand streams never delays the driver.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use quorate_core::watch::{IntervalIndex, KeyRange, Look, Wanted, Woken};
use slab::Slab;
use tokio::sync::Notify;

use super::{Hub, lock};

/// Who is woken for which keys.
pub(super) struct Index {
    /// Each range of each stream once, however many of its watchers have it.
    pub ranges: IntervalIndex<usize>,
    pub streams: Slab<Arc<Wake>>,
}

/// How a stream's task learns that there is something for it.
#[derive(Default)]
pub(super) struct Wake {
    wanted: Mutex<Wanted>,
    pub notify: Notify,
}

impl Wake {
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
        let look = Look::after(self.dispatched.load(Ordering::Acquire), self.feed().ring());
        let mut woken: Vec<Arc<Wake>> = Vec::new();
        let index = lock(&self.index);
        let mut want = |wake: &Arc<Wake>, first, last| {
            if lock(&wake.wanted).add(first, last) {
                woken.push(Arc::clone(wake));
            }
        };
        let through = look.wake(&index.ranges, |who, first, last| match who {
            Woken::Stream(stream) => want(&index.streams[stream], first, last),
            Woken::Everyone => index.streams.iter().for_each(|(_, wake)| want(wake, first, last)),
        });
        let Some(through) = through else { return false };
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
