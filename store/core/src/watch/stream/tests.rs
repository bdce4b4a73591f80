//! A stream driven by random steps beside a model that knows every event: whatever the order of writes, wake-ups, slow
//! turns, ring losses, compactions, creates and cancels, each watcher sees exactly its events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use quorate_api::etcdserverpb::WatchCreateRequest;
use quorate_api::mvccpb::KeyValue;

use super::*;
use crate::watch::event::{Block, Encoded};
use crate::watch::ring::{Limits, Ring};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Step {
    /// One revision of these (key, delete).
    Write(Vec<(usize, bool)>),
    /// The dispatcher looks at this many more revisions.
    Dispatch(usize),
    /// The client takes one chunk: of the live side or of the lagging one.
    TakeLive,
    TakeLagging,
    /// The task reads how far the dispatcher is, and is interrupted before it takes its wake-up.
    SeeDispatched,
    Create {
        key: usize,
        end: usize,
        start: i64,
        no_put: bool,
        no_delete: bool,
        notify: bool,
    },
    Cancel(usize),
    Compact(i64),
    RequestProgress,
    Tick,
    /// A snapshot was installed: the ring is empty, the events of the log stay readable.
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec((0..KEYS.len(), any::<bool>()), 1..4).prop_map(Step::Write),
        6 => (1usize..4).prop_map(Step::Dispatch),
        5 => Just(Step::TakeLive),
        5 => Just(Step::TakeLagging),
        2 => Just(Step::SeeDispatched),
        3 => (0..KEYS.len(), 0usize..7, -12i64..4, prop::bool::weighted(0.2), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(key, end, start, no_put, no_delete, notify)| Step::Create { key, end, start, no_put, no_delete, notify }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0i64..20).prop_map(Step::Compact),
        2 => Just(Step::RequestProgress),
        1 => Just(Step::Tick),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..250)
}

struct Watched {
    range: KeyRange,
    no_put: bool,
    no_delete: bool,
    /// The first revision it may see.
    first: i64,
    start: i64,
    seen: Vec<(i64, Vec<u8>)>,
    notified: usize,
}

/// What the hub and the task of a stream do around the pure parts, in one thread, with every pause made a step.
struct World {
    blocks: BTreeMap<i64, Arc<Block>>,
    ring: Ring,
    dispatched: i64,
    compacted: i64,
    woken_ranges: Vec<KeyRange>,
    wake: Option<(i64, i64)>,
    /// What the client's task saw of `dispatched` a while before it takes its wake-up.
    dispatched_seen: Option<i64>,
    stream: Stream,
    watched: BTreeMap<i64, Watched>,
    header: i64,
    progress_asked: BTreeSet<i64>,
}

impl World {
    fn new() -> World {
        World {
            blocks: BTreeMap::new(),
            ring: Ring::new(1, Limits { events: 12, bytes: usize::MAX }),
            dispatched: 1,
            compacted: 0,
            woken_ranges: Vec::new(),
            wake: None,
            dispatched_seen: None,
            stream: Stream::new(1),
            watched: BTreeMap::new(),
            header: 0,
            progress_asked: BTreeSet::new(),
        }
    }

    fn write(&mut self, changes: &[(usize, bool)]) {
        let revision = self.ring.head() + 1;
        let events = || {
            changes.iter().map(|(key, delete)| {
                let kv = KeyValue { key: KEYS[*key].into(), mod_revision: revision, ..Default::default() };
                Encoded::new(*delete, kv)
            })
        };
        self.ring.push(revision, events().collect());
        self.blocks.insert(revision, Arc::new(Block { revision, events: events().collect() }));
    }

    fn dispatch(&mut self, count: usize) {
        for _ in 0..count {
            if self.dispatched == self.ring.head() {
                return;
            }
            let revision = self.dispatched + 1;
            let wanted = |event: &Encoded| self.woken_ranges.iter().any(|range| range.contains(event.key()));
            if self.blocks[&revision].events.iter().any(wanted) {
                self.flag(revision);
            }
            self.dispatched = revision;
        }
    }

    fn flag(&mut self, revision: i64) {
        let (first, last) = self.wake.unwrap_or((revision, revision));
        self.wake = Some((first.min(revision), last.max(revision)));
    }

    fn take_live(&mut self) {
        let dispatched = self.dispatched_seen.take().unwrap_or(self.dispatched);
        self.stream.advance(self.wake.take(), dispatched);
        let Some((from, to)) = self.stream.live() else { return self.take_progress() };
        match self.ring.range(from, to, 3, usize::MAX) {
            Some(blocks) => {
                let progressed = self.stream.deliver_live(&blocks);
                self.receive(&blocks, progressed);
            }
            None => self.stream.fall_behind(),
        }
        self.take_progress();
    }

    fn take_lagging(&mut self) {
        let Some(from) = self.stream.lagging() else { return };
        let head = self.ring.head();
        let blocks = match self.ring.range(from, head, 3, usize::MAX) {
            Some(blocks) => blocks,
            None => {
                for removed in self.stream.cancel_compacted(self.compacted) {
                    let watched = self.watched.remove(&removed.watch_id).expect("only a watcher is canceled");
                    let next = watched.seen.last().map_or(watched.first, |(revision, _)| revision + 1);
                    assert!(
                        next < self.compacted,
                        "a watcher that needs {next} outlives compaction at {}",
                        self.compacted
                    );
                    self.forget(&removed);
                }
                let Some(from) = self.stream.lagging() else { return };
                self.blocks.range(from..).take(4).map(|(_, block)| Arc::clone(block)).collect()
            }
        };
        let through = blocks.last().map_or(head, |block| block.revision);
        let wanted: Vec<Arc<Block>> = blocks
            .into_iter()
            .filter(|block| {
                block
                    .events
                    .iter()
                    .any(|event| self.stream.lagging_wants(block.revision, event.key(), event.is_delete()))
            })
            .collect();
        let progressed = self.stream.deliver_lagging(&wanted, through, head);
        assert_eq!(progressed.through, through);
        self.receive(&wanted, progressed);
        self.take_progress();
    }

    fn receive(&mut self, blocks: &[Arc<Block>], progressed: Progressed) {
        for delivery in progressed.deliveries {
            let revision = self.stream.stamp(delivery.revision);
            assert!(revision >= self.header, "header revisions never fall");
            self.header = revision;
            assert!(!delivery.events.is_empty(), "a response without events is not sent");
            let watched = self.watched.get_mut(&delivery.watch_id).expect("nothing is sent after a cancel");
            for (block, event) in &delivery.events {
                let block = &blocks[*block as usize];
                assert!(block.revision <= revision, "a header is not behind its events");
                watched.seen.push((block.revision, block.events[*event as usize].body().to_vec()));
            }
            // Invariant: whole revisions. What was seen up to now is a complete prefix, up to the last revision in it.
            let last = watched.seen.last().expect("events were just pushed").0;
            assert_eq!(watched.seen, expected(&self.blocks, watched, last), "watcher {}", delivery.watch_id);
        }
    }

    fn take_progress(&mut self) {
        for Progress { watch_id, revision } in self.stream.take_progress() {
            assert_eq!(self.stream.stamp(revision), revision, "what the header shows is the progress itself");
            assert!(revision >= self.header);
            self.header = revision;
            let asked = if watch_id == NO_WATCH_ID { self.progress_asked.pop_last() } else { None };
            assert!(asked.is_none_or(|asked| revision >= asked), "a requested progress is as new as the request");
            for (id, watched) in &mut self.watched {
                if watch_id == NO_WATCH_ID || watch_id == *id {
                    watched.notified += 1;
                    assert!(watch_id == NO_WATCH_ID || revision >= watched.start);
                    let due = expected(&self.blocks, watched, revision);
                    assert!(watched.seen.starts_with(&due), "progress at {revision} is ahead of {id}");
                }
            }
        }
    }

    fn create(&mut self, key: usize, end: usize, start: i64, filters: (bool, bool), notify: bool) {
        let head = self.ring.head();
        let start = if start == 3 { 0 } else { (head + start).max(0) };
        let (no_put, no_delete) = filters;
        let mut request = WatchCreateRequest {
            key: KEYS[key].into(),
            range_end: ["", "\0", "b", "c", "d", "e", "f"][end].into(),
            start_revision: start,
            progress_notify: notify,
            ..Default::default()
        };
        request.filters.extend(no_put.then_some(0));
        request.filters.extend(no_delete.then_some(1));
        let Ok(admitted) = self.stream.admit(request) else { return };
        let range = admitted.range.clone();
        if admitted.unwatched {
            self.woken_ranges.push(range.clone());
        }
        let now = Now { published: head, dispatched: self.dispatched };
        let created = self.stream.create(admitted, now);
        assert_eq!(created.revision, head);
        self.header = self.header.max(self.stream.stamp(head));
        let first = if start == 0 { head + 1 } else { start };
        let watched = Watched { range, no_put, no_delete, first, start, seen: Vec::new(), notified: 0 };
        assert!(self.watched.insert(created.watch_id, watched).is_none(), "ids are not used twice");
        if start != 0 && start < self.compacted {
            for removed in self.stream.cancel_compacted(self.compacted) {
                self.watched.remove(&removed.watch_id);
                self.forget(&removed);
            }
        }
    }

    fn forget(&mut self, removed: &Removed) {
        if removed.unwatched {
            self.woken_ranges.retain(|range| *range != removed.range);
        }
        assert_eq!(self.woken_ranges.contains(&removed.range), !removed.unwatched);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(changes) => self.write(&changes),
            Step::Dispatch(count) => self.dispatch(count),
            Step::TakeLive => self.take_live(),
            Step::TakeLagging => self.take_lagging(),
            Step::SeeDispatched => self.dispatched_seen = Some(self.dispatched),
            Step::Create { key, end, start, no_put, no_delete, notify } => {
                self.create(key, end, start, (no_put, no_delete), notify);
            }
            Step::Cancel(at) => {
                let Some(id) = self.watched.keys().copied().nth(at % self.watched.len().max(1)) else { return };
                let removed = self.stream.cancel(id).expect("it is watched");
                assert_eq!(self.stream.cancel(id), None);
                self.watched.remove(&id);
                self.forget(&removed);
            }
            Step::Compact(back) => self.compacted = self.compacted.max(self.ring.head() - back),
            Step::RequestProgress => {
                let (head, lagging) = (self.ring.head(), self.stream.lagging_len());
                let before = self.stream.progress_requested;
                self.stream.request_progress(head);
                if lagging > 0 {
                    assert_eq!(self.stream.progress_requested, before, "it is dropped");
                } else if self.stream.progress_requested == Some(head) {
                    self.progress_asked = BTreeSet::from([head]);
                }
            }
            Step::Tick => self.stream.tick(self.ring.head()),
            Step::Reset => {
                let head = self.ring.head();
                if self.dispatched < head {
                    self.flag(self.dispatched + 1);
                    self.flag(head);
                }
                self.ring.clear(head);
                self.dispatched = head;
            }
        }
    }

    fn drain(&mut self) {
        self.dispatch(usize::MAX);
        for _ in 0..10_000 {
            self.take_live();
            self.take_lagging();
            if !self.stream.is_pending() && self.stream.lagging().is_none() {
                return;
            }
        }
        panic!("a stream catches up once writes stop");
    }
}

fn expected(blocks: &BTreeMap<i64, Arc<Block>>, watched: &Watched, through: i64) -> Vec<(i64, Vec<u8>)> {
    let revisions = blocks.range(watched.first..).take_while(|(revision, _)| **revision <= through);
    let events = revisions.flat_map(|(revision, block)| block.events.iter().map(move |event| (*revision, event)));
    events
        .filter(|(_, event)| watched.range.contains(event.key()))
        .filter(|(_, event)| if event.is_delete() { !watched.no_delete } else { !watched.no_put })
        .map(|(revision, event)| (revision, event.body().to_vec()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_watcher_sees_exactly_its_events_in_order(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.drain();
        let head = world.ring.head();
        for (id, watched) in &world.watched {
            prop_assert_eq!(&watched.seen, &expected(&world.blocks, watched, head), "watcher {}", id);
        }
        world.stream.request_progress(head);
        world.drain();
        let all_told = world.watched.values().all(|watched| watched.notified > 0 || watched.start > head);
        prop_assert!(all_told || world.watched.values().any(|watched| watched.start > head));
        let removed = world.stream.close();
        prop_assert_eq!(removed.len(), world.watched.len());
        prop_assert!(world.stream.live.is_empty() && world.stream.lagging.is_empty());
        prop_assert_eq!(world.stream.watchers.slots.capacity(), 0);
    }
}

fn request(key: &str, watch_id: i64) -> WatchCreateRequest {
    WatchCreateRequest { key: key.to_owned().into(), watch_id, ..Default::default() }
}

const NOW: Now = Now { published: 7, dispatched: 7 };

#[test]
fn the_server_assigns_ids_from_zero_and_skips_those_in_use() {
    let mut stream = Stream::new(7);
    let mut create = |id| stream.create(stream.admit(request("k", id)).unwrap(), NOW).watch_id;
    assert_eq!([create(0), create(1), create(3), create(0), create(0), create(-9)], [0, 1, 3, 2, 4, -9]);
}

#[test]
fn bad_requests_are_rejected_with_the_texts_of_etcd() {
    let mut stream = Stream::new(7);
    stream.create(stream.admit(request("k", 5)).unwrap(), NOW);
    let cases = [
        (request("x", 5), "mvcc: duplicate watch ID provided on the WatchStream"),
        (WatchCreateRequest { range_end: "k".into(), ..request("k", 0) }, "mvcc: watcher range is empty"),
        (
            WatchCreateRequest { start_revision: -1, range_end: "k".into(), ..request("k", 5) },
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ];
    for (request, text) in cases {
        assert_eq!(stream.admit(request).unwrap_err().to_string(), text);
    }
    assert_eq!(stream.len(), 1, "the stream lives on");
}

#[test]
fn each_revision_is_a_message_until_the_stream_is_far_behind() {
    for (count, messages) in [(128, 128), (129, 1)] {
        let mut stream = Stream::new(1);
        let now = Now { published: 1, dispatched: 1 };
        stream.create(stream.admit(request("k", 0)).unwrap(), now);
        let block = |revision| {
            let kv = KeyValue { key: "k".into(), mod_revision: revision, ..Default::default() };
            Arc::new(Block { revision, events: [Encoded::new(false, kv)].into() })
        };
        stream.advance(Some((2, 1 + count)), 1 + count);
        let blocks: Vec<Arc<Block>> = (2..2 + count).map(block).collect();
        let progressed = stream.deliver_live(&blocks);
        assert_eq!(progressed.deliveries.len(), messages);
        assert_eq!(progressed.deliveries.last().map(|last| last.revision), Some(1 + count));
    }
}

#[test]
fn a_requested_progress_is_dropped_while_a_watcher_lags_or_starts_in_the_future() {
    for (start, told) in [(0, true), (8, false), (3, false), (7, false)] {
        let mut stream = Stream::new(7);
        let request = WatchCreateRequest { start_revision: start, ..request("k", 0) };
        stream.create(stream.admit(request).unwrap(), NOW);
        stream.request_progress(7);
        let expected: &[Progress] = if told { &[Progress { watch_id: NO_WATCH_ID, revision: 7 }] } else { &[] };
        assert_eq!(stream.take_progress(), expected, "start {start}");
    }
    let mut empty = Stream::new(7);
    empty.request_progress(7);
    assert_eq!(empty.take_progress(), []);
}

#[test]
fn a_tick_tells_only_quiet_watchers_that_asked_for_it() {
    let mut stream = Stream::new(7);
    let notify = WatchCreateRequest { progress_notify: true, ..request("k", 0) };
    stream.create(stream.admit(notify.clone()).unwrap(), NOW);
    stream.create(stream.admit(request("k", 0)).unwrap(), NOW);
    stream.create(stream.admit(WatchCreateRequest { start_revision: 9, ..notify }).unwrap(), NOW);
    let told = Progress { watch_id: 0, revision: 7 };
    for _ in 0..2 {
        stream.tick(7);
        assert_eq!(stream.take_progress(), [told]);
        assert_eq!(stream.take_progress(), []);
    }
    let kv = KeyValue { key: "k".into(), mod_revision: 8, ..Default::default() };
    stream.advance(Some((8, 8)), 8);
    stream.deliver_live(&[Arc::new(Block { revision: 8, events: [Encoded::new(false, kv)].into() })]);
    stream.tick(8);
    assert_eq!(stream.take_progress(), [], "an event said as much");
    stream.tick(8);
    assert_eq!(stream.take_progress(), [Progress { watch_id: 0, revision: 8 }]);
}
