//! What goes wrong in RocksDB's background: flushes and compactions that fail are tried again each second, and this is how the member
//! hears of it.
//!
//! With RocksDB's paranoid checks on, one full disk would close the database to writes until it is opened anew, as the crate gives
//! no way to resume it. They are off, so that a failed job is only reported and tried again; what they add when a database is opened
//! is made up for by `missing_file`. A checksum is verified at every read whatever they are.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rocksdb::{DB, InfoLogger, LogLevel};

use crate::directory::MADE_READ_ONLY;

/// How RocksDB 11 begins its report of a failed job; `backend/tests.rs` fails if another version says it otherwise.
const REPORTS: [&str; 2] = ["Waiting after background flush error", "Waiting after background compaction error"];
/// A failed job is reported again after a second; silence for this long says that it was done.
const SILENCE: Duration = Duration::from_secs(3);

/// Why jobs in the background fail. The texts are RocksDB's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The disk is full; nothing is lost, and they go on by themselves when it has room.
    Full(String),
    /// What is on disk is not what was written.
    Corrupt(String),
    /// The disk fails.
    Failed(String),
}

/// The last report; shared with RocksDB's logger.
#[derive(Debug, Clone, Default)]
pub(super) struct Reports(Arc<Mutex<Option<(Instant, Trouble)>>>);

impl Reports {
    pub fn current(&self) -> Option<Trouble> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| at.elapsed() < SILENCE).map(|(_, trouble)| trouble.clone())
    }

    /// A flush was done, so the disk has room: no need to wait for silence.
    pub fn flushed(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|(_, trouble)| matches!(trouble, Trouble::Full(_)));
    }

    fn note(&self, message: &str) {
        if let Some(trouble) = read(message) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), trouble));
        }
    }

    /// RocksDB's messages go to our log, and reports are noted.
    pub fn logger(&self) -> InfoLogger {
        let reports = self.clone();
        InfoLogger::new_callback_logger(LogLevel::Warn, move |level, message| {
            reports.note(message);
            log(level, message);
        })
    }
}

fn read(message: &str) -> Option<Trouble> {
    let at = REPORTS.iter().find_map(|report| message.find(report))?;
    let text = message[at..].split_once(": ").map_or(&message[at..], |(_, text)| text);
    let text = text.split(", Accumulated").next().unwrap_or(text).trim().to_owned();
    Some(match () {
        () if is_no_space(&text) => Trouble::Full(text),
        () if is_corruption(&text) => Trouble::Corrupt(text),
        () => Trouble::Failed(text),
    })
}

/// Whether RocksDB says that the disk, or the user's share of it, is full.
pub(super) fn is_no_space(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded"].iter().any(|cause| text.contains(cause))
}

/// Whether RocksDB says that it is the disk that fails, so that the database may be sound.
pub(super) fn is_failing_disk(text: &str) -> bool {
    is_read_only(text) || text.contains("Input/output error")
}

/// Whether RocksDB says that the file system takes no writes.
fn is_read_only(text: &str) -> bool {
    text.contains("Read-only file system")
}

/// What to do when the database cannot write for this reason.
pub fn remedy(reason: &str) -> &'static str {
    if is_read_only(reason) { MADE_READ_ONLY } else { "see to the disk, then start again" }
}

/// Whether RocksDB says that a file which it counts on is not there.
pub(super) fn is_missing(text: &str) -> bool {
    text.contains("No such file or directory")
}

/// Whether RocksDB says that what it read is not what was written.
pub fn is_corruption(text: &str) -> bool {
    text.contains("Corruption")
}

/// A file that the database counts on and that is not there, or has another size.
pub(super) fn missing_file(rocks: &DB, directory: &Path) -> Result<Option<String>, rocksdb::Error> {
    let live = || {
        let files = rocks.live_files()?.into_iter();
        Ok(files.map(|file| (file.name.trim_start_matches('/').to_owned(), file.size as u64)).collect())
    };
    missing(live, |name| Ok(std::fs::metadata(directory.join(name))?.len()))
}

/// `live` tells the files that are counted on now, each with its size; `size` looks at one. Compactions begin as soon as a database is
/// open, and what they replace is removed after it is no longer counted on: a file is missing if it still is, after it was not found.
fn missing<E>(
    live: impl Fn() -> Result<Vec<(String, u64)>, E>,
    size: impl Fn(&str) -> io::Result<u64>,
) -> Result<Option<String>, E> {
    let wrong = |(name, expected): (String, u64)| match size(&name) {
        Ok(found) if found == expected => None,
        Ok(found) => Some((name.clone(), format!("file {name} has {found} bytes instead of {expected}"))),
        Err(error) => Some((name.clone(), format!("file {name}: {error}"))),
    };
    let suspects: Vec<(String, String)> = live()?.into_iter().filter_map(wrong).collect();
    if suspects.is_empty() {
        return Ok(None);
    }
    let still: BTreeSet<String> = live()?.into_iter().map(|(name, _)| name).collect();
    Ok(suspects.into_iter().find(|(name, _)| still.contains(name)).map(|(_, reason)| reason))
}

fn log(level: LogLevel, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{}", message.trim_end()),
        LogLevel::Warn => tracing::warn!(target: "rocksdb", "{}", message.trim_end()),
        // Headers are RocksDB's thousand lines of options.
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => {
            tracing::debug!(target: "rocksdb", "{}", message.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// What is said of file 1 when it is of this size, and counted on at the first look, and at the second or not.
    fn said(size: Option<u64>, still_live: bool) -> Option<String> {
        let looks = Cell::new(0);
        let live = || {
            let is_live = looks.replace(looks.get() + 1) == 0 || still_live;
            let files = [("1.sst", 10), ("2.sst", 20)].into_iter().filter(|(name, _)| is_live || *name != "1.sst");
            Ok::<_, Infallible>(files.map(|(name, size)| (name.to_owned(), size)).collect())
        };
        let found = |name: &str| match name {
            "1.sst" => size.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)),
            _ => Ok(20),
        };
        missing(live, found).unwrap()
    }

    #[test]
    fn a_file_is_missing_when_it_is_counted_on_after_it_was_not_found() {
        assert_eq!(said(Some(10), true), None);
        assert!(said(None, true).is_some_and(|reason| reason.starts_with("file 1.sst: ")));
        assert_eq!(said(Some(9), true).as_deref(), Some("file 1.sst has 9 bytes instead of 10"));
    }

    #[test]
    fn a_file_that_a_compaction_replaced_meanwhile_is_not_missing() {
        assert_eq!(said(None, false), None);
    }

    #[test]
    fn reports_are_told_apart_by_their_cause() {
        let flush = "[JOB 7] Waiting after background flush error: IO error: No space left on device: While appending to file: \
                     /d/000012.sst: No space left on device, Accumulated background error counts: 3";
        let Some(Trouble::Full(text)) = read(flush) else { panic!("{:?}", read(flush)) };
        assert!(text.starts_with("IO error: No space") && text.ends_with("No space left on device"), "{text}");
        let compaction = "Waiting after background compaction error: Corruption: block checksum mismatch: stored = 1, computed = 2, \
                          Accumulated background error counts: 1";
        assert!(matches!(read(compaction), Some(Trouble::Corrupt(_))));
        let failed = "[JOB 7] Waiting after background flush error: IO error: Input/output error: While fsync: /d/1.sst, \
                      Accumulated background error counts: 1";
        assert!(matches!(read(failed), Some(Trouble::Failed(_))));
        let read_only = "Waiting after background flush error: IO error: Read-only file system: While open a file for appending: \
                         /d/000012.sst: Read-only file system, Accumulated background error counts: 1";
        let Some(Trouble::Failed(text)) = read(read_only) else { panic!("{:?}", read(read_only)) };
        assert_eq!(remedy(&text), MADE_READ_ONLY);
        assert_eq!(read("[db/db_impl.cc:1] Shutdown complete"), None);
    }
}
