//! Reads old entries for followers that are behind, on a thread of its own and no faster than clients bear.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use quorate_core::log::{Entry, Index};
use quorate_core::node::Event;
use quorate_core::replica::{LogRange, LogReadError, LogReader, READS_MAX};

use super::Fatal;
use crate::inbox::{Inbox, Input};
use crate::member::Reader;
use crate::peer::due;
use crate::wal::WalReader;

/// A follower comes nearer at least so many times as fast as the log grows, whatever the rate is: one that gets nothing but what was
/// written meanwhile never arrives.
const GAIN: u32 = 2;

/// The log is read at so small a part of the rate at which snapshots are sent: an entry is read, framed, sent and acknowledged through the
/// leader's own threads, and a byte of it costs clients what several of a snapshot's files do (`store/README.md` has the figures).
const PART_OF_RATE: u64 = 4;

/// See the module.
pub struct LogReads {
    ranges: SyncSender<LogRange>,
}

impl LogReads {
    /// Starts the thread. For all followers together it reads a part of the bytes a second at which snapshots are sent, `None` = as many as
    /// the disk gives.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(
        reader: WalReader,
        inbox: Arc<Inbox>,
        snapshot_bytes_per_second: Option<u64>,
    ) -> std::io::Result<LogReads> {
        let (ranges, receiver) = sync_channel(READS_MAX);
        let rate = snapshot_bytes_per_second.map(|rate| (rate / PART_OF_RATE).max(1));
        let pace = rate.map(|rate| Pace::new(rate, reader.last_index(), Instant::now()));
        let thread = move || run(&reader, &inbox, pace, &receiver);
        std::thread::Builder::new().name("log-reads".into()).spawn(thread)?;
        Ok(LogReads { ranges })
    }

    /// Reads this and reports it; never waits, as the node asks for no more than the queue holds.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn read(&self, range: LogRange) -> Result<(), Fatal> {
        self.ranges.try_send(range).map_err(|error| Fatal::Role(format!("the thread that reads the log: {error}")))
    }
}

fn run(reader: &WalReader, inbox: &Inbox, mut pace: Option<Pace>, ranges: &Receiver<LogRange>) {
    let log = Reader(reader.clone());
    while let Ok(range) = ranges.recv() {
        if let Some(pace) = &pace {
            std::thread::sleep(pace.due.saturating_duration_since(Instant::now()));
        }
        let read = log.entries(range.low, range.high, range.bytes_max);
        if let Err(error) = &read {
            tracing::error!(%error, "cannot read the log for a follower, which is sent a snapshot instead");
        }
        if let Some(pace) = &mut pace {
            pace.took(&read, reader.last_index(), Instant::now());
        }
        if !inbox.push(Input::Event(Event::LogRead { range, read })) {
            return;
        }
    }
}

/// When the next piece may be read.
#[derive(Debug, Clone, Copy)]
struct Pace {
    bytes_per_second: u64,
    due: Instant,
    /// The end of the log when the piece before was read, and when that was.
    seen: (Index, Instant),
}

impl Pace {
    fn new(bytes_per_second: u64, last_index: Index, now: Instant) -> Pace {
        Pace { bytes_per_second, due: now, seen: (last_index, now) }
    }

    fn took(&mut self, read: &Result<Vec<Entry>, LogReadError>, last_index: Index, now: Instant) {
        let Ok(entries) = read else { return };
        let bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
        let (seen, at) = std::mem::replace(&mut self.seen, (last_index, now));
        let growth = Growth { entries: last_index.saturating_sub(seen), within: now.saturating_duration_since(at) };
        self.due = now + wait(bytes, entries.len() as u64, self.bytes_per_second, growth);
    }
}

/// How much longer the log became.
#[derive(Debug, Clone, Copy)]
struct Growth {
    entries: u64,
    within: Duration,
}

/// How long nothing is read after a piece of so many bytes and entries.
fn wait(bytes: u64, entries: u64, bytes_per_second: u64, growth: Growth) -> Duration {
    let by_rate = due(bytes, bytes_per_second);
    match growth.entries {
        0 => by_rate,
        grown => by_rate.min(growth.within.mul_f64(entries as f64 / grown as f64) / GAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_quiet_log_is_read_at_the_rate() {
        let growth = Growth { entries: 0, within: Duration::from_secs(1) };
        assert_eq!(wait(MIB, 4_000, 32 * MIB, growth), Duration::from_millis(1_000) / 32);
        let slow = Growth { entries: 10, within: Duration::from_secs(1) };
        assert_eq!(wait(MIB, 4_000, 32 * MIB, slow), Duration::from_millis(1_000) / 32);
    }

    #[test]
    fn a_log_that_grows_fast_is_read_twice_as_fast_as_it_grows() {
        let growth = Growth { entries: 40_000, within: Duration::from_millis(200) };
        // 4 000 entries were written within 20 ms.
        assert_eq!(wait(MIB, 4_000, MIB, growth), Duration::from_millis(10));
    }

    #[test]
    fn a_failed_read_is_not_waited_for() {
        let now = Instant::now();
        let mut pace = Pace::new(MIB, 1, now);
        let failed = LogReadError { low: 1, high: 2, reason: "gone".to_owned() };
        pace.took(&Err(failed), 1, now + Duration::from_secs(1));
        assert_eq!(pace.due, now);
    }
}
