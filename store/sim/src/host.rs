//! One simulated machine: the disk that survives a crash, and the process that does not. The process is opened as the server's
//! `member/open.rs` and `snapshot/storage.rs` do it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_core::apply::{self, AppliedIndex, Machine};
use quorate_core::backend::{Family, View, WriteBatch};
use quorate_core::log::{Entry, HardState, Index, MemberId, SnapshotMeta};
use quorate_core::membership::{Member, Membership};
use quorate_core::memory::Memory;
use quorate_core::node::{Event, FlushPolicy, Node};
use quorate_core::replica::{self, MEMORY_BYTES_MAX, Start, Timing, Window};
use quorate_core::wal_format::SegmentName;

use crate::chance::Chance;
use crate::contexts::Contexts;
use crate::disk::File;
use crate::integrity::{HASHED_EVERY, Integrity};
use crate::leases::Lessor;
use crate::lines::Lines;
use crate::log::{Log, SharedLog};
use crate::loss::LastGroupDamage;
use crate::watchers::Hub;

/// Ticks of 100 ms without a leader before a campaign, as the server's default.
const ELECTION_TICKS: usize = 10;

/// Half of all members hold next to nothing of the log in memory, and read it for followers.
fn memory_bytes_max(seed: u64) -> usize {
    if seed.is_multiple_of(2) { 256 } else { MEMORY_BYTES_MAX }
}

/// Half of all members send others little ahead of their answers.
fn window(seed: u64) -> Window {
    if seed & 4 == 0 { Window { message_bytes_max: 1 << 10, messages_max: 4 } } else { Window::default() }
}

/// Where rows are damaged, each as often as it stands here: those that every write reads most of all.
const DAMAGED_FAMILIES: [Family; 6] =
    [Family::Keys, Family::Keys, Family::Keys, Family::Values, Family::Log, Family::Meta];

/// A snapshot that arrived whole.
#[derive(Clone)]
pub struct Received {
    pub name: String,
    pub meta: SnapshotMeta,
    pub rows: Memory,
}

/// What a stale backup of a disk holds.
pub struct Backup {
    log: Vec<(SegmentName, u64, File)>,
    name: String,
    database: Memory,
}

pub struct Host {
    pub id: MemberId,
    pub log: SharedLog,
    pub boot: u64,
    /// The configuration that it was founded with or admitted to.
    pub seeds: Membership,
    /// It began its log with that.
    founds: bool,
    /// The database in use: its name, and what of it is flushed.
    pub name: String,
    pub database: Memory,
    pub received: Option<Received>,
    pub next_name: u64,
    pub backup: Option<Backup>,
    /// In a box, because machines are moved often.
    pub process: Option<Box<Process>>,
    /// Crash after so many effects; the flag says that the power fails.
    pub crash_in: Option<(u64, bool)>,
    pub paused_until: u64,
    pub removed: bool,
    /// The feature level that its version knows.
    pub knows: u32,
    /// The member's clock: microseconds between two ticks.
    pub tick_micros: u64,
    pub fsync_micros: u64,
    /// The power fails in the next sync of the log.
    pub cut_in_sync: bool,
    /// The next sync of the log fails.
    pub sync_fails: bool,
    /// It dies right after the next sync of the log; the seed of what becomes of its last group.
    pub dies_after_sync: Option<u64>,
    /// When the member dies next its last group is damaged, if it may be; the seed of how.
    pub last_group_fails: Option<u64>,
    /// That damage, until the member starts.
    pub last_group: LastGroupDamage,
    /// The next put that it applies has another value for it.
    pub diverges: bool,
    /// It was sent a snapshot.
    pub was_sent_snapshot: bool,
    /// The last entry that it dropped although it had acknowledged it; 0 = none.
    pub dropped: Index,
    /// Why its disk is refused; it does not start again before it is repaired.
    pub broken: Option<String>,
    /// Of everything that this machine and its disk do.
    pub chance: Chance,
}

/// Entries and hard state that wait for the log.
pub struct Job {
    pub number: u64,
    pub hard_state: Option<HardState>,
    pub entries: Vec<Entry>,
}

pub struct Process {
    pub boot: u64,
    pub node: Node,
    pub machine: Machine,
    pub live: Memory,
    /// Written to `live` and not flushed, oldest first.
    pub unflushed: Vec<WriteBatch>,
    /// A flush was asked for and is not reported yet.
    pub flushing: bool,
    /// It waits for room on the disk.
    pub flush_waits: bool,
    pub events: Vec<Event>,
    pub jobs: VecDeque<Job>,
    /// Number of the persist whose sync is under way.
    pub syncing: Option<u64>,
    pub built: Option<(SnapshotMeta, Memory)>,
    pub next_counter: u64,
    /// Command counter → operation.
    pub waiting: BTreeMap<u64, u64>,
    pub next_token: u64,
    /// (token, operation), ascending.
    pub unconfirmed: VecDeque<(u64, u64)>,
    /// (index, operation) that wait for apply.
    pub unapplied: Vec<(Index, u64)>,
    /// Nobody is served before this is applied.
    pub serve_from: Index,
    pub hub: Hub,
    pub lessor: Lessor,
    /// The newest revision that an answer of this process showed.
    pub answered: i64,
    /// It met damage and applies nothing before it is rebuilt.
    pub halted: bool,
    pub lines: Lines,
    pub integrity: Integrity,
    /// For a planted bug.
    pub contexts: Contexts,
}

/// What opening found.
pub struct Found {
    pub torn: bool,
    pub completed: bool,
}

pub fn member(id: MemberId) -> Member {
    Member { id, peer_urls: vec![format!("http://peer-{id}:2380")], ..Default::default() }
}

/// The state machine on these rows, with hashes that are kept as often as short histories need it.
///
/// # Errors
/// As `Machine::open`.
pub fn open_machine(rows: &Memory) -> Result<Machine, apply::Error> {
    Machine::open_hashed_every(rows, HASHED_EVERY)
}

fn database_name(number: u64) -> String {
    format!("{number:016x}")
}

impl Host {
    pub fn new(id: MemberId, seeds: Membership, founds: bool, seed: u64, tick_micros: u64) -> Host {
        Host {
            id,
            log: SharedLog::new(Log::new(id, seed)),
            boot: 0,
            seeds,
            founds,
            name: database_name(0),
            database: Memory::default(),
            received: None,
            next_name: 1,
            backup: None,
            process: None,
            crash_in: None,
            paused_until: 0,
            removed: false,
            knows: quorate_core::feature::KNOWN,
            tick_micros,
            fsync_micros: 1_000,
            cut_in_sync: false,
            sync_fails: false,
            dies_after_sync: None,
            last_group_fails: None,
            last_group: LastGroupDamage::None,
            diverges: false,
            was_sent_snapshot: false,
            dropped: 0,
            broken: None,
            chance: Chance::new(seed ^ id.rotate_left(40)),
        }
    }

    /// The configuration that these found.
    pub fn founders(ids: &[MemberId]) -> Membership {
        Membership::seeded(ids.iter().map(|id| member(*id)))
    }

    pub fn take_name(&mut self) -> String {
        self.next_name += 1;
        database_name(self.next_name - 1)
    }

    /// Keeps what the disk holds now.
    pub fn back_up(&mut self) {
        let log = self.log.lock().backup();
        self.backup = Some(Backup { log, name: self.name.clone(), database: self.database.clone() });
    }

    pub fn restore(&mut self) {
        let Some(Backup { log, name, database }) = self.backup.take() else { return };
        self.log.lock().restore(log);
        (self.name, self.database) = (name, database);
    }

    /// Damages a row that is flushed and in use; false when there is none.
    pub fn damage_row(&mut self, chance: &mut Chance) -> bool {
        let family = chance.pick(&DAMAGED_FAMILIES);
        let rows: Vec<&Bytes> = self.database.rows(family).map(|(key, _)| key).collect();
        if rows.is_empty() || self.database.is_damaged() {
            return false;
        }
        let key = chance.pick(&rows).clone();
        if let Some(process) = &mut self.process {
            // A newer version of the row hides the damaged one.
            if process.live.get(family, &key).ok() != self.database.get(family, &key).ok() {
                return false;
            }
            process.live.damage(family, key.clone());
        }
        self.database.damage(family, key);
        true
    }

    pub fn repair_rows(&mut self) {
        self.database.repair();
        if let Some(process) = &mut self.process {
            process.live.repair();
            process.built.iter_mut().for_each(|(_, rows)| rows.repair());
        }
        self.received.iter_mut().for_each(|received| received.rows.repair());
    }

    /// The disk is replaced by an empty one, and the machine comes back as if it had just been admitted.
    pub fn wipe(&mut self, seed: u64, seeds: Membership) {
        self.log = SharedLog::new(Log::new(self.id, seed ^ self.boot));
        self.database = Memory::default();
        self.name = self.take_name();
        self.received = None;
        (self.seeds, self.founds) = (seeds, false);
    }

    /// Starts the process on what the disk holds.
    ///
    /// # Errors
    /// What is on disk is refused, as text.
    pub fn open(&mut self, seed: u64, now: u64, flush: FlushPolicy) -> Result<Found, String> {
        self.boot += 1;
        let durable = AppliedIndex::load(&self.database).map_err(|error| error.to_string())?.index;
        let mut log = self.log.lock();
        let opened = log.open(durable).map_err(|error| error.to_string())?;
        let mut completed = false;
        if let Some(marker) = &opened.marker {
            if marker.directory > self.name {
                let received = self.received.take().filter(|received| received.name == marker.directory);
                let received = received.ok_or_else(|| format!("snapshot {} is missing", marker.directory))?;
                (self.name, self.database) = (received.name, received.rows);
                completed = true;
            } else if marker.directory == self.name && durable < marker.meta.index {
                return Err(format!("the database ends at {durable}, before its snapshot at {}", marker.meta.index));
            }
        }
        self.received = None;
        if log.last_group() == 0 {
            let founders = self.founds.then_some(&self.seeds).into_iter().flat_map(Membership::members);
            let (hard_state, entries) = replica::first_group(founders.cloned());
            let _ = log.write(Some(hard_state), &entries, None);
            log.adopt(true);
        }
        let live = self.database.clone();
        let machine = open_machine(&live).map_err(|error| error.to_string())?;
        let truncated = log.index().first() - 1;
        let start = Start {
            id: self.id,
            hard_state: HardState { commit: log.commit(), ..log.hard_state() },
            conf_state: machine.conf_state(),
            applied: machine.applied().index,
            truncated: (truncated, log.index().term(truncated).unwrap_or(0)),
            last_index: log.index().last(),
            memory_bytes_max: memory_bytes_max(seed ^ self.id),
            seed: seed ^ self.id ^ (self.boot << 32),
            timing: Timing { election_ticks: ELECTION_TICKS, pre_vote: true },
            window: window(seed ^ self.id),
        };
        let serve_from = opened.hinted_commit.max(log.commit()).min(log.index().last());
        drop(log);
        let node = Node::new(start, self.boot, Box::new(self.log.clone()), flush);
        let personal = seed ^ self.id.rotate_left(24) ^ (self.boot << 32);
        let (hub, lessor) = (Hub::new(&machine, personal), Lessor::new(&machine, personal, now));
        self.process = Some(Box::new(Process {
            boot: self.boot,
            node,
            machine,
            live,
            unflushed: Vec::new(),
            flushing: false,
            flush_waits: false,
            events: Vec::new(),
            jobs: VecDeque::new(),
            syncing: None,
            built: None,
            next_counter: 0,
            waiting: BTreeMap::new(),
            next_token: 0,
            unconfirmed: VecDeque::new(),
            unapplied: Vec::new(),
            serve_from,
            hub,
            lessor,
            answered: 0,
            halted: false,
            lines: Lines::default(),
            integrity: Integrity::default(),
            contexts: Contexts::new(self.id, self.boot),
        }));
        Ok(Found { torn: opened.torn, completed })
    }

    /// Whether clients may be sent here: it runs, votes, and has not been told to go.
    pub fn serves(&self) -> bool {
        let votes = |process: &Process| process.machine.membership().get(self.id).is_some_and(|m| !m.learner);
        !self.removed && self.process.as_deref().is_some_and(votes)
    }
}
