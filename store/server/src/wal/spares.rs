//! Files kept ready to become segments: recycled ones, or new ones that a helper thread fills, so that the thread that syncs
//! groups neither waits for a fill nor meets a full disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::segment::{self, SegmentFile, create_filled};
use super::{Error, SPARES};
use crate::directory::is_full;

/// Spares kept when cuts give more of them back than are used; the rest is deleted.
const RECYCLED_MAX: usize = 4;

/// Size of a log's first segment; each next one is twice as large up to the full size, so that a small log costs little disk.
const FIRST_BYTES: u64 = 4 << 20;

/// A file of `bytes` bytes whose blocks were written; what is in it does not matter.
pub(super) struct Spare {
    pub path: PathBuf,
    pub file: File,
    pub bytes: u64,
}

pub(super) struct Spares {
    directory: PathBuf,
    /// Size of a full segment.
    segment_bytes: u64,
    /// Segments that the log has begun so far: what sizes depend on.
    begun: u64,
    /// For the next file's name; names are not used twice by one process.
    number: u64,
    ready: VecDeque<Spare>,
    /// Files that the helper was asked for and has not delivered. It is asked while `ready + asked < SPARES`.
    asked: usize,
    /// Why the last file could not be made; stays until all spares are there again.
    shortage: Option<io::Error>,
    /// Whether to ask for files although the last one could not be made.
    retry: bool,
    helper: Helper,
}

struct Helper {
    /// `None` only while being dropped.
    orders: Option<SyncSender<Order>>,
    results: Receiver<io::Result<Spare>>,
    thread: Option<JoinHandle<()>>,
}

/// A file to be made.
struct Order {
    number: u64,
    bytes: u64,
}

impl Spares {
    /// Takes the spare files at hand, those of a strange size excepted, and has the missing ones made. `begun` is the number of the
    /// newest segment (0 = none).
    pub fn open(directory: &Path, segment_bytes: u64, begun: u64, found: Vec<PathBuf>) -> Result<Spares, Error> {
        let mut spares = Spares {
            directory: directory.to_owned(),
            segment_bytes,
            begun,
            number: 0,
            ready: VecDeque::new(),
            asked: 0,
            shortage: None,
            retry: false,
            helper: Helper::start(directory)?,
        };
        for path in found {
            spares.adopt(path)?;
        }
        spares.top_up();
        Ok(spares)
    }

    fn adopt(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = segment::open(&path).map_err(Error::io("opening", &path))?;
        let bytes = file.metadata().map_err(Error::io("inspection", &path))?.len();
        self.number = self.number.max(number_of(&path).map_or(0, |number| number + 1));
        let sizes = FIRST_BYTES.min(self.segment_bytes)..=self.segment_bytes;
        if sizes.contains(&bytes) && self.ready.len() < RECYCLED_MAX {
            self.ready.push_back(Spare { path, file, bytes });
            return Ok(());
        }
        std::fs::remove_file(&path).map_err(Error::io("removal", &path))
    }

    /// Asks the helper for what is missing and collects what it has made. Never blocks.
    pub fn top_up(&mut self) {
        while let Ok(result) = self.helper.results.try_recv() {
            self.collect(result);
        }
        while (self.shortage.is_none() || self.retry) && self.ready.len() + self.asked < SPARES {
            let bytes = self.next_size();
            let number = self.next_number();
            let orders = self.helper.orders.as_ref().expect("the helper lives as long as the log");
            orders.send(Order { number, bytes }).expect("the helper ends only when its orders end");
            self.asked += 1;
        }
    }

    /// Size of the segment that the next file will become.
    fn next_size(&self) -> u64 {
        const DOUBLINGS_MAX: u64 = 32;
        let before = self.begun + (self.ready.len() + self.asked) as u64;
        (FIRST_BYTES << before.min(DOUBLINGS_MAX)).min(self.segment_bytes)
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn receive(&mut self) {
        let result = self.helper.results.recv().expect("the helper answers every order");
        self.collect(result);
    }

    fn collect(&mut self, result: io::Result<Spare>) {
        self.asked -= 1;
        match result {
            Ok(spare) => self.add(spare),
            Err(error) => (self.shortage, self.retry) = (Some(error), false),
        }
    }

    fn add(&mut self, spare: Spare) {
        self.ready.push_back(spare);
        if self.ready.len() >= SPARES {
            self.shortage = None;
        }
    }

    /// A file of at least `needed` bytes; waits for the helper when none is ready.
    pub fn take(&mut self, needed: u64) -> Result<Spare, Error> {
        if self.ready.is_empty() && self.asked == 0 {
            self.retry = true;
            self.top_up();
        }
        while self.ready.is_empty() && self.asked > 0 {
            self.receive();
        }
        let Some(mut spare) = self.ready.pop_front() else {
            return Err(self.shortage_error());
        };
        if spare.bytes < needed {
            let grown = segment::extend(&spare.file, spare.bytes, needed);
            if let Err(source) = grown {
                // It may have grown partly: a start with its size wrong deletes it.
                let error = error_for(&spare.path, needed, source);
                self.ready.push_front(spare);
                return Err(error);
            }
            spare.bytes = needed;
        }
        self.begun += 1;
        Ok(spare)
    }

    /// Tries again after a shortage.
    pub fn check(&mut self) -> Result<(), Error> {
        self.top_up();
        if self.shortage.is_none() {
            return Ok(());
        }
        let error = self.shortage_error();
        self.retry = true;
        self.top_up();
        Err(error)
    }

    /// Why no more segments can be preallocated, as far as the helper has told.
    pub fn shortage(&self) -> Option<Error> {
        self.shortage.as_ref().map(|_| self.shortage_error())
    }

    fn shortage_error(&self) -> Error {
        let source = self.shortage.as_ref().expect("asked after a file could not be made");
        let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
        error_for(&self.directory, self.segment_bytes, source)
    }

    /// Whether a segment that is cut from the log should become a spare.
    pub fn wants(&self, bytes: u64) -> bool {
        bytes == self.segment_bytes && self.ready.len() + self.asked < RECYCLED_MAX
    }

    /// Takes over a segment's file under a spare's name; the caller syncs the directory before it is written again.
    pub fn recycle(&mut self, segment: SegmentFile) -> Result<(), Error> {
        let number = self.next_number();
        let path = self.directory.join(file_name(number));
        std::fs::rename(&segment.path, &path).map_err(Error::io("rename", &segment.path))?;
        self.add(Spare { path, file: segment.file, bytes: segment.bytes });
        Ok(())
    }

    /// Waits until the helper has nothing left to do.
    #[cfg(test)]
    pub fn settle(&mut self) {
        self.top_up();
        while self.asked > 0 {
            self.receive();
        }
    }

    #[cfg(test)]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }
}

fn error_for(path: &Path, bytes: u64, source: io::Error) -> Error {
    if is_full(&source) {
        return Error::NoSpace { path: path.to_owned(), bytes, source };
    }
    Error::io("preallocation", path)(source)
}

/// Name of a spare file; while it is being filled it ends in `.new` instead.
fn file_name(number: u64) -> String {
    format!("spare-{number:016x}.tmp")
}

fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    u64::from_str_radix(name.strip_prefix("spare-")?.strip_suffix(".tmp")?, 16).ok()
}

/// Whether a file in the log's directory is a finished spare (`Some(true)`), an unfinished one (`Some(false)`) or neither.
pub(super) fn classify(name: &str) -> Option<bool> {
    let rest = name.strip_prefix("spare-")?;
    if rest.ends_with(".tmp") {
        return Some(true);
    }
    rest.ends_with(".new").then_some(false)
}

impl Helper {
    fn start(directory: &Path) -> Result<Helper, Error> {
        let (orders, inbox) = sync_channel::<Order>(SPARES);
        let (outbox, results) = sync_channel(SPARES);
        let path = directory.to_owned();
        let thread = std::thread::Builder::new()
            .name("wal-spares".to_owned())
            .spawn(move || {
                for Order { number, bytes } in inbox {
                    // The log is gone when nobody listens any more.
                    if outbox.send(make(&path, number, bytes)).is_err() {
                        break;
                    }
                }
            })
            .map_err(Error::io("start of the preallocation thread", directory))?;
        Ok(Helper { orders: Some(orders), results, thread: Some(thread) })
    }
}

fn make(directory: &Path, number: u64, bytes: u64) -> io::Result<Spare> {
    let path = directory.join(file_name(number));
    let unfinished = path.with_extension("new");
    let result = create_filled(&unfinished, bytes).and_then(|file| {
        std::fs::rename(&unfinished, &path)?;
        Ok(Spare { path, file, bytes })
    });
    if result.is_err() {
        // What it holds of the full disk is needed elsewhere; if this fails too, the next start removes it.
        drop(std::fs::remove_file(&unfinished));
    }
    result
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the helper has ended the process or was reported by its own hook.
            drop(thread.join());
        }
    }
}
