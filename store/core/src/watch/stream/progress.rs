//! Progress: telling a client up to which revision it has seen everything, as etcd does. It is never ahead of what was
//! delivered on the stream before it.

use super::{NO_WATCH_ID, Stream};

/// An empty message: everything up to `revision` was delivered to `watch_id`, or to all watchers for the id −1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub watch_id: i64,
    pub revision: i64,
}

impl Stream {
    /// A client asks for the progress of the whole stream while `published` is the newest revision. As in etcd nothing is
    /// answered when the stream has no watchers, one of them lags, or one starts in the future.
    pub fn request_progress(&mut self, published: i64) {
        let future = self.watchers.slots.iter().flatten().any(|watcher| watcher.start > published);
        if self.is_empty() || !self.lagging_slots.is_empty() || future {
            return;
        }
        // The stream looks through the revisions up to `published` itself instead of waiting to be woken for one of them.
        self.target = self.target.max(published);
        self.progress_requested = Some(published);
    }

    /// The timer for watchers with `progress_notify` has ticked: those that got no event since the last tick are due.
    pub fn tick(&mut self, published: i64) {
        let mut any = false;
        for (slot, watcher) in (0u32..).zip(&mut self.watchers.slots) {
            let Some(watcher) = watcher else { continue };
            if watcher.progress_notify {
                let live = !self.lagging_slots.contains(&slot);
                watcher.notify_due = watcher.quiet && live && watcher.start <= published;
                any |= watcher.notify_due;
            }
            watcher.quiet = true;
        }
        if any {
            self.target = self.target.max(published);
        }
    }

    /// What is to be told now that every delivery so far was sent; nothing while events are pending.
    pub fn take_progress(&mut self) -> Vec<Progress> {
        let notify_due = self.watchers.slots.iter().flatten().any(|watcher| watcher.notify_due);
        if notify_due || self.progress_requested.is_some() {
            // A header must not fall below one that was shown, and a progress must not be ahead: the cursor goes there first.
            self.target = self.target.max(self.shown);
        }
        if self.is_pending() {
            return Vec::new();
        }
        let mut told = Vec::new();
        for (slot, watcher) in (0u32..).zip(&mut self.watchers.slots) {
            let Some(watcher) = watcher else { continue };
            // An event that came between the tick and now says as much.
            if std::mem::take(&mut watcher.notify_due) && watcher.quiet && !self.lagging_slots.contains(&slot) {
                told.push(Progress { watch_id: watcher.id, revision: self.cursor });
            }
        }
        if self.progress_requested.is_some() && self.lagging_slots.is_empty() {
            self.progress_requested = None;
            if !self.is_empty() {
                told.push(Progress { watch_id: NO_WATCH_ID, revision: self.cursor });
            }
        }
        told
    }
}
