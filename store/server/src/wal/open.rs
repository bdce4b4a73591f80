//! Opening: finds the segments, scans them, drops a torn tail and makes the log ready to be continued.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_core::log::{HardState, Index};
use quorate_core::wal_format::{LogIndex, Recovery, Scan, SegmentName, SegmentStart, SnapshotMarker, TornTail};

use super::reader::{Contents, Shared};
use super::segment::{self, SegmentFile};
use super::spares::{Spares, classify};
use super::{Error, Options, Wal};

/// What a log held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub hard_state: HardState,
    /// `last_index + 1` when the log is empty.
    pub first_index: Index,
    /// 0 in a new log.
    pub last_index: Index,
    /// Persisted commit: the highest in any group that remains.
    pub commit: Index,
    /// What the process may have answered before it died; at least `commit`. Serve nobody before it is applied.
    pub hinted_commit: Index,
    /// Number of the last group; 0 in a new log.
    pub last_group: u64,
    /// The newest snapshot marker, to be compared with what the database pointer says.
    pub marker: Option<SnapshotMarker>,
    /// The unacknowledged group that was dropped, already erased and logged.
    pub torn: Option<TornTail>,
}

/// The files of a log's directory.
#[derive(Default)]
struct Listing {
    segments: Vec<SegmentName>,
    spares: Vec<PathBuf>,
    unfinished: Vec<PathBuf>,
}

pub(super) fn open(directory: &Path, options: Options, durable_applied: Index) -> Result<(Wal, Recovered), Error> {
    create(directory)?;
    let listing = list(directory)?;
    let recovery = scan(directory, &listing.segments, options, durable_applied)?;
    for path in &listing.unfinished {
        std::fs::remove_file(path).map_err(Error::io("removal", path))?;
    }
    let directory_handle = File::open(directory).map_err(Error::io("opening", directory))?;
    let begun = listing.segments.last().map_or(0, |newest| newest.seq);
    let spares = Spares::open(directory, options.segment_bytes, begun, listing.spares)?;
    let Some(recovery) = recovery else {
        let wal = begin_log(directory, directory_handle, options, spares)?;
        return Ok((wal, Recovered::nothing()));
    };
    let segments = open_segments(directory, &recovery)?;
    let current = Arc::clone(segments.back().expect("a recovery has read at least one segment"));
    if let Some(torn) = &recovery.torn {
        tracing::warn!(
            file = %torn.file, offset = torn.offset, bad_offset = torn.bad_offset, group = torn.group, reason = %torn.fault,
            "dropped the torn tail of the WAL: a group that was never acknowledged"
        );
        // Left alone, its records could one day be taken for those of a later group.
        current.erase(torn.offset)?;
    }
    if options.fsync {
        settle(&current, &recovery)?;
        directory_handle.sync_all().map_err(Error::io("sync", directory))?;
    }
    Ok(assemble(directory, directory_handle, options, spares, current, segments, recovery))
}

/// Makes the last group durable before anybody counts on it: a process that was killed between write and sync left it in the page
/// cache alone, and after a failed sync the kernel may take its pages for clean, so they are written again. Every group before it was
/// synced before it was written.
fn settle(current: &SegmentFile, recovery: &Recovery) -> Result<(), Error> {
    let bytes = usize::try_from(recovery.tail.offset - recovery.last_group).expect("a group fits into memory");
    let mut group = vec![0; bytes];
    let read = current.file.read_exact_at(&mut group, recovery.last_group);
    read.map_err(Error::io("reading", &current.path))?;
    current.write(&group, recovery.last_group)?;
    current.sync()
}

fn assemble(
    directory: &Path,
    directory_handle: File,
    options: Options,
    spares: Spares,
    current: Arc<SegmentFile>,
    segments: VecDeque<Arc<SegmentFile>>,
    recovery: Recovery,
) -> (Wal, Recovered) {
    let Recovery { hard_state, commit, hint, marker, torn, index, segments: _, tail, last_group: _ } = recovery;
    let recovered = Recovered {
        hard_state,
        first_index: index.first(),
        last_index: index.last(),
        commit,
        hinted_commit: hint,
        last_group: tail.group,
        marker,
        torn,
    };
    let wal = Wal {
        directory: directory.to_owned(),
        directory_handle,
        options,
        current,
        tail,
        hard_state,
        commit,
        // Forgotten, so that the first hint is written again behind the tail, where a torn group may have been erased.
        hint: commit,
        shared: Arc::new(Shared::new(Contents { index, segments, discarded_below: 0 })),
        spares,
        failed: None,
        buffer: Vec::new(),
        locations: Vec::new(),
    };
    (wal, recovered)
}

impl Recovered {
    fn nothing() -> Recovered {
        Recovered {
            hard_state: HardState::default(),
            first_index: 1,
            last_index: 0,
            commit: 0,
            hinted_commit: 0,
            last_group: 0,
            marker: None,
            torn: None,
        }
    }
}

/// The first segment of a new log.
fn begin_log(directory: &Path, directory_handle: File, options: Options, mut spares: Spares) -> Result<Wal, Error> {
    let start = SegmentStart {
        name: SegmentName { seq: 1, base: 1 },
        id: segment::random_id(),
        identity: options.identity,
        previous_term: 0,
        hard_state: HardState::default(),
        commit: 0,
        hint: 0,
    };
    let mut buffer = Vec::new();
    let spare = spares.take(0)?;
    let (file, tail) = segment::begin(directory, spare, &start, None, &mut buffer)?;
    directory_handle.sync_all().map_err(Error::io("sync", directory))?;
    spares.top_up();
    let current = Arc::new(file);
    let contents =
        Contents { index: LogIndex::new(1, 0), segments: VecDeque::from([Arc::clone(&current)]), discarded_below: 0 };
    Ok(Wal {
        directory: directory.to_owned(),
        directory_handle,
        options,
        current,
        tail,
        hard_state: HardState::default(),
        commit: 0,
        hint: 0,
        shared: Arc::new(Shared::new(contents)),
        spares,
        failed: None,
        buffer,
        locations: Vec::new(),
    })
}

fn create(directory: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(Error::io("creation", directory))?;
    let parent = directory.parent().unwrap_or(directory);
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(Error::io("sync", parent))
}

fn list(directory: &Path) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(directory).map_err(Error::io("listing", directory))? {
        let entry = entry.map_err(Error::io("listing", directory))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match (SegmentName::parse(&name), classify(&name)) {
            (Some(segment), _) => listing.segments.push(segment),
            (None, Some(true)) => listing.spares.push(entry.path()),
            (None, Some(false)) => listing.unfinished.push(entry.path()),
            // Taken by whoever opened the data directory, when the log lies elsewhere.
            (None, None) if name == "LOCK" => {}
            (None, None) => tracing::warn!(file = %entry.path().display(), "ignored a file that is not the WAL's"),
        }
    }
    listing.segments.sort_unstable();
    listing.spares.sort_unstable();
    Ok(listing)
}

fn scan(
    directory: &Path,
    segments: &[SegmentName],
    options: Options,
    durable_applied: Index,
) -> Result<Option<Recovery>, Error> {
    let mut scan = Scan::new(options.identity);
    let mut bytes = Vec::new();
    for (position, name) in segments.iter().enumerate() {
        let path = directory.join(name.to_string());
        bytes.clear();
        let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(Error::io("reading", &path))?;
        scan.segment(*name, &bytes, position + 1 == segments.len())?;
    }
    Ok(scan.finish(durable_applied)?)
}

fn open_segments(directory: &Path, recovery: &Recovery) -> Result<VecDeque<Arc<SegmentFile>>, Error> {
    let open = |scanned: &quorate_core::wal_format::ScannedSegment| {
        let path = directory.join(scanned.name.to_string());
        let file = segment::open(&path).map_err(Error::io("opening", &path))?;
        let bytes = file.metadata().map_err(Error::io("inspection", &path))?.len();
        Ok(Arc::new(SegmentFile { name: scanned.name, id: scanned.id, path, file, bytes }))
    };
    recovery.segments.iter().map(open).collect()
}
