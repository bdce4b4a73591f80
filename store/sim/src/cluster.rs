//! The event loop: one queue of what happens when, over all machines, clients and faults.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::feature;
use quorate_core::log::{Entry, MemberId, SnapshotMeta};
use quorate_core::membership::Membership;
use quorate_core::node::{Event, Proposal};
use quorate_core::replica::{LogRange, LogReadError};

use crate::asks::KEEPERS;
use crate::chance::Chance;
use crate::checkers::history::Call;
use crate::clients::Operation;
use crate::effects::read_log;
use crate::flush::Flushing;
use crate::host::Host;
use crate::model::Answer;
use crate::network::{Packet, Weather};
use crate::observers::Observer;
use crate::options::Options;
use crate::plan::{self, Fault};
use crate::trace;
use crate::world::World;

/// A heartbeat interval, as the server's default.
pub(crate) const TICK_MICROS: u64 = 100_000;
/// Without faults: this long to elect, install and catch up; operations may still time out.
pub(crate) const SETTLE_MICROS: u64 = 8_000_000;
/// Of that, how long the members have to rebuild those that apply nothing, before somebody repairs these.
const REBUILD_MICROS: u64 = 3_000_000;
/// Then leadership goes to the youngest voter, and later a member joins, which has to catch up like all others.
const YOUNGEST_LEADS_MICROS: u64 = 3_500_000;
const JOIN_MICROS: u64 = 5_000_000;
/// Then this long in which every operation must be answered.
pub(crate) const CALM_MICROS: u64 = 6_000_000;
/// Then nobody asks any more, and all members must come to the same state.
const REST_MICROS: u64 = 5_000_000;

/// What happens at some time.
pub(crate) enum What {
    Tick {
        id: MemberId,
        boot: u64,
    },
    Deliver {
        from: MemberId,
        to: MemberId,
        boot: u64,
        packet: Packet,
    },
    Synced {
        id: MemberId,
        boot: u64,
    },
    Flushed {
        id: MemberId,
        boot: u64,
        flushing: Flushing,
    },
    SnapshotBuilt {
        id: MemberId,
        boot: u64,
    },
    SnapshotSent {
        id: MemberId,
        boot: u64,
        to: MemberId,
        installed: bool,
    },
    LogRead {
        id: MemberId,
        boot: u64,
        range: LogRange,
        /// What was read; `None` = it is read when this happens.
        read: Option<Result<Vec<Entry>, LogReadError>>,
    },
    Unreachable {
        id: MemberId,
        to: MemberId,
    },
    /// What could not be forwarded.
    GivenBack {
        id: MemberId,
        boot: u64,
        proposals: Vec<Proposal>,
    },
    /// The end of a connection.
    HungUp {
        from: MemberId,
        to: MemberId,
        line: u64,
    },
    Start {
        id: MemberId,
    },
    /// The member may die, a moment after a sync; the seed of what becomes of its last group.
    Die {
        id: MemberId,
        boot: u64,
        seed: u64,
    },
    Gone {
        id: MemberId,
    },
    Client {
        client: u64,
    },
    /// The member's watch streams work.
    Streams {
        id: MemberId,
        boot: u64,
    },
    /// A client that watches does something.
    Observe {
        number: usize,
    },
    /// Most of what was committed by now must be delivered at the end.
    Settle,
    Answer {
        operation: u64,
        answer: Answer,
    },
    Timeout {
        operation: u64,
    },
    Fault(Fault),
    /// The end of the cut or of the bad weather that began at this number.
    Heal {
        number: u64,
    },
    /// The disk has room again.
    DiskBack {
        id: MemberId,
    },
    Administer,
    Calm,
    Repair,
    /// After the faults.
    YoungestLeads,
    Join,
    /// Long enough after the faults: nobody campaigns any more.
    Settled,
}

/// A whole cluster with its clients. Everything in it follows from the seed and the options.
pub struct Cluster {
    /// Of the members' timeouts and disks: the run's seed and salt.
    pub(crate) seed: u64,
    pub(crate) options: Options,
    /// The faults that strike.
    plan: Vec<Fault>,
    /// Of clients and operator.
    pub(crate) chance: Chance,
    /// Of the network.
    pub(crate) network: Chance,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), What>,
    queued: u64,
    pub(crate) hosts: BTreeMap<MemberId, Host>,
    pub(crate) world: World,
    pub(crate) faults: bool,
    pub(crate) weather: Weather,
    pub(crate) weather_number: u64,
    /// One-way cuts (from, to).
    pub(crate) blocked: BTreeSet<(MemberId, MemberId)>,
    pub(crate) cut_number: u64,
    /// Last arrival by (from, to, ordered).
    pub(crate) arrivals: BTreeMap<(MemberId, MemberId, bool), u64>,
    /// Connections that were made.
    pub(crate) lines: u64,
    /// Log indexes of membership changes that were carried out.
    pub(crate) changes: BTreeSet<u64>,
    /// How many voters the operator wants.
    pub(crate) wanted: u64,
    pub(crate) next_id: MemberId,
    /// Log index of the last founder.
    pub(crate) founded: u64,
    /// Applied entries that stay in the log.
    pub(crate) keep_entries: u64,
    /// Members reread their rows.
    pub(crate) scrubs: bool,
    /// Of the versions that founders begin with.
    older: Chance,
    /// The term that was led when everything had come to rest.
    pub(crate) settled_term: u64,
    pub(crate) operations: BTreeMap<u64, Operation>,
    pub(crate) next_operation: u64,
    /// The lease whose end a client was told of, to be asked for next.
    pub(crate) ended: BTreeMap<u64, i64>,
    /// What clients asked for and were answered.
    pub(crate) history: Vec<Call>,
    pub(crate) observers: Vec<Observer>,
    /// Long before the end; what every watcher must have in the end.
    pub(crate) settled_revision: i64,
    /// At the same time; what every member must have applied in the end.
    pub(crate) settled_index: u64,
}

impl Cluster {
    pub fn new(seed: u64, options: Options) -> Cluster {
        let mut plan = plan::draw(seed, options.fault_micros, options.kinds);
        plan.retain(|fault| options.only.as_ref().is_none_or(|only| only.contains(&fault.number)));
        let grows = Chance::new(seed ^ 0x6772_6f77).percent(30);
        let seed = seed ^ options.salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Now and then a cluster begins with one member and grows.
        let founders: Vec<MemberId> = if grows { vec![1] } else { (1..=options.members).collect() };
        let mut cluster = Cluster {
            seed,
            plan,
            chance: Chance::new(seed),
            network: Chance::new(seed ^ 0x6e65_7477),
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            hosts: BTreeMap::new(),
            world: World::default(),
            faults: true,
            weather: Weather::default(),
            weather_number: 0,
            blocked: BTreeSet::new(),
            cut_number: 0,
            arrivals: BTreeMap::new(),
            lines: 0,
            changes: BTreeSet::new(),
            wanted: options.members,
            next_id: founders.len() as u64 + 1,
            founded: founders.len() as u64,
            scrubs: Chance::new(seed ^ 0x7363_7275).percent(50),
            older: Chance::new(seed ^ 0x6f6c_6465),
            settled_term: 0,
            operations: BTreeMap::new(),
            next_operation: 0,
            ended: BTreeMap::new(),
            history: Vec::new(),
            observers: Observer::all(seed),
            settled_revision: 0,
            settled_index: 0,
            // Some clusters keep their log: who joins replays it from its beginning.
            keep_entries: if Chance::new(seed ^ 0x6b65_6570).percent(25) { u64::MAX } else { options.catch_up_entries },
            options,
        };
        // Some clusters have a quota that their clients go over.
        let mut quota = Chance::new(seed ^ 0x7175_6f74);
        cluster.world.quota_bytes = quota.percent(40).then(|| quota.between(26_000, 70_000));
        for id in &founders {
            cluster.insert_host(*id, Host::founders(&founders), true);
        }
        cluster
    }

    fn insert_host(&mut self, id: MemberId, seeds: Membership, founds: bool) {
        let skew = self.chance.between(85, 116);
        if skew != 100 {
            self.world.counts.add("clocks skewed");
        }
        let mut host = Host::new(id, seeds, founds, self.seed, TICK_MICROS * skew / 100);
        // In half of the clusters some founders begin with the older version; who comes later has the newer one.
        if founds && self.seed.is_multiple_of(2) && self.older.percent(50) {
            host.knows = feature::FOUNDING;
        }
        self.hosts.insert(id, host);
        let at = self.now + self.chance.between(0, 50_000);
        self.at(at, What::Start { id });
    }

    /// A machine for a member that was admitted to this configuration.
    pub(crate) fn add_host(&mut self, id: MemberId, seeds: Membership) {
        self.insert_host(id, seeds, false);
    }

    pub(crate) fn at(&mut self, at: u64, what: What) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), what);
    }

    pub(crate) fn note(&self, member: MemberId, what: &'static str, numbers: [u64; 3]) {
        trace::note(self.now, member, what, numbers);
    }

    /// As `note`, of what a person looks for first.
    pub(crate) fn mark(&self, member: MemberId, what: &'static str, numbers: [u64; 3]) {
        trace::landmark(self.now, member, what, numbers);
    }

    /// Runs faults, calm and rest; the violation, if one was found, stands in the world.
    pub fn run(&mut self) {
        let calm = self.options.fault_micros;
        let end = calm + SETTLE_MICROS + CALM_MICROS + REST_MICROS;
        for fault in std::mem::take(&mut self.plan) {
            self.at(fault.at_micros, What::Fault(fault));
        }
        self.at(500_000, What::Administer);
        self.at(calm, What::Calm);
        self.at(calm + REBUILD_MICROS, What::Repair);
        self.at(calm + YOUNGEST_LEADS_MICROS, What::YoungestLeads);
        self.at(calm + JOIN_MICROS, What::Join);
        self.at(self.settled_at(), What::Settled);
        for client in 0..self.options.clients + KEEPERS {
            self.at(300_000, What::Client { client });
        }
        for number in 0..self.observers.len() {
            self.at(400_000, What::Observe { number });
        }
        self.at(end - REST_MICROS / 2, What::Settle);
        while let Some(((at, _), what)) = self.queue.pop_first() {
            if at >= end || self.world.is_over() {
                break;
            }
            self.now = at;
            self.world.now = at;
            self.happen(what);
        }
        if !self.world.is_over() {
            self.check_converged();
            self.world.finish();
        }
    }

    /// When everything works again.
    pub(crate) fn settled_at(&self) -> u64 {
        self.options.fault_micros + SETTLE_MICROS
    }

    /// What was found, and how long it took, in simulated microseconds.
    pub fn end(self) -> (World, u64) {
        (self.world, self.now)
    }

    /// Takes a machine out, so that it and the rest of the cluster can change each other.
    pub(crate) fn with(&mut self, id: MemberId, what: impl FnOnce(&mut Cluster, &mut Host)) {
        if let Some(mut host) = self.hosts.remove(&id) {
            // Others look the receiver's or sender's boot up meanwhile; a machine does not send to itself.
            what(self, &mut host);
            self.hosts.insert(id, host);
        }
    }

    /// The machine that this concerns, and the boot that it was meant for.
    fn target(what: &What) -> Option<(MemberId, Option<u64>)> {
        match what {
            What::Tick { id, boot }
            | What::Synced { id, boot }
            | What::Flushed { id, boot, .. }
            | What::SnapshotBuilt { id, boot }
            | What::LogRead { id, boot, .. }
            | What::Streams { id, boot }
            | What::Die { id, boot, .. }
            | What::GivenBack { id, boot, .. }
            | What::SnapshotSent { id, boot, .. } => Some((*id, Some(*boot))),
            What::Deliver { to, .. } | What::HungUp { to, .. } => Some((*to, None)),
            What::Start { id } | What::DiskBack { id } | What::Unreachable { id, .. } => Some((*id, None)),
            _ => None,
        }
    }

    fn happen(&mut self, what: What) {
        if let Some((id, boot)) = Cluster::target(&what) {
            let Some(host) = self.hosts.get(&id) else { return };
            if boot.is_some_and(|boot| host.process.as_ref().is_none_or(|process| process.boot != boot)) {
                return;
            }
            if host.paused_until > self.now && host.process.is_some() {
                let until = host.paused_until;
                return self.at(until, what);
            }
        }
        match what {
            What::Tick { id, boot } => self.with(id, |cluster, host| cluster.tick(host, boot)),
            What::Deliver { from, to, boot, packet } => {
                self.with(to, |cluster, host| cluster.deliver(host, from, boot, packet));
            }
            What::Synced { id, .. } => self.with(id, |cluster, host| {
                cluster.synced(host);
                cluster.turn(host);
            }),
            What::Flushed { id, flushing, .. } => self.with(id, |cluster, host| {
                cluster.flushed(host, flushing);
                cluster.turn(host);
            }),
            What::SnapshotBuilt { id, .. } => self.with(id, Cluster::snapshot_built),
            What::SnapshotSent { id, to, installed, .. } => {
                self.with(id, |cluster, host| cluster.tell(host, Event::SnapshotSent { id: to, installed }));
            }
            What::LogRead { id, range, read, .. } => self.with(id, |cluster, host| {
                let read = read.unwrap_or_else(|| read_log(host, range));
                if read.is_err() && host.log.lock().is_damaged() {
                    // The follower is sent a snapshot.
                    cluster.world.counts.add("damaged entries met while running");
                }
                cluster.tell(host, Event::LogRead { range, read });
            }),
            What::Unreachable { id, to } => {
                self.with(id, |cluster, host| cluster.tell(host, Event::Unreachable { id: to }));
            }
            What::GivenBack { id, proposals, .. } => {
                self.with(id, |cluster, host| cluster.tell(host, Event::Refused { proposals }));
            }
            What::HungUp { from, to, line } => self.with(to, |cluster, host| cluster.hung_up(host, from, line)),
            What::Start { id } => self.with(id, Cluster::start),
            What::Die { id, seed, .. } => self.with(id, |cluster, host| cluster.die_after_sync(host, seed)),
            What::DiskBack { id } => self.with(id, Cluster::disk_back),
            What::Gone { id } => self.with(id, |cluster, host| {
                host.removed = true;
                if host.process.is_some() {
                    cluster.crash(host, false);
                }
            }),
            What::Client { client } => self.begin_operation(client),
            What::Streams { id, .. } => self.with(id, Cluster::serve_streams),
            What::Observe { number } => self.observe(number),
            What::Settle => {
                (self.settled_revision, self.settled_index) = (self.world.model.revision, self.world.last());
            }
            What::Answer { operation, answer } => self.take_answer(operation, answer),
            What::Timeout { operation } => self.time_out(operation),
            What::Fault(fault) => self.fault(fault),
            What::Heal { number } => self.heal(number),
            What::Administer => self.administer(),
            What::Calm => self.calm(),
            What::Repair => self.repair_halted(),
            What::YoungestLeads => self.youngest_leads(),
            What::Join => self.join(),
            What::Settled => self.settled_term = self.leader_term(),
        }
    }

    pub(crate) fn tell(&mut self, host: &mut Host, event: Event) {
        let Some(process) = &mut host.process else { return };
        process.events.push(event);
        self.turn(host);
    }

    fn tick(&mut self, host: &mut Host, boot: u64) {
        self.every_tick(host);
        self.keep_lines(host);
        self.tell(host, Event::Tick);
        self.at(self.now + host.tick_micros, What::Tick { id: host.id, boot });
    }

    fn snapshot_built(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let (applied, conf_state) = (process.machine.applied(), process.machine.conf_state());
        let meta = SnapshotMeta { index: applied.index, term: applied.term, conf_state };
        process.built = Some((meta.clone(), process.live.clone()));
        self.note(host.id, "built a snapshot at {}", [meta.index, 0, 0]);
        self.tell(host, Event::SnapshotBuilt { meta });
    }
}
