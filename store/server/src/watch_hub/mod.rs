//! The watches of this member: the ring of recent events, who is woken for which key, and a task per client stream
//! (`store/README.md`, "Watch"). What decides, from publishing to the order of messages, is `quorate_core::watch`.
//!
//! The driver publishes and goes on; a dispatcher task finds the streams that want an event and wakes them; each stream's task
//! takes what it wants out of the ring, as fast as its client reads. A stream that falls out of the ring reads the log.
//!
//! Invariant: the driver publishes a revision before anybody who waits for it is answered, so a watcher made after an answer
//! starts above it.

mod dispatch;
mod outbox;
mod source;
mod task;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_core::mvcc;
use quorate_core::watch::{Feed, IntervalIndex, Limits, encode};
use slab::Slab;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::memory::Budget;

pub use outbox::Responses;
pub use source::Source;

use dispatch::{Index, Wake};

/// Reads of the log by streams that catch up at one time: they share the disk with everybody else, and each takes milliseconds.
const CATCH_UPS_MAX: usize = 2;
/// The ring's part of the memory budget, at most.
const RING_PART: usize = 4;

/// What a member's watches are set to.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Between two progress messages of a quiet watcher that asked for them; up to a tenth is added at random.
    pub progress_interval: Duration,
    /// From this size on a message is split for watchers that asked for fragments.
    pub fragment_bytes: usize,
    pub ring: Limits,
}

impl Settings {
    /// The shortest progress interval, as in etcd.
    pub const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
    /// etcd's default progress interval.
    pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
    /// What a message may have beyond the largest request.
    pub const FRAGMENT_SLACK_BYTES: usize = 512 << 10;

    /// etcd's settings for a server that takes requests of `request_bytes_max`; an interval of zero is the default one. With little
    /// memory the ring is smaller, and streams that fall out of it read the log.
    pub fn new(progress_interval: Duration, request_bytes_max: usize, memory_bytes_max: usize) -> Settings {
        let progress_interval =
            if progress_interval.is_zero() { Settings::PROGRESS_INTERVAL } else { progress_interval };
        Settings {
            progress_interval: progress_interval.max(Settings::PROGRESS_INTERVAL_MIN),
            fragment_bytes: request_bytes_max + Settings::FRAGMENT_SLACK_BYTES,
            ring: Limits { bytes: Limits::DEFAULT.bytes.min(memory_bytes_max / RING_PART), ..Limits::DEFAULT },
        }
    }
}

/// What the metrics show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub streams: usize,
    pub watchers: usize,
    /// Watchers that do not follow the ring.
    pub slow_watchers: usize,
    /// Events queued for clients.
    pub pending_events: usize,
    /// Events sent since the start.
    pub events_total: u64,
}

/// See the module. Clones share it.
#[derive(Clone)]
pub struct WatchHub(Arc<Hub>);

struct Hub {
    settings: Settings,
    feed: Mutex<Feed>,
    index: Mutex<Index>,
    /// The newest revision whose events are in the ring (or were, or nobody watched).
    published: AtomicI64,
    compacted: AtomicI64,
    /// Streams were woken for all events up to here. Written under the lock of `index`.
    dispatched: AtomicI64,
    work: Notify,
    catch_ups: Arc<Semaphore>,
    stopped: CancellationToken,
    counters: Arc<Counters>,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct Counters {
    watchers: AtomicI64,
    slow_watchers: AtomicI64,
    pending_events: AtomicI64,
    events_total: AtomicU64,
}

impl WatchHub {
    /// A hub over a store that stands at `revision`, with its dispatcher. Call it inside a tokio runtime.
    pub fn start(revision: i64, compact_revision: i64, settings: Settings, budget: Arc<Budget>) -> WatchHub {
        let hub = Hub {
            settings,
            feed: Mutex::new(Feed::new(revision, settings.ring)),
            index: Mutex::new(Index { ranges: IntervalIndex::default(), streams: Slab::new() }),
            published: AtomicI64::new(revision),
            compacted: AtomicI64::new(compact_revision),
            dispatched: AtomicI64::new(revision),
            work: Notify::new(),
            catch_ups: Arc::new(Semaphore::new(CATCH_UPS_MAX)),
            stopped: CancellationToken::new(),
            counters: Arc::default(),
            budget,
        };
        let hub = Arc::new(hub);
        tokio::spawn(dispatch::run(Arc::clone(&hub)));
        WatchHub(hub)
    }

    /// The driver's: the store is at `revision` now, through these events, in order. Quick, and never waits for a client.
    pub fn publish(&self, revision: i64, compact_revision: i64, events: Vec<mvcc::Event>) {
        let hub = &self.0;
        hub.compacted.fetch_max(compact_revision, Ordering::AcqRel);
        if events.is_empty() {
            assert!(revision <= hub.published.load(Ordering::Acquire), "revision {revision} has events");
            return;
        }
        // Encoding happens outside of the lock, and not at all when nobody watches.
        let watched = hub.feed().streams() > 0;
        let encoded = watched.then(|| encode(events));
        let mut feed = hub.feed();
        feed.publish(revision, encoded);
        hub.published.store(revision, Ordering::Release);
        if feed.streams() > 0 {
            hub.work.notify_one();
        }
    }

    /// The driver's: the store was replaced by a snapshot at `revision`. Streams read what they missed from its log.
    pub fn reset(&self, revision: i64, compact_revision: i64) {
        let hub = &self.0;
        hub.compacted.fetch_max(compact_revision, Ordering::AcqRel);
        let mut feed = hub.feed();
        feed.reset(revision);
        hub.published.store(revision, Ordering::Release);
        drop(feed);
        hub.work.notify_one();
    }

    /// Ends every stream and refuses new ones, as when the server stops.
    pub fn stop(&self) {
        self.0.stopped.cancel();
    }

    pub fn counts(&self) -> Counts {
        let Counters { watchers, slow_watchers, pending_events, events_total } = &*self.0.counters;
        let gauge = |value: &AtomicI64| usize::try_from(value.load(Ordering::Relaxed)).unwrap_or(0);
        Counts {
            streams: self.0.feed().streams(),
            watchers: gauge(watchers),
            slow_watchers: gauge(slow_watchers),
            pending_events: gauge(pending_events),
            events_total: events_total.load(Ordering::Relaxed),
        }
    }
}

impl Hub {
    fn feed(&self) -> MutexGuard<'_, Feed> {
        lock(&self.feed)
    }

    /// Opens a stream, not yet woken for anything: its place in the index, and how it is woken.
    fn open(&self) -> (usize, Arc<Wake>) {
        let mut feed = self.feed();
        let first = feed.open();
        let mut index = lock(&self.index);
        if let Some(head) = first {
            self.dispatched.fetch_max(head, Ordering::AcqRel);
        }
        let wake = Arc::new(Wake::default());
        (index.streams.insert(Arc::clone(&wake)), wake)
    }

    fn close(&self, stream: usize) {
        self.feed().close();
        lock(&self.index).streams.remove(stream);
    }
}

/// A panic ends the process; until then what the lock holds is as good as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
