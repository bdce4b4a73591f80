//! Clients that watch: each has one stream to some member, with several watchers that come and go. When the stream breaks it asks
//! another member for what follows the last revision that it has whole, as etcd's client does.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use quorate_api::etcdserverpb::{self as pb, watch_request::RequestUnion};
use quorate_core::log::MemberId;

use crate::chance::Chance;
use crate::checkers::watches::Judge;
use crate::cluster::{CALM_MICROS, Cluster, SETTLE_MICROS, What};
use crate::host::Host;
use crate::options::Bug;
use crate::taint;

/// Clients that watch, each with at most `WATCHERS_MAX` watchers.
const OBSERVERS: u64 = 3;
const WATCHERS_MAX: usize = 5;
/// A stream that stands this long at the end must have brought everything.
const DELIVERY_MICROS_MAX: u64 = 3_000_000;

/// Where a stream goes: a member in one of its boots, and the stream's place there.
type Place = (MemberId, u64, usize);

/// See the module.
pub(crate) struct Observer {
    place: Option<Place>,
    opened: u64,
    /// The newest revision that a header of this stream showed.
    header: i64,
    /// Requests whose created response has not come, in order.
    asked: VecDeque<Asked>,
    /// Creations and cancellations asked for on this stream.
    sent: u64,
    /// Cancellations that the member may still answer, by watch id, with their place among all that was asked for: at the latest when
    /// a later creation is answered, because a member takes requests in order. It says nothing to one whose watcher had ended.
    canceled: Vec<(i64, u64)>,
    /// By the member's watch id.
    watchers: BTreeMap<i64, Judge>,
    /// Canceled by the client, until the member says so.
    canceling: BTreeMap<i64, Judge>,
    /// To be asked for on the next stream.
    resting: Vec<Judge>,
    chance: Chance,
}

struct Asked {
    request: pb::WatchCreateRequest,
    /// Of a watcher that goes on.
    judge: Option<Judge>,
    /// Answered by this member before it was asked: a watcher from now on starts above it.
    floor: i64,
    /// Its place among all that was asked for.
    place: u64,
}

impl Observer {
    pub fn all(seed: u64) -> Vec<Observer> {
        let one =
            |number: u64| Observer { chance: Chance::new(seed ^ (number + 1).rotate_left(40)), ..Observer::default() };
        (0..OBSERVERS).map(one).collect()
    }

    /// The stream is gone.
    fn disconnect(&mut self) {
        self.place = None;
        self.canceling.clear();
        self.canceled.clear();
        self.resting.extend(std::mem::take(&mut self.watchers).into_values());
        self.resting.extend(std::mem::take(&mut self.asked).into_iter().filter_map(|asked| asked.judge));
        self.resting.iter_mut().for_each(Judge::interrupt);
    }

    /// A new watcher: from now on, in the past, at the watermark, or in the future.
    fn draw(&mut self, revision: i64, compacted: i64) -> pb::WatchCreateRequest {
        let mut roll = |n| self.chance.between(0, n) as i64;
        let start_revision = match roll(10) {
            0..4 => 0,
            4..7 => (revision - roll(60)).max(1),
            7 => compacted.max(1),
            8 => (compacted - roll(10)).max(1),
            _ => revision + 1 + roll(20),
        };
        let range_end = ["", "l", "k5", "\0"][roll(4) as usize];
        let filters = if roll(5) == 0 { vec![roll(2) as i32] } else { Vec::new() };
        pb::WatchCreateRequest {
            key: format!("k{}", roll(4)).into(),
            range_end: range_end.into(),
            start_revision,
            filters,
            prev_kv: roll(2) == 0,
            fragment: roll(3) == 0,
            progress_notify: roll(3) == 0,
            // Sometimes an id of the client's choice.
            watch_id: if roll(5) == 0 { 100 + roll(1_000_000) } else { 0 },
        }
    }
}

impl Cluster {
    fn observer_at(&self, place: Place) -> Option<usize> {
        self.observers.iter().position(|observer| observer.place == Some(place))
    }

    /// A member ends the streams of its clients.
    pub(crate) fn send_clients_away(&mut self, id: MemberId) {
        let there = |observer: &&mut Observer| observer.place.is_some_and(|(at, ..)| at == id);
        self.observers.iter_mut().filter(there).for_each(Observer::disconnect);
    }

    /// The next act of an observer.
    pub(crate) fn observe(&mut self, number: usize) {
        let end = self.options.fault_micros + SETTLE_MICROS + CALM_MICROS;
        let Some(mut observer) = self.observers.get_mut(number).map(std::mem::take) else { return };
        let alive = observer.place.is_some_and(|(id, boot, _)| {
            let process = self.hosts.get(&id).and_then(|host| host.process.as_ref());
            process.is_some_and(|process| process.boot == boot)
        });
        if !alive {
            observer.disconnect();
            self.connect(&mut observer);
        } else if self.now < end {
            self.act(&mut observer);
        }
        let at = self.now + observer.chance.between(20_000, 400_000);
        self.observers[number] = observer;
        if self.now < end + DELIVERY_MICROS_MAX {
            self.at(at, What::Observe { number });
        }
    }

    fn connect(&mut self, observer: &mut Observer) {
        // Who is wrong and not known to be is asked by nobody whose answers are judged.
        let right = |host: &Host| host.process.as_ref().is_some_and(|process| !taint::is_wrong(&process.live));
        let serve_wrong = self.options.bug == Some(Bug::ServeWrong);
        let open = |host: &Host| if host.is_quarantined() { serve_wrong } else { right(host) };
        let up = |host: &&mut Host| host.serves() && host.paused_until <= self.now && open(host);
        let mut hosts: Vec<&mut Host> = self.hosts.values_mut().filter(up).collect();
        if hosts.is_empty() {
            return;
        }
        let at = observer.chance.between(0, hosts.len() as u64) as usize;
        let host = &mut hosts[at];
        let (id, boot) = (host.id, host.boot);
        let Some(process) = &mut host.process else { return };
        if process.machine.applied().index < process.serve_from {
            return;
        }
        observer.place = Some((id, boot, process.hub.open()));
        (observer.opened, observer.header) = (self.now, 0);
        for judge in std::mem::take(&mut observer.resting) {
            let request = pb::WatchCreateRequest { start_revision: judge.next, ..judge.request.clone() };
            self.world.counts.add("watch: watchers that went on elsewhere");
            self.ask_watch(observer, request, Some(judge));
        }
    }

    fn ask_watch(&mut self, observer: &mut Observer, request: pb::WatchCreateRequest, judge: Option<Judge>) {
        let floor = observer.place.and_then(|(id, ..)| self.hosts.get(&id)?.process.as_ref());
        let floor = floor.map_or(0, |process| process.answered);
        observer.sent += 1;
        observer.asked.push_back(Asked { request: request.clone(), judge, floor, place: observer.sent });
        self.send_request(observer, RequestUnion::CreateRequest(request));
    }

    fn send_request(&mut self, observer: &Observer, request: RequestUnion) {
        let Some((id, _, place)) = observer.place else { return };
        let Some(mut host) = self.hosts.remove(&id) else { return };
        if let Some(served) = host.process.as_mut().and_then(|process| process.hub.streams.get_mut(&place)) {
            served.requests.push_back(pb::WatchRequest { request_union: Some(request) });
        }
        self.wake_streams(&mut host);
        self.hosts.insert(id, host);
    }

    fn act(&mut self, observer: &mut Observer) {
        let known: Vec<i64> = observer.watchers.keys().copied().collect();
        match observer.chance.between(0, 20) {
            0..8 if observer.watchers.len() + observer.asked.len() < WATCHERS_MAX => {
                let request = observer.draw(self.world.model.revision, self.world.model.compacted);
                self.ask_watch(observer, request, None);
            }
            8 | 9 if !known.is_empty() => {
                let watch_id = observer.chance.pick(&known);
                if let Some(judge) = observer.watchers.remove(&watch_id) {
                    observer.canceling.insert(watch_id, judge);
                    observer.sent += 1;
                    observer.canceled.push((watch_id, observer.sent));
                    self.send_request(observer, RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
                }
            }
            10..14 => self.send_request(observer, RequestUnion::ProgressRequest(pb::WatchProgressRequest {})),
            14 => {
                // An id that is taken: rejected, and the stream lives on.
                if let Some(watch_id) = known.into_iter().find(|id| *id != 0) {
                    let request = pb::WatchCreateRequest { watch_id, key: "k1".into(), ..Default::default() };
                    self.ask_watch(observer, request, None);
                }
            }
            15 => {
                let Some((id, _, place)) = observer.place else { return };
                if let Some(process) = self.hosts.get_mut(&id).and_then(|host| host.process.as_mut()) {
                    process.hub.close(place, &process.live, process.machine.state());
                }
                observer.disconnect();
            }
            _ => {}
        }
    }

    /// A response reaches whoever has the stream.
    pub(crate) fn observe_response(
        &mut self,
        id: MemberId,
        boot: u64,
        place: usize,
        response: &pb::WatchResponse,
        outlived_install: bool,
    ) {
        let Some(number) = self.observer_at((id, boot, place)) else { return };
        let Some(mut observer) = self.observers.get_mut(number).map(std::mem::take) else { return };
        if let Err(why) = self.judge(&mut observer, response) {
            self.world.violate(format!("watch at member {id}: {why}"));
        }
        if outlived_install && !response.events.is_empty() {
            self.world.counts.add("watch: streams over an installation");
        }
        self.observers[number] = observer;
    }

    fn judge(&mut self, observer: &mut Observer, response: &pb::WatchResponse) -> Result<(), String> {
        let header = response.header.as_ref().map_or(0, |header| header.revision);
        let (model, counts) = (&self.world.model, &mut self.world.counts);
        if response.compact_revision > 0 {
            let judge = observer.watchers.remove(&response.watch_id);
            if let Some(mut judge) = judge.or_else(|| observer.canceling.remove(&response.watch_id)) {
                judge.compacted(model, response.compact_revision, counts)?;
                observer.resting.push(judge);
            }
            return Ok(());
        }
        counts.add("watch: headers compared");
        if header < observer.header || header > model.revision {
            let before = observer.header;
            return Err(format!("a header shows revision {header} after {before}, {} is the newest", model.revision));
        }
        observer.header = header;
        if response.created {
            return self.judge_created(observer, response, header);
        }
        if response.canceled {
            counts.add("watch: cancellations by clients checked");
            let id = response.watch_id;
            let asked = observer.canceled.iter().position(|(canceled, _)| *canceled == id);
            let known = observer.canceling.remove(&id).or_else(|| observer.watchers.remove(&id));
            return match (asked, known) {
                (Some(at), Some(_)) => {
                    observer.canceled.remove(at);
                    Ok(())
                }
                _ => Err(format!("watcher {id} ends unasked")),
            };
        }
        if response.events.is_empty() {
            let speaks_for = |id: i64| response.watch_id == -1 || response.watch_id == id;
            let watchers = observer.watchers.iter_mut().filter(|(id, _)| speaks_for(**id));
            for (id, judge) in watchers {
                judge.progress(model, header, counts).map_err(|why| format!("watcher {id}: {why}"))?;
            }
            return Ok(());
        }
        let named = observer.watchers.get_mut(&response.watch_id);
        let Some(judge) = named.or_else(|| observer.canceling.get_mut(&response.watch_id)) else {
            return Err(format!("events for watcher {}, which is no more", response.watch_id));
        };
        judge.events(model, response, counts).map_err(|why| format!("watcher {}: {why}", response.watch_id))
    }

    fn judge_created(
        &mut self,
        observer: &mut Observer,
        response: &pb::WatchResponse,
        header: i64,
    ) -> Result<(), String> {
        let asked = observer.asked.pop_front().ok_or("a watcher is created unasked")?;
        let Asked { request, judge, floor, place } = asked;
        observer.canceled.retain(|(_, canceled)| *canceled > place);
        let id = response.watch_id;
        // Everything that came before on this stream is known by now, also a watcher that got this very id from the member.
        let named = &request.watch_id;
        if *named != 0 && (observer.watchers.contains_key(named) || observer.canceling.contains_key(named)) {
            self.world.counts.add("watch: rejections checked");
            let rejected = response.canceled && id == -1;
            return if rejected { Ok(()) } else { Err(format!("watcher {id} is created under an id that is taken")) };
        }
        let other = request.watch_id != 0 && request.watch_id != id;
        if response.canceled || other || observer.watchers.contains_key(&id) {
            return Err(format!("watcher {id} is created for {request:?}"));
        }
        self.world.counts.add("watch: starts checked");
        if header < floor {
            return Err(format!("watcher {id} begins at revision {header}, but this member answered {floor} before"));
        }
        let first = if request.start_revision == 0 { header + 1 } else { request.start_revision };
        let judge = judge.unwrap_or_else(|| Judge::new(request, first, header));
        observer.watchers.insert(id, judge);
        Ok(())
    }

    /// At the end: what was committed well before was delivered to all that still listen to one of these, the members by then. One that
    /// was removed while it could not hear, and then all those that it knew of, learns of nothing any more.
    pub(crate) fn check_observers(&mut self, members: &[MemberId]) {
        let settled = self.settled_revision;
        for observer in &self.observers {
            let belongs = observer.place.is_some_and(|(id, ..)| members.contains(&id));
            if !belongs || self.now < observer.opened + DELIVERY_MICROS_MAX {
                continue;
            }
            for (id, judge) in &observer.watchers {
                self.world.counts.add("watch: everything delivered in the end");
                if let Some(missing) = judge.missing(&self.world.model, settled) {
                    let place = observer.place;
                    self.world.violate(format!("watcher {id} at {place:?} never gets revision {missing}"));
                    return;
                }
            }
        }
    }
}

impl Default for Observer {
    fn default() -> Self {
        Observer {
            place: None,
            opened: 0,
            header: 0,
            asked: VecDeque::new(),
            sent: 0,
            canceled: Vec::new(),
            watchers: BTreeMap::new(),
            canceling: BTreeMap::new(),
            resting: Vec::new(),
            chance: Chance::new(0),
        }
    }
}
