//! When the database is flushed, and what follows: the log below it may go. A flush bounds how much a restarted member replays.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use quorate_core::log::Index;
use quorate_core::node::Event;

use super::{Fatal, Running};
use crate::backend::Backend;
use crate::inbox::{Inbox, Input};

/// Log bytes that may be unflushed: replaying them takes well under a second.
const UNFLUSHED_BYTES_MAX: usize = 32 << 20;
/// An idle database is flushed this long after its last change.
const UNFLUSHED_AGE_MAX: Duration = Duration::from_secs(30);
/// Flushes on a thread of its own.
pub struct Flusher {
    flush: SyncSender<Arc<Backend>>,
    /// Set while the thread works.
    busy: bool,
    unflushed_bytes: usize,
    since: Option<Instant>,
}

impl Flusher {
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(inbox: Arc<Inbox>) -> std::io::Result<Flusher> {
        let (flush, work) = sync_channel::<Arc<Backend>>(1);
        std::thread::Builder::new().name("flush".into()).spawn(move || {
            for backend in work {
                let flushed = backend.flush().and_then(|()| backend.durable_applied());
                inbox.push(match flushed {
                    Ok((applied, _)) => Input::Flushed { applied },
                    Err(error) => Input::Failed(error.to_string()),
                });
            }
        })?;
        Ok(Flusher { flush, busy: false, unflushed_bytes: 0, since: None })
    }

    pub(super) fn applied(&mut self, log_bytes: usize, backend: &Arc<Backend>) {
        self.unflushed_bytes += log_bytes;
        self.since.get_or_insert_with(Instant::now);
        if self.unflushed_bytes >= UNFLUSHED_BYTES_MAX {
            self.begin(backend);
        }
    }

    pub(super) fn tick(&mut self, backend: &Arc<Backend>) {
        if self.since.is_some_and(|since| since.elapsed() >= UNFLUSHED_AGE_MAX) {
            self.begin(backend);
        }
    }

    fn begin(&mut self, backend: &Arc<Backend>) {
        if !self.busy && self.flush.try_send(backend.clone()).is_ok() {
            self.busy = true;
            self.unflushed_bytes = 0;
            self.since = None;
        }
    }
}

impl Running {
    /// The database is durable up to `applied`; the node says what of the log may go.
    pub(super) fn flushed(&mut self, applied: Index) {
        self.driver.flusher.busy = false;
        self.events.push(Event::Flushed { applied, keep_entries: self.driver.catch_up_entries });
    }

    pub(super) fn cut_log(&mut self, below: Index, wanted_from: Index) -> Result<(), Fatal> {
        let first = self.driver.log.cut(below, wanted_from)?;
        self.events.push(Event::LogCut { first });
        Ok(())
    }
}
