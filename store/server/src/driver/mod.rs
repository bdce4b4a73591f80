//! The driver's thread: takes what happened out of the inbox, lets `core/node` decide, and performs the effects.
//!
//! It also applies: with one batch waiting that saves two hand-offs a put. The log is synced on this thread while this member is the
//! only one, and on the WAL's thread (`log_role`) when there are peers, so that ticks and sends never wait for a disk.
//!
//! Invariant: an answer leaves after its batch is in the database, and the log that holds it is durable on a majority.

mod apply;
mod flush;
mod full;
mod install;
mod live;
mod log_reads;
mod log_role;
mod physical;
mod publish;
mod rebuild;
mod space;

pub use flush::{Flusher, flush_policy};
pub use log_reads::LogReads;
pub use log_role::LogRole;
pub use space::{load_unreclaimed, store_unreclaimed};

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_core::apply::{Machine, NoSpace};
use quorate_core::log::MemberId;
use quorate_core::membership;
use quorate_core::node::{Effect, Event, Node, Status as NodeStatus};
use quorate_core::replica::Role;

use crate::backend::{self, Backend};
use crate::directory::Directory;
use crate::inbox::{Input, Inspection};
use crate::peer::Snapshots;
use crate::store::Inner;
use crate::waiters::Confirmed;

/// How long a stopping leader waits for another to take over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The member cannot go on; the process ends with this text, and recovers from what is durable when it is started again.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error(transparent)]
    Apply(#[from] quorate_core::apply::Error),
    #[error("{}; {}", .0, backend::remedy(&.0.reason))]
    Backend(#[from] quorate_core::backend::Error),
    #[error(transparent)]
    Wal(#[from] crate::wal::Error),
    #[error(transparent)]
    Install(#[from] crate::snapshot::Error),
    #[error(transparent)]
    Loss(#[from] quorate_core::replica::Loss),
    #[error("{0}")]
    Role(String),
}

/// How the driver ended.
#[derive(Debug)]
pub enum Ended {
    Stopped,
    /// This member was removed from the configuration.
    Removed,
    Failed(Fatal),
}

/// Everything the thread owns.
pub struct Driver {
    pub inner: Arc<Inner>,
    pub node: Node,
    pub machine: Machine,
    pub backend: Arc<Backend>,
    pub log: LogRole,
    pub log_reads: LogReads,
    pub flusher: Flusher,
    pub snapshots: Snapshots,
    pub directory: Directory,
    pub heartbeat: Duration,
    pub warning_apply: Duration,
    /// Applied entries that stay in the log for followers that were away; whole segments go, so usually far more stay.
    pub catch_up_entries: u64,
}

/// What one run of the loop carries along.
struct Running {
    driver: Driver,
    /// What effects reported, to be taken in the next turn.
    events: Vec<Event>,
    read_token: u64,
    published: Option<NodeStatus>,
    leader_lost: Option<Instant>,
    /// Since when this member is out of the configuration.
    removed_at: Option<Instant>,
    stopping: Option<Instant>,
    no_space: NoSpace,
    began: Instant,
    full: full::Full,
    rebuild: rebuild::Rebuild,
    /// Something that is published changed although no index moved.
    changes: u64,
    /// The compact revision up to which everything is swept.
    swept: Option<i64>,
    /// When the compaction came that is being swept.
    sweeping_since: Option<Instant>,
}

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(self) -> std::io::Result<JoinHandle<Ended>> {
        std::thread::Builder::new().name("driver".into()).spawn(move || {
            let inner = self.inner.clone();
            let full = full::Full::open(&self.directory);
            let mut running = Running {
                driver: self,
                events: Vec::new(),
                read_token: 0,
                published: None,
                leader_lost: None,
                removed_at: None,
                stopping: None,
                no_space: NoSpace::default(),
                began: Instant::now(),
                full,
                rebuild: rebuild::Rebuild::default(),
                changes: 0,
                swept: None,
                sweeping_since: None,
            };
            let ended = running.run().unwrap_or_else(Ended::Failed);
            inner.inbox.close();
            if !matches!(ended, Ended::Failed(_))
                && let Err(error) = running.close()
            {
                return Ended::Failed(error);
            }
            ended
        })
    }
}

impl Running {
    /// Leaves everything durable; on a full disk what already is, as waiting for room could last for ever.
    fn close(&mut self) -> Result<(), Fatal> {
        let driver = &self.driver;
        if self.disk_full_reason().is_some() {
            driver.backend.abandon();
            return Ok(());
        }
        driver.log.wait_idle();
        driver.backend.flush()?;
        Ok(())
    }

    fn run(&mut self) -> Result<Ended, Fatal> {
        if self.driver.inner.fenced.load(Ordering::Acquire) {
            self.events.push(Event::Fence { fenced: true });
        }
        // The committed tail is replayed before the first tick.
        self.turn()?;
        let mut next_tick = Instant::now() + self.driver.heartbeat;
        loop {
            let drained = self.driver.inner.inbox.drain(self.deadline(next_tick), self.read_token);
            for input in drained.items {
                self.take(input)?;
            }
            if drained.read_token != self.read_token {
                self.read_token = drained.read_token;
                self.events.push(Event::Read { token: self.read_token });
            }
            let now = Instant::now();
            // A shorter interval is in force at once.
            next_tick = next_tick.min(now + self.driver.heartbeat);
            if now >= next_tick {
                self.note_late_heartbeat(now.saturating_duration_since(next_tick));
                self.events.push(Event::Tick);
                // Ticks that were missed are not made up for: a pause must not look like a silent leader.
                next_tick = (next_tick + self.driver.heartbeat).max(now);
                self.every_tick()?;
            }
            self.turn()?;
            if let Some(ended) = self.ended() {
                return Ok(ended);
            }
        }
    }

    /// A leader whose heartbeat comes a whole interval too late is overloaded; so etcd counts it.
    fn note_late_heartbeat(&self, late: Duration) {
        if late >= self.driver.heartbeat && self.driver.node.status().role == Role::Leader {
            self.driver.inner.metrics.server.heartbeats_late.inc();
        }
    }

    /// Without reported events it sleeps to the next tick.
    fn deadline(&self, next_tick: Instant) -> Instant {
        if self.events.is_empty() { next_tick } else { Instant::now() }
    }

    fn take(&mut self, input: Input) -> Result<(), Fatal> {
        match input {
            Input::Event(event) => self.events.push(event),
            Input::Flushed { applied } => self.flushed(applied),
            Input::LogFull(reason) => self.log_full(reason),
            Input::Failed(reason) => return Err(Fatal::Role(reason)),
            Input::Inspect(reply) => {
                let inspection = Inspection {
                    membership: self.driver.machine.membership().clone(),
                    progress: self.driver.node.progress(),
                    last_index: self.driver.node.last_index(),
                    leaderless: self.driver.node.is_leaderless(),
                    integrity: self.driver.machine.integrity().report(),
                };
                // The asker may have gone.
                let _ = reply.send(inspection);
            }
            Input::Rebuild(done) => self.begin_rebuild(done),
            Input::SweepAll(done) => self.sweep_all(done)?,
            Input::SweepTo { revision, done } => self.sweep_to(revision, done)?,
            Input::Reclaimed { bytes, done } => self.reclaimed(bytes, done)?,
            Input::SetTimers { timers, done } => self.set_timers(timers, done),
            Input::Fence { fenced, done } => self.fence(fenced, done)?,
            Input::Stop => self.stop(),
        }
        Ok(())
    }

    /// Lets the node decide until nothing is left to do now.
    fn turn(&mut self) -> Result<(), Fatal> {
        loop {
            let events = std::mem::take(&mut self.events);
            let mut effects: VecDeque<Effect> = self.driver.node.turn(events).into();
            while let Some(effect) = effects.pop_front() {
                self.perform(effect)?;
            }
            if self.events.is_empty() {
                break;
            }
        }
        self.publish();
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Fatal> {
        let inner = self.driver.inner.clone();
        match effect {
            Effect::Send(message) => match message.snapshot() {
                Some(_) => self.driver.snapshots.send(message),
                None => inner.peers.send(message),
            },
            Effect::Forward { to, sequence, term, proposals } => inner.peers.forward(to, sequence, term, proposals),
            Effect::Refuse { to, proposals } => inner.peers.refuse(to, proposals),
            Effect::Persist { number, hard_state, entries, snapshot } => {
                match snapshot {
                    Some(meta) => self.install(meta, hard_state, &entries)?,
                    None => {
                        let inline = self.driver.node.status().sole_voter;
                        if !self.driver.log.persist(number, hard_state, entries, inline)? {
                            return Ok(());
                        }
                    }
                }
                self.events.push(Event::Persisted { number });
            }
            Effect::Apply(entries) => self.apply_or_hold(entries)?,
            Effect::ApplyChange { entry, payload } => self.apply_change(entry, payload)?,
            Effect::ReadReady { token, index, term, leads } => {
                // The machine's word: the node hears of what was applied in this very turn only in the next one, and a read
                // that waited for it would wait for the next write.
                let applied = self.driver.machine.applied().index;
                inner.reads.confirm(token, index, applied, Confirmed { term, leads });
            }
            Effect::Overloaded(id) => {
                inner.proposals.refuse(id.counter, quorate_api::Error::RequestTooManyRequests);
            }
            Effect::ReadLog(range) => self.driver.log_reads.read(range)?,
            Effect::CutLog { below, wanted_from } => self.cut_log(below, wanted_from)?,
            Effect::BuildSnapshot => self.driver.snapshots.build(self.driver.backend.clone()),
            Effect::Flush => self.driver.flusher.begin(&self.driver.backend)?,
            Effect::End(loss) => return Err(loss.into()),
        }
        Ok(())
    }

    /// Begins to stop: another voter takes over first, if there is one.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now());
        if let Some(to) = self.successor() {
            self.events.push(Event::Transfer { to });
        }
    }

    /// Of this process; it never falls.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The most caught-up other voter, when this member leads.
    fn successor(&self) -> Option<MemberId> {
        let (this, machine) = (self.driver.inner.identity.member_id, &self.driver.machine);
        membership::successor(&self.driver.node.progress(), machine.membership(), this, |id| {
            machine.alarms().is_corrupt(id)
        })
    }

    fn ended(&mut self) -> Option<Ended> {
        if let Some(since) = self.stopping {
            let leads = self.driver.node.status().role == Role::Leader;
            let waits = leads && self.successor().is_some() && since.elapsed() < HAND_OVER_TIMEOUT;
            if !waits {
                return Some(Ended::Stopped);
            }
        }
        // A removed member stays a moment, also when a peer told it first: answers are on their way (etcd waits a second too).
        if *self.driver.inner.peers.local().removed.borrow() {
            self.removed_at.get_or_insert_with(Instant::now);
        }
        let removed = self.removed_at.is_some_and(|since| since.elapsed() >= Duration::from_secs(1));
        removed.then_some(Ended::Removed)
    }
}
