//! A full disk: leadership goes to another, NOSPACE is raised, reads go on, and everything comes back when the disk has room.
//!
//! The log notices while two preallocated segments are left, the database when a flush or compaction fails; both try again by
//! themselves. What cannot be survived, a disk that fails, ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quorate_api::etcdserverpb::{self as pb, alarm_request::AlarmAction};
use quorate_core::command::Request;
use quorate_core::log::Entry;
use quorate_core::node::Event;

use super::{Fatal, Running};
use crate::backend::{self, Trouble};
use crate::directory::Directory;
use crate::store::Store;

/// The end of the alarm is proposed again when this long nothing came of it.
const ASK_BACK_AGAIN: Duration = Duration::from_secs(5);

/// What cannot grow, in words.
#[derive(Debug, Default)]
pub(super) struct Full {
    log: Option<String>,
    database: Option<String>,
    /// This member's NOSPACE alarm was raised for its disk, so it is also taken back. A mark on the disk tells it to the process that
    /// comes after this one.
    raised: bool,
    /// Alarms that were proposed and whose outcome is not known (any more): they may still be raised.
    unsettled: Arc<AtomicU32>,
    asked_back: Option<Instant>,
    /// Committed entries that wait for the database. Invariant: the node hands nothing more over before they are applied.
    pub held: Option<Vec<Entry>>,
}

impl Full {
    /// As the directory tells it.
    pub fn open(directory: &Directory) -> Full {
        Full { raised: directory.is_marked_full(), ..Full::default() }
    }

    fn reason(&self) -> Option<&String> {
        self.log.as_ref().or(self.database.as_ref())
    }
}

impl Running {
    pub(super) fn log_full(&mut self, reason: Option<String>) {
        let was_full = self.full.reason().is_some();
        self.full.log = reason;
        self.disk_changed(was_full);
    }

    /// At every tick: looks after the database, and raises or takes back the alarm.
    pub(super) fn watch_disk(&mut self) -> Result<(), Fatal> {
        let was_full = self.full.reason().is_some();
        self.full.database = match self.driver.backend.trouble() {
            None => None,
            Some(Trouble::Full(reason)) => Some(format!("the database cannot write: {reason}")),
            // Rebuilding gives this member another database; until then it serves nothing, and compacts nothing.
            Some(Trouble::Corrupt(reason)) => {
                Store(self.driver.inner.clone()).report_damage(&reason);
                None
            }
            Some(Trouble::Failed(reason)) => {
                let remedy = backend::remedy(&reason);
                return Err(Fatal::Role(format!("the database cannot write: {reason}; {remedy}")));
            }
        };
        self.disk_changed(was_full);
        match self.full.reason() {
            Some(_) => {
                self.claim_alarm(true);
                self.propose_no_space();
            }
            None if self.full.raised => self.take_alarm_back(),
            None => {}
        }
        if !self.must_hold()
            && let Some(entries) = self.full.held.take()
        {
            self.apply(entries)?;
        }
        Ok(())
    }

    /// From now on the alarm is this disk's, or not any more.
    fn claim_alarm(&mut self, raised: bool) {
        if self.full.raised == raised {
            return;
        }
        self.full.raised = raised;
        // An empty file needs no block, so even a full disk mostly takes it.
        if let Err(error) = self.driver.directory.mark_full(raised) {
            tracing::warn!(%error, "cannot note why the NOSPACE alarm is raised; should this process end now, disarm it by hand");
        }
    }

    /// A write went over the quota, or the disk is full: the alarm follows, once.
    pub(super) fn propose_no_space(&mut self) {
        let this = self.driver.inner.identity.member_id;
        let Some(alarm) = self.no_space.alarm(self.now_ms(), this, self.driver.machine.alarms()) else { return };
        let store = Store(self.driver.inner.clone());
        let unsettled = Arc::clone(&self.full.unsettled);
        unsettled.fetch_add(1, Ordering::AcqRel);
        self.driver.inner.runtime.spawn(async move {
            match store.propose(Request::Alarm(alarm)).await {
                Ok(_) => _ = unsettled.fetch_sub(1, Ordering::AcqRel),
                Err(error) => tracing::warn!(%error, "cannot raise the NOSPACE alarm"),
            }
        });
    }

    fn disk_changed(&mut self, was_full: bool) {
        let reason = self.full.reason();
        if was_full == reason.is_some() {
            return;
        }
        self.changes += 1;
        self.driver.inner.metrics.disk.full.set(i64::from(reason.is_some()));
        match reason {
            Some(reason) => {
                tracing::error!(
                    reason,
                    "the disk is full; free space or grow the volume, this member goes on by itself then"
                );
                self.events.push(Event::DiskFull);
            }
            None => {
                tracing::info!("the disk has room again");
                self.events.push(Event::DiskBack);
            }
        }
    }

    /// Why this member's disk is full, for who asks how it is.
    pub(super) fn disk_full_reason(&self) -> Option<String> {
        self.full.reason().cloned()
    }

    /// Whether the database takes nothing more before it could flush: RocksDB would hold this thread up when its memory is full.
    fn must_hold(&self) -> bool {
        self.full.database.is_some()
    }

    /// Applies entries, or keeps them until the database can take them.
    pub(super) fn apply_or_hold(&mut self, entries: Vec<Entry>) -> Result<(), Fatal> {
        if self.must_hold() {
            assert!(self.full.held.is_none(), "the node hands entries over when those before are applied");
            self.full.held = Some(entries);
            return Ok(());
        }
        self.apply(entries)
    }

    /// etcd leaves an alarm to whoever looks after the cluster; this one was raised for a disk that has room again. One that a
    /// quota would raise at once stays.
    fn take_alarm_back(&mut self) {
        let inner = &self.driver.inner;
        if !inner.caught_up.load(Ordering::Acquire) {
            // The alarm may stand in what is replayed.
            return;
        }
        let this = inner.identity.member_id;
        let no_space = i32::from(pb::AlarmType::Nospace);
        let is_ours = |alarm: pb::AlarmMember| alarm.member_id == this && alarm.alarm == no_space;
        let size = inner.status.load().db_size;
        let over_quota = inner.limits.load().quota_bytes.is_some_and(|quota| size >= quota);
        if over_quota {
            return self.claim_alarm(false);
        }
        if !self.driver.machine.alarms().iter().any(is_ours) {
            if self.full.unsettled.load(Ordering::Acquire) == 0 {
                self.claim_alarm(false);
            }
            return;
        }
        if self.full.asked_back.is_some_and(|at| at.elapsed() < ASK_BACK_AGAIN) {
            return;
        }
        self.full.asked_back = Some(Instant::now());
        let store = Store(inner.clone());
        let alarm = pb::AlarmRequest { action: AlarmAction::Deactivate.into(), member_id: this, alarm: no_space };
        inner.runtime.spawn(async move {
            if let Err(error) = store.propose(Request::Alarm(alarm)).await {
                tracing::warn!(%error, "cannot take the NOSPACE alarm back");
            }
        });
    }
}
