//! Members on fake effects under one seed: messages are lost, delayed and reordered, members crash between any two effects and
//! lose what was not synced, and a cluster of one grows to three. What every run checks: applied logs agree, nothing acknowledged
//! is lost, confirmed reads are not stale, and once the faults end everything proposed gets done.

mod damage;
mod departure;
mod fence;
mod flush;
mod hand;
mod joint;
mod liveness;
mod reads;
mod space;
mod timers;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::log::EntryKind;
use crate::membership::{Change, Member, Membership, Proposed};
use crate::replica::{LogReadError, Timing, Window, first_group};

const ELECTION_TICKS: usize = 10;
const TICK_MS: u64 = 100;
/// Of members under chance: both thresholds are reached now and then.
const OFTEN: FlushPolicy = FlushPolicy { bytes_max: 512, age_ms_max: 2_000, tick_ms: TICK_MS };
/// Of members that are flushed by hand.
const NEVER: FlushPolicy = FlushPolicy { bytes_max: usize::MAX, age_ms_max: u64::MAX, tick_ms: TICK_MS };

/// Chance of one seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// What survives a crash.
#[derive(Default)]
struct Disk {
    hard_state: HardState,
    log: Arc<Mutex<Vec<Entry>>>,
    /// The flushed state: how far it is applied, and the configuration there.
    flushed: (Index, Membership),
    boot: u64,
    /// Whether the member is kept out of raft.
    fenced: bool,
}

impl Disk {
    fn founded(founders: &[MemberId]) -> Disk {
        let (hard_state, log) = first_group(founders.iter().copied().map(member));
        Disk { hard_state, log: Arc::new(Mutex::new(log)), ..Disk::default() }
    }
}

struct Reader(Arc<Mutex<Vec<Entry>>>);

impl LogReader for Reader {
    fn entries(&self, low: Index, high: Index, _: u64) -> Result<Vec<Entry>, LogReadError> {
        Ok(self.0.lock().unwrap().iter().filter(|e| (low..high).contains(&e.index)).cloned().collect())
    }

    fn term(&self, index: Index) -> Result<Term, LogReadError> {
        let log = self.0.lock().unwrap();
        let entry = log.iter().find(|entry| entry.index == index);
        entry.map(|entry| entry.term).ok_or(LogReadError { low: index, high: index + 1, reason: "not there".into() })
    }
}

struct Host {
    disk: Disk,
    flush: FlushPolicy,
    /// `None` while down.
    node: Option<Node>,
    membership: Membership,
    /// Handed out and not performed yet.
    effects: VecDeque<Effect>,
    events: Vec<Event>,
    /// Reads asked of this boot: token → the index that was acknowledged anywhere when it was asked.
    reads: BTreeMap<u64, Index>,
    next_token: u64,
}

/// What the outside knows.
#[derive(Default)]
struct World {
    /// The one history: index → (term, data); every member's must agree.
    applied: BTreeMap<Index, (Term, Bytes)>,
    acknowledged: BTreeMap<u64, Index>,
    confirmed_reads: u64,
    log_reads: u64,
    flushes: u64,
    crashes: u64,
    fences: u64,
    other_timers: u64,
}

struct Cluster {
    hosts: BTreeMap<MemberId, Host>,
    /// Sender, receiver, what arrives.
    network: Vec<(MemberId, MemberId, Event)>,
    world: World,
    chance: Chance,
    seed: u64,
}

fn member(id: MemberId) -> Member {
    Member { id, peer_urls: vec![format!("peer-{id}")], ..Default::default() }
}

impl Host {
    fn start(&mut self, id: MemberId, seed: u64) {
        self.disk.boot += 1;
        let (applied, membership) = self.disk.flushed.clone();
        let last_index = self.disk.log.lock().unwrap().last().map_or(0, |entry| entry.index);
        let start = Start {
            id,
            hard_state: self.disk.hard_state,
            conf_state: membership.conf_state(),
            applied,
            truncated: (0, 0),
            last_index,
            // Next to nothing, so that the log is read for followers.
            memory_bytes_max: 16,
            seed: seed ^ id ^ (self.disk.boot << 32),
            timing: Timing { election_ticks: ELECTION_TICKS, pre_vote: true },
            window: Window::default(),
        };
        self.membership = membership;
        let mut node = Node::new(start, self.disk.boot, Box::new(Reader(self.disk.log.clone())), self.flush);
        let fence = self.disk.fenced.then_some(Event::Fence { fenced: true });
        self.effects = node.turn(fence).into();
        self.node = Some(node);
    }

    fn crash(&mut self) {
        self.node = None;
        self.effects.clear();
        self.events.clear();
        self.reads.clear();
    }

    fn persist(&mut self, hard_state: Option<HardState>, entries: Vec<Entry>) {
        let mut log = self.disk.log.lock().unwrap();
        if let Some(first) = entries.first() {
            log.retain(|entry| entry.index < first.index);
            assert_eq!(log.last().map_or(0, |entry| entry.index) + 1, first.index, "the log has no gap");
        }
        log.extend(entries);
        if let Some(now) = hard_state {
            assert!(now.term >= self.disk.hard_state.term, "the term never falls");
            self.disk.hard_state = now;
        }
    }
}

impl Cluster {
    fn found(seed: u64) -> Cluster {
        Cluster::with(seed, &[1], 3, OFTEN)
    }

    /// Members 1 to `last`, of which the founders vote and the others are fresh.
    fn with(seed: u64, founders: &[MemberId], last: MemberId, flush: FlushPolicy) -> Cluster {
        let mut hosts = BTreeMap::new();
        for id in 1..=last {
            let disk = if founders.contains(&id) { Disk::founded(founders) } else { Disk::default() };
            let mut host = Host {
                disk,
                flush,
                node: None,
                membership: Membership::default(),
                effects: VecDeque::new(),
                events: Vec::new(),
                reads: BTreeMap::new(),
                next_token: 0,
            };
            host.start(id, seed);
            hosts.insert(id, host);
        }
        let chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Cluster { hosts, network: Vec::new(), world: World::default(), chance, seed }
    }

    fn turn(&mut self, id: MemberId, more: Option<Event>) {
        let host = self.hosts.get_mut(&id).unwrap();
        let Some(node) = &mut host.node else { return };
        let events = host.events.drain(..).chain(more);
        host.effects.extend(node.turn(events));
    }

    /// Performs the next effect of a member, or none.
    fn perform(&mut self, id: MemberId) {
        let host = self.hosts.get_mut(&id).unwrap();
        let Some(effect) = host.effects.pop_front() else { return };
        match effect {
            Effect::Send(message) => self.network.push((id, message.to(), Event::Message(message))),
            Effect::Forward { to, sequence, term, proposals } => {
                let boot = host.disk.boot;
                self.network.push((id, to, Event::Forwarded { from: id, boot, sequence, term, proposals }));
            }
            Effect::Refuse { to, proposals } => self.network.push((id, to, Event::Refused { proposals })),
            Effect::Persist { number, hard_state, entries, snapshot } => {
                assert!(snapshot.is_none(), "nothing cuts the log here");
                host.persist(hard_state, entries);
                host.events.push(Event::Persisted { number });
            }
            Effect::Apply(entries) => {
                let index = entries.last().unwrap().index;
                for entry in entries {
                    self.world.apply(id, entry, self.seed);
                }
                host.events.push(Event::Applied { index });
            }
            Effect::ApplyChange { entry, payload } => {
                let proposed = Proposed::decode(payload).unwrap();
                let index = entry.index;
                let allowed = host.membership.check(&proposed, crate::feature::KNOWN).is_ok();
                if allowed {
                    host.membership.apply(index, proposed.change);
                }
                self.world.apply(id, entry, self.seed);
                let accepted = allowed.then(|| host.membership.conf_state());
                host.events.push(Event::ChangeApplied { index, accepted });
            }
            Effect::ReadReady { token, index, .. } => {
                let later = host.reads.split_off(&(token + 1));
                for (token, acknowledged) in std::mem::replace(&mut host.reads, later) {
                    let seed = self.seed;
                    assert!(index >= acknowledged, "seed {seed}: read {token} at {index} misses {acknowledged}");
                    self.world.confirmed_reads += 1;
                }
            }
            Effect::Overloaded(id) => {
                assert!(self.world.fences > 0, "seed {}: {id:?} refused, the queue is far from full", self.seed);
            }
            Effect::ReadLog(range) => {
                let read = Reader(host.disk.log.clone()).entries(range.low, range.high, range.bytes_max);
                self.world.log_reads += 1;
                host.events.push(Event::LogRead { range, read });
            }
            Effect::CutLog { .. } => panic!("seed {}: nothing says that it is durable", self.seed),
            Effect::End(loss) => panic!("seed {}: {loss}", self.seed),
            Effect::BuildSnapshot => panic!("seed {}: the log is whole, nobody needs a snapshot", self.seed),
            Effect::Flush => {
                self.world.flushes += 1;
                self.flush(id);
                let host = self.hosts.get_mut(&id).unwrap();
                // All of the log stays, for whoever was away.
                host.events.push(Event::Flushed { applied: host.disk.flushed.0, keep_entries: u64::MAX });
            }
        }
    }

    /// Flushes the applied state of a member, as the backend also does by itself now and then.
    fn flush(&mut self, id: MemberId) {
        let host = self.hosts.get_mut(&id).unwrap();
        let Some(node) = &host.node else { return };
        let applied = node.status().applied;
        // The membership table is ahead of `applied` while a change was performed and not reported; that is not flushed.
        if host.membership.index() <= applied {
            host.disk.flushed = (applied, host.membership.clone());
        }
    }

    fn propose(&mut self, id: MemberId, counter: u64) {
        let boot = self.hosts[&id].disk.boot;
        let command = CommandId { member: id, boot, counter };
        let payload = Payload::Command(Bytes::from(counter.to_be_bytes().to_vec()));
        self.turn(id, Some(Event::Propose(Proposal { id: command, payload })));
    }

    fn change(&mut self, id: MemberId, change: Change) {
        let command = CommandId { member: id, boot: self.hosts[&id].disk.boot, counter: 0 };
        let proposed = Proposed { id: command, change, expected_index: None, learners_max: 2 };
        let payload = Payload::Change(proposed);
        self.turn(id, Some(Event::Propose(Proposal { id: command, payload })));
    }

    fn read(&mut self, id: MemberId) {
        let acknowledged = self.world.acknowledged.values().max().copied().unwrap_or(0);
        let host = self.hosts.get_mut(&id).unwrap();
        host.next_token += 1;
        let token = host.next_token;
        if host.node.is_some() {
            host.reads.insert(token, acknowledged);
            self.turn(id, Some(Event::Read { token }));
        }
    }

    /// Delivers one message; under faults any of those on the way, or it gets lost.
    fn deliver(&mut self, faults: bool) {
        if self.network.is_empty() {
            return;
        }
        let at = if faults { self.chance.below(self.network.len()) } else { 0 };
        let (_, to, event) = if faults { self.network.swap_remove(at) } else { self.network.remove(at) };
        if !(faults && self.chance.one_in(20)) {
            self.turn(to, Some(event));
        }
    }

    /// One random happening. Faults stop when `faults` is false.
    fn happen(&mut self, faults: bool) {
        let id = 1 + self.chance.below(self.hosts.len()) as u64;
        match self.chance.below(8) {
            0 => self.turn(id, Some(Event::Tick)),
            1..=3 => (0..=self.chance.below(8)).for_each(|_| self.perform(id)),
            4 => self.turn(id, None),
            5 | 6 => (0..=self.chance.below(8)).for_each(|_| self.deliver(faults)),
            _ => self.flush(id),
        }
        if faults && self.chance.one_in(400) {
            self.world.crashes += 1;
            self.hosts.get_mut(&id).unwrap().crash();
        }
        let host = self.hosts.get_mut(&id).unwrap();
        if host.node.is_none() && (!faults || self.chance.one_in(20)) {
            host.start(id, self.seed);
        }
    }

    fn leader(&self) -> Option<MemberId> {
        let leads = |node: &Node| node.status().leads_with_commit;
        self.hosts.iter().find(|(_, host)| host.node.as_ref().is_some_and(leads)).map(|(id, _)| *id)
    }
}

impl World {
    /// Checks an applied entry against the one history. A command is acknowledged when any member applied it.
    fn apply(&mut self, id: MemberId, entry: Entry, seed: u64) {
        let Entry { index, term, kind, data } = entry;
        let known = self.applied.entry(index).or_insert((term, data.clone()));
        assert_eq!(*known, (term, data.clone()), "seed {seed}: member {id} applied another entry at {index}");
        if kind == EntryKind::Normal && data.len() > 1 {
            for counter in data[1..].chunks(8) {
                let counter = u64::from_be_bytes(counter.try_into().unwrap());
                let at = *self.acknowledged.entry(counter).or_insert(index);
                assert_eq!(at, index, "seed {seed}: proposal {counter} was executed at {at} and again at {index}");
            }
        }
    }
}

/// Runs one seed; returns what happened, for the suite to check that faults and reads occurred at all.
fn run(seed: u64) -> (World, Index) {
    run_with(seed, |_| {})
}

/// `more` happens between two steps while there are faults.
fn run_with(seed: u64, more: impl Fn(&mut Cluster)) -> (World, Index) {
    let mut cluster = Cluster::found(seed);
    let mut counter = 0;
    let mut wanted: VecDeque<Change> = [2, 3]
        .into_iter()
        .flat_map(|id| [Change::AddLearner(Member { learner: true, ..member(id) }), Change::Promote(id)])
        .collect();
    for step in 0..12_000 {
        cluster.happen(true);
        more(&mut cluster);
        let id = 1 + cluster.chance.below(3) as u64;
        if step % 10 == 0 {
            counter += 1;
            cluster.propose(id, counter);
        }
        if step % 17 == 0 {
            cluster.read(id);
        }
        if step % 500 == 0
            && let Some(change) = wanted.front()
            && let Some(leader) = cluster.leader()
        {
            let change = change.clone();
            cluster.change(leader, change);
            wanted.rotate_left(1);
        }
    }
    // The faults end: everything must come to rest, with every member at the same point.
    for id in 1..=3 {
        cluster.fence(id, false);
        cluster.turn(id, Some(Event::Timers { tick_ms: TICK_MS, election_ticks: ELECTION_TICKS }));
    }
    for _ in 0..40_000 {
        cluster.happen(false);
    }
    counter += 1;
    let leader = cluster.leader().unwrap_or_else(|| panic!("seed {seed}: no leader after the faults ended"));
    cluster.propose(leader, counter);
    cluster.read(leader);
    for _ in 0..40_000 {
        cluster.happen(false);
    }
    let standing: Vec<_> =
        cluster.hosts.values().map(|host| (host.effects.len(), host.node.as_ref().map(Node::status))).collect();
    let queued = cluster.network.len();
    assert!(
        cluster.world.acknowledged.contains_key(&counter),
        "seed {seed}: a proposal to healthy leader {leader} got lost; {queued} messages on the way; {standing:#?}"
    );
    assert!(cluster.hosts[&leader].reads.is_empty(), "seed {seed}: a read of a healthy leader was never confirmed");
    let members: BTreeSet<MemberId> = cluster.hosts[&leader].membership.members().map(|m| m.id).collect();
    let last = *cluster.world.applied.keys().last().unwrap();
    for id in members {
        let applied = cluster.hosts[&id].node.as_ref().unwrap().status().applied;
        assert_eq!(applied, last, "seed {seed}: member {id} did not catch up");
    }
    (cluster.world, last)
}

#[test]
fn members_agree_and_lose_nothing_under_any_crash() {
    let (mut crashes, mut reads, mut log_reads, mut flushes, mut grown) = (0, 0, 0, 0, 0);
    for seed in 1..=40 {
        let (world, last) = run(seed);
        crashes += world.crashes;
        reads += world.confirmed_reads;
        log_reads += world.log_reads;
        flushes += world.flushes;
        grown += u64::from(last > 20);
    }
    assert!(crashes > 100 && reads > 1_000 && grown > 30, "{crashes} crashes, {reads} reads, {grown} grown");
    assert!(log_reads > 100, "{log_reads} pieces of the log read for followers");
    assert!(flushes > 1_000, "{flushes} flushes");
}
