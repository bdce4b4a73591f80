//! The WAL's role: makes groups durable, on the caller's thread or on its own.
//!
//! Group commit without a timer: whatever was handed over while the disk was busy goes into the next group.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_core::log::{Entry, HardState, Index};
use quorate_core::node::Event;
use quorate_core::wal_format::{Group, SnapshotMarker};

use super::Fatal;
use crate::inbox::{Inbox, Input};
use crate::metrics::Metrics;
use crate::wal::{self, Appended, Wal};

/// Persists that wait for the thread; the driver waits when there are more, which holds peers back.
const QUEUE_MAX: usize = 1_024;
/// Entries of one group; a larger backlog is cut into several syncs, as a long one holds up whoever else syncs on that disk: beside one
/// that writes 32 MiB/s in pieces of 4 MiB the p99 of a small sync was 2.1 ms, in pieces of 1 MiB 1.3 ms, alone 1.3 ms.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Between two tries on a full disk, and between two looks whether it is full.
const FULL_RETRY: Duration = Duration::from_secs(1);

struct Job {
    number: u64,
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
}

/// Number of the last persist that the thread made durable. Who waits for it sleeps, for a full disk that may be hours.
#[derive(Default)]
struct Done {
    number: Mutex<u64>,
    rises: Condvar,
}

impl Done {
    fn number(&self) -> MutexGuard<'_, u64> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, number: u64) {
        *self.number() = number;
        self.rises.notify_all();
    }

    fn wait(&self, number: u64) {
        let done = self.rises.wait_while(self.number(), |done| *done < number);
        drop(done.unwrap_or_else(PoisonError::into_inner));
    }
}

/// See the module.
pub struct LogRole {
    wal: Arc<Mutex<Wal>>,
    jobs: SyncSender<Job>,
    /// Number of the last persist handed to the thread.
    handed: u64,
    done: Arc<Done>,
    space: Space,
    metrics: Arc<Metrics>,
}

fn lock(wal: &Mutex<Wal>) -> MutexGuard<'_, Wal> {
    wal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes one group.
fn write(
    wal: &Mutex<Wal>,
    metrics: &Metrics,
    hard_state: Option<HardState>,
    entries: &[Entry],
    marker: Option<&SnapshotMarker>,
) -> Result<(), wal::Error> {
    let mut wal = lock(wal);
    let commit = hard_state.map_or(0, |state| state.commit).max(wal.commit());
    let number = wal.last_group() + 1;
    let Appended { bytes, write, sync } = wal.append(Group { number, commit, hard_state, entries, marker })?;
    metrics.disk.wal_written_bytes.add(i64::try_from(bytes).unwrap_or(i64::MAX));
    metrics.disk.wal_write.observe(write.as_secs_f64());
    metrics.disk.wal_fsync.observe(sync.as_secs_f64());
    Ok(())
}

/// Whether the log has its segments preallocated; says so when that changes. The driver's and the thread's share what was said.
struct Space {
    inbox: Arc<Inbox>,
    full: Arc<AtomicBool>,
    looked: Instant,
}

impl Space {
    fn new(inbox: Arc<Inbox>) -> Space {
        Space { inbox, full: Arc::default(), looked: Instant::now() }
    }

    fn shared(&self) -> Space {
        Space { inbox: self.inbox.clone(), full: self.full.clone(), looked: Instant::now() }
    }

    fn note(&self, full: Option<&wal::Error>) {
        if self.full.swap(full.is_some(), Ordering::Relaxed) != full.is_some() {
            self.inbox.push(Input::LogFull(full.map(ToString::to_string)));
        }
    }

    /// After each write: a fast writer uses the segments that are left up in less time than lies between two looks.
    fn note_shortage(&self, wal: &Mutex<Wal>) {
        let shortage = lock(wal).shortage();
        if let Some(error) = shortage.filter(wal::Error::is_no_space) {
            self.note(Some(&error));
        }
    }

    /// Asks for the segments that are missing, at most once in `FULL_RETRY`.
    fn look(&mut self, wal: &Mutex<Wal>) -> Result<(), wal::Error> {
        if self.looked.elapsed() < FULL_RETRY {
            return Ok(());
        }
        self.looked = Instant::now();
        match lock(wal).check_space() {
            Ok(()) => self.note(None),
            Err(error) if error.is_no_space() => self.note(Some(&error)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes one group. A full disk is waited out: nothing was written, and nothing is acknowledged meanwhile.
    fn write(
        &self,
        wal: &Mutex<Wal>,
        metrics: &Metrics,
        hard_state: Option<HardState>,
        entries: &[Entry],
        marker: Option<&SnapshotMarker>,
    ) -> Result<(), wal::Error> {
        loop {
            match write(wal, metrics, hard_state, entries, marker) {
                Err(error) if error.is_no_space() => self.note(Some(&error)),
                other => {
                    self.note_shortage(wal);
                    return other;
                }
            }
            std::thread::sleep(FULL_RETRY);
        }
    }
}

impl LogRole {
    /// Starts the thread over an open log.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(wal: Wal, inbox: Arc<Inbox>, metrics: Arc<Metrics>) -> std::io::Result<LogRole> {
        let (jobs, receiver) = sync_channel(QUEUE_MAX);
        let role = LogRole {
            wal: Arc::new(Mutex::new(wal)),
            jobs,
            handed: 0,
            done: Arc::default(),
            space: Space::new(inbox.clone()),
            metrics: metrics.clone(),
        };
        let (wal, done, space) = (role.wal.clone(), role.done.clone(), role.space.shared());
        let thread = move || {
            if let Err(error) = run(&wal, &receiver, &done, space, &metrics) {
                // Nobody waits for a thread that is gone; whatever comes next meets a log that takes no more writes.
                done.raise(u64::MAX);
                inbox.push(Input::Failed(error.to_string()));
            }
        };
        std::thread::Builder::new().name("wal".into()).spawn(thread)?;
        Ok(role)
    }

    /// Makes it durable. With `inline` and an idle thread this call does it and returns true; else the thread does, and reports
    /// `Persisted` itself.
    ///
    /// # Errors
    /// The log failed; the process must end.
    pub fn persist(
        &mut self,
        number: u64,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        inline: bool,
    ) -> Result<bool, Fatal> {
        if inline && self.is_idle() {
            match write(&self.wal, &self.metrics, hard_state, &entries, None) {
                Ok(()) => {
                    self.space.note_shortage(&self.wal);
                    return Ok(true);
                }
                // The thread waits for room, so that this one does not.
                Err(error) if error.is_no_space() => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.handed = number;
        let job = Job { number, hard_state, entries };
        self.jobs.send(job).map_err(|_| self.ended())?;
        Ok(false)
    }

    /// Why there is no thread any more; it may not have come to saying so yet.
    fn ended(&self) -> Fatal {
        match lock(&self.wal).failure() {
            Err(error) => error.into(),
            Ok(()) => Fatal::Role("the WAL's thread has ended".into()),
        }
    }

    /// Makes a snapshot's marker durable, after everything that was handed over before.
    ///
    /// # Errors
    /// The log failed.
    pub fn persist_marker(
        &mut self,
        hard_state: Option<HardState>,
        entries: &[Entry],
        marker: &SnapshotMarker,
    ) -> Result<(), Fatal> {
        self.wait_idle();
        self.space.write(&self.wal, &self.metrics, hard_state, entries, Some(marker))?;
        Ok(())
    }

    /// Whether nothing waits for a sync.
    pub fn is_idle(&self) -> bool {
        *self.done.number() >= self.handed
    }

    /// Waits until everything that was handed over is durable.
    pub fn wait_idle(&self) {
        self.done.wait(self.handed);
    }

    /// Writes the commit index behind the log without a sync: what tells a restarted process what it may have answered.
    ///
    /// # Errors
    /// The log failed.
    pub fn hint_commit(&mut self, commit: Index) -> Result<(), Fatal> {
        if self.is_idle() {
            lock(&self.wal).hint_commit(commit)?;
        }
        Ok(())
    }

    /// Drops what the log need not keep below `below` (`Wal::cut`); returns the first entry that is left.
    ///
    /// # Errors
    /// The log failed.
    pub fn cut(&mut self, below: Index, wanted_from: Index) -> Result<Index, Fatal> {
        let mut wal = lock(&self.wal);
        wal.cut(below, wanted_from)?;
        Ok(wal.reader().first_index())
    }
}

fn run(
    wal: &Mutex<Wal>,
    jobs: &Receiver<Job>,
    done: &Done,
    mut space: Space,
    metrics: &Metrics,
) -> Result<(), wal::Error> {
    let mut held = None;
    loop {
        let next = held.take().map_or_else(|| jobs.recv_timeout(FULL_RETRY), Ok);
        match next {
            Ok(mut job) => {
                gather(&mut job, jobs, &mut held);
                space.write(wal, metrics, job.hard_state, &job.entries, None)?;
                done.raise(job.number);
                space.inbox.push(Input::Event(Event::Persisted { number: job.number }));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        space.look(wal)?;
    }
}

/// Adds what waits to the job. Entries that replace a suffix of it begin a group of their own.
fn gather(job: &mut Job, jobs: &Receiver<Job>, held: &mut Option<Job>) {
    let mut bytes: usize = job.entries.iter().map(|entry| entry.data.len()).sum();
    while bytes < GROUP_BYTES_MAX
        && let Ok(next) = jobs.try_recv()
    {
        let follows = match (job.entries.last(), next.entries.first()) {
            (Some(last), Some(first)) => first.index == last.index + 1,
            _ => true,
        };
        if !follows {
            *held = Some(next);
            return;
        }
        bytes += next.entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        job.number = next.number;
        job.hard_state = next.hard_state.or(job.hard_state);
        job.entries.extend(next.entries);
    }
}
