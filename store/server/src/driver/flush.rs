//! Flushes the database when the node says so, on a thread of its own: that takes as long as the disk needs.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use quorate_core::log::Index;
use quorate_core::node::{Event, FlushPolicy};

use super::{Fatal, Running};
use crate::backend::Backend;
use crate::inbox::{Inbox, Input};
use crate::store::Timers;

/// Log bytes that may be unflushed: replaying them takes well under a second.
const UNFLUSHED_BYTES_MAX: usize = 32 << 20;
/// The oldest unflushed change is at most so old. Not less: a flush makes a file of every family, and every fourth is merged with all of the
/// database up to 256 MiB, however little they hold. At 500 puts a second flushes every 15 s had 180 MiB written anew every minute.
const UNFLUSHED_AGE_MS_MAX: u64 = 300_000;

/// What the node goes by.
pub fn flush_policy(timers: &Timers) -> FlushPolicy {
    FlushPolicy { bytes_max: UNFLUSHED_BYTES_MAX, age_ms_max: UNFLUSHED_AGE_MS_MAX, tick_ms: timers.tick_ms() }
}

/// The thread.
pub struct Flusher {
    flush: SyncSender<Arc<Backend>>,
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
                    Err(error) => Input::Failed(Fatal::from(error).to_string()),
                });
            }
        })?;
        Ok(Flusher { flush })
    }

    /// The node asks for one at a time, so there is room.
    pub(super) fn begin(&self, backend: &Arc<Backend>) -> Result<(), Fatal> {
        self.flush.try_send(backend.clone()).map_err(|_| Fatal::Role("the thread that flushes has ended".into()))
    }
}

impl Running {
    /// The database is durable up to `applied`; the node says what of the log may go.
    pub(super) fn flushed(&mut self, applied: Index) {
        self.events.push(Event::Flushed { applied, keep_entries: self.driver.catch_up_entries });
    }

    pub(super) fn cut_log(&mut self, below: Index, wanted_from: Index) -> Result<(), Fatal> {
        let first = self.driver.log.cut(below, wanted_from)?;
        self.events.push(Event::LogCut { first });
        Ok(())
    }
}
