//! The watches of a member: `quorate_core::watch` with streams, in the order in which the server's `watch_hub` works, but each step
//! at a time of its own chance, so that dispatching, delivering, reading the log and reading by clients meet in every order.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;
use quorate_api::etcdserverpb as pb;
use quorate_core::apply::Machine;
use quorate_core::memory::Memory;
use quorate_core::mvcc::{self, State};
use quorate_core::watch::{
    Feed, IntervalIndex, KeyRange, Limits, Look, Message, Next, Port, Queue, Ring, Session, Wanted, Woken, encode,
};

use crate::chance::Chance;
use crate::cluster::{Cluster, What};
use crate::host::Host;
use crate::taint;
use crate::tamper;

/// Small, so that streams fall out of the ring.
const RING: Limits = Limits { events: 24, bytes: usize::MAX };
/// Small, so that fragments are made.
const FRAGMENT_BYTES: usize = 200;

/// A client's stream as the member serves it.
pub struct Served {
    session: Session,
    wanted: Wanted,
    /// Something is wanted, and not yet delivered.
    woken: bool,
    queue: Queue,
    pub requests: VecDeque<pb::WatchRequest>,
    next: Next,
    /// A snapshot was installed under it.
    pub outlived_install: bool,
}

/// See the module.
pub struct Hub {
    feed: Feed,
    ranges: RefCell<IntervalIndex<usize>>,
    pub streams: BTreeMap<usize, Served>,
    next_place: usize,
    published: i64,
    compacted: i64,
    dispatched: i64,
    /// A turn is on its way.
    scheduled: bool,
    chance: Chance,
}

/// The member as one stream sees it.
struct At<'a> {
    feed: &'a Feed,
    ranges: &'a RefCell<IntervalIndex<usize>>,
    place: usize,
    published: i64,
    compacted: i64,
    dispatched: i64,
    rows: &'a Memory,
    state: State,
}

impl Port for At<'_> {
    type View = Memory;
    type Error = mvcc::Error;

    fn ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(self.feed.ring())
    }

    fn published(&self) -> i64 {
        self.published
    }

    fn compacted(&self) -> i64 {
        self.compacted
    }

    fn dispatched(&self) -> i64 {
        self.dispatched
    }

    fn watch(&self, range: &KeyRange) -> i64 {
        self.ranges.borrow_mut().insert(range, self.place);
        self.dispatched
    }

    fn unwatch(&self, range: &KeyRange) {
        self.ranges.borrow_mut().remove(range, self.place);
    }

    fn view(&self) -> Result<(Memory, State), mvcc::Error> {
        Ok((self.rows.clone(), self.state))
    }

    fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader { revision, ..Default::default() }
    }

    fn fragment_bytes(&self) -> usize {
        FRAGMENT_BYTES
    }
}

impl Hub {
    pub fn new(machine: &Machine, seed: u64) -> Hub {
        let revision = machine.revision();
        Hub {
            feed: Feed::new(revision, RING),
            ranges: RefCell::default(),
            streams: BTreeMap::new(),
            next_place: 0,
            published: revision,
            compacted: machine.compact_revision(),
            dispatched: revision,
            scheduled: false,
            chance: Chance::new(seed ^ 0x7761_7463),
        }
    }

    /// Opens a stream; its place.
    pub fn open(&mut self) -> usize {
        if let Some(head) = self.feed.open() {
            self.dispatched = self.dispatched.max(head);
        }
        self.next_place += 1;
        let served = Served {
            session: Session::new(self.dispatched),
            wanted: Wanted::default(),
            woken: false,
            queue: Queue::default(),
            requests: VecDeque::new(),
            next: Next::default(),
            outlived_install: false,
        };
        self.streams.insert(self.next_place, served);
        self.next_place
    }

    /// The client went away.
    pub fn close(&mut self, place: usize, rows: &Memory, state: State) {
        let Some(mut served) = self.streams.remove(&place) else { return };
        served.session.close(&self.at(place, rows, state));
        self.feed.close();
        if self.streams.is_empty() {
            assert!(self.ranges.borrow().is_empty(), "nobody watches, and ranges are left");
        }
    }

    pub fn publish(&mut self, revision: i64, compact_revision: i64, events: Vec<mvcc::Event>) {
        self.compacted = self.compacted.max(compact_revision);
        if !events.is_empty() {
            let encoded = (self.feed.streams() > 0).then(|| encode(events));
            self.feed.publish(revision, encoded);
            self.published = revision;
        }
    }

    /// A snapshot was installed.
    pub fn reset(&mut self, revision: i64, compact_revision: i64) {
        self.compacted = self.compacted.max(compact_revision);
        self.feed.reset(revision);
        self.published = revision;
        self.streams.values_mut().for_each(|served| served.outlived_install = true);
    }

    fn dispatch(&mut self) {
        let look = Look::after(self.dispatched, self.feed.ring());
        let streams = &mut self.streams;
        let through = look.wake(&self.ranges.borrow(), |who, first, last| match who {
            Woken::Stream(place) => {
                let served = streams.get_mut(&place).expect("a range is watched by a stream that exists");
                served.wanted.add(first, last);
                served.woken = true;
            }
            Woken::Everyone => streams.values_mut().for_each(|served| {
                served.wanted.add(first, last);
                served.woken = true;
            }),
        });
        self.dispatched = self.dispatched.max(through.unwrap_or(0));
    }

    fn at<'a>(&'a self, place: usize, rows: &'a Memory, state: State) -> At<'a> {
        At {
            feed: &self.feed,
            ranges: &self.ranges,
            place,
            published: self.published,
            compacted: self.compacted,
            dispatched: self.dispatched,
            rows,
            state,
        }
    }

    /// Some of the steps that a stream could make now; returns what its session made.
    fn step(
        &mut self,
        served: &mut Served,
        place: usize,
        rows: &Memory,
        state: State,
    ) -> Result<Vec<Message>, mvcc::Error> {
        let mut made = Vec::new();
        let rolls: [bool; 4] = [70, 70, 50, 3].map(|percent| self.chance.percent(percent));
        let at = self.at(place, rows, state);
        if rolls[0]
            && served.queue.takes_requests()
            && let Some(request) = served.requests.pop_front()
        {
            let handled = served.session.handle(&at, request);
            if let Some(watch_id) = handled.purge {
                served.queue.purge(watch_id);
            }
            made.extend(handled.messages);
            // As the server, which delivers after every request: a watcher from the past waits for nothing else.
            served.next.more = true;
        }
        if rolls[1] && served.queue.has_room() {
            let (messages, next) = served.session.deliver(&at, at.dispatched, served.wanted.take())?;
            made.extend(messages);
            (served.next, served.woken) = (next, false);
        }
        if rolls[2] && served.next.read_log {
            served.next.read_log = false;
            made.extend(served.session.catch_up(&at)?);
        }
        if rolls[3] {
            served.session.tick(&at);
        }
        Ok(made)
    }

    fn has_work(&self) -> bool {
        let busy = |served: &Served| {
            served.woken
                || served.next.more
                || served.next.read_log
                || !served.queue.is_empty()
                || !served.requests.is_empty()
                || served.session.watchers().is_pending()
        };
        self.dispatched < self.published && !self.streams.is_empty() || self.streams.values().any(busy)
    }
}

impl Cluster {
    /// Lets the member's streams work soon, unless they are about to.
    pub(crate) fn wake_streams(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let hub = &mut process.hub;
        if hub.scheduled || hub.streams.is_empty() {
            return;
        }
        hub.scheduled = true;
        let at = self.now + hub.chance.between(500, 25_000);
        self.at(at, What::Streams { id: host.id, boot: host.boot });
    }

    /// One turn of all streams of a member, and of the clients that read them.
    pub(crate) fn serve_streams(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        process.hub.scheduled = false;
        if self.refuses(host) {
            return self.end_streams(host);
        }
        let Some(process) = &mut host.process else { return };
        if process.hub.chance.percent(80) {
            process.hub.dispatch();
        }
        let places: Vec<usize> = process.hub.streams.keys().copied().collect();
        for place in places {
            self.serve_stream(host, place);
            self.read_stream(host, place);
        }
        let Some(process) = &mut host.process else { return };
        if process.hub.has_work() || process.hub.chance.percent(20) {
            self.wake_streams(host);
        }
    }

    pub(crate) fn serve_stream(&mut self, host: &mut Host, place: usize) {
        let Some(process) = &mut host.process else { return };
        let Some(mut served) = process.hub.streams.remove(&place) else { return };
        let state = process.machine.state();
        let mut failed = None;
        match process.hub.step(&mut served, place, &process.live, state) {
            Ok(made) => {
                let made = tamper::messages(self.options.bug, made);
                for message in made {
                    if let Some(why) = previous_below(&message, process.hub.compacted) {
                        self.world.violate(format!("member {}: {why}", host.id));
                    }
                    served.queue.push(message);
                }
            }
            Err(error) => failed = Some(format!("cannot serve a watch: {error}")),
        }
        process.hub.streams.insert(place, served);
        if let Some(failed) = failed {
            self.cannot_read(host, &failed);
        }
    }

    /// Ends all streams of a member.
    pub(crate) fn end_streams(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let places: Vec<usize> = process.hub.streams.keys().copied().collect();
        for place in &places {
            process.hub.close(*place, &process.live, process.machine.state());
        }
        self.send_clients_away(host.id);
    }

    /// The client takes some of what waits for it.
    fn read_stream(&mut self, host: &mut Host, place: usize) {
        let wrong = host.process.as_ref().is_some_and(|process| taint::is_wrong(&process.live));
        if wrong && !host.is_quarantined() {
            // Nobody judges what it says before it is known to be wrong.
            return self.end_streams(host);
        }
        let Some(process) = &mut host.process else { return };
        let count = process.hub.chance.pick(&[0, 1, 2, 8, 64]);
        for _ in 0..count {
            let Some(served) = process.hub.streams.get_mut(&place) else { return };
            let Some(message) = served.queue.pop() else { return };
            let outlived_install = served.outlived_install;
            let mut bytes = Vec::with_capacity(message.encoded_len());
            message.encode(&mut bytes);
            match pb::WatchResponse::decode(&bytes[..]) {
                Ok(response) => self.observe_response(host.id, host.boot, place, &response, outlived_install),
                Err(error) => self.world.violate(format!("a watch response does not decode: {error}")),
            }
        }
    }
}

/// A previous row of a compacted revision is not shown, swept or not.
fn previous_below(message: &Message, compacted: i64) -> Option<String> {
    message.events.iter().filter(|event| event.previous.is_some()).find_map(|event| {
        let kv = quorate_api::mvccpb::Event::decode(event.body.clone()).ok()?.kv?;
        let below = kv.mod_revision - 1 < compacted;
        below.then(|| format!("the previous row of revision {} is shown, compacted is {compacted}", kv.mod_revision))
    })
}
