//! The sender's side: a checkpoint, made of hard links, and its files as chunks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::chunk::SENT_BYTES_MAX;
use super::{Chunk, Error, Manifest, Progress};
use crate::backend::{self, Backend};
use crate::directory::Directory;

/// Where checkpoints lie while they are sent, below the directory's `snapshots`.
pub(super) const OUTGOING: &str = "out";

/// Reading a manifest needs no large cache.
pub(super) const INSPECTION: backend::Options =
    backend::Options { memory_bytes: 16 << 20, compaction_threads: 1, write_bytes_per_second: 1 << 20 };

/// A checkpoint to be sent, to any number of followers; its files go when it is dropped.
#[derive(Debug)]
pub struct Outgoing {
    path: PathBuf,
    manifest: Manifest,
}

impl Outgoing {
    /// Flushes the database and links its files. Blocks for the flush; the database goes on meanwhile.
    ///
    /// # Errors
    /// A failing disk or database.
    pub fn build(backend: &Backend, directory: &Directory) -> Result<Outgoing, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let parent = directory.snapshots().join(OUTGOING);
        std::fs::create_dir_all(&parent).map_err(Error::io("creation", &parent))?;
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        backend.checkpoint(&path)?;
        // From here on an early return drops the checkpoint, too.
        let mut outgoing = Outgoing { manifest: empty(), path };
        outgoing.manifest = Manifest::of_checkpoint(&outgoing.path, INSPECTION)?;
        Ok(outgoing)
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files from `progress` on, in pieces of at most `SENT_BYTES_MAX`; the caller throttles.
    pub fn chunks(&self, progress: Progress) -> Chunks<'_> {
        Chunks { outgoing: self, next: self.manifest.settle(progress), open: None }
    }
}

fn empty() -> Manifest {
    Manifest { meta: quorate_core::log::SnapshotMeta::default(), members: Vec::new(), files: Vec::new() }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes files that nobody needs; a failure costs space until the next start.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "a snapshot's files were not removed");
    }
}

/// Pieces of a snapshot, in order. After an error it ends.
#[derive(Debug)]
pub struct Chunks<'a> {
    outgoing: &'a Outgoing,
    next: Progress,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// crc32c of what was read so far; `None` when reading did not begin at the start.
    checksum: Option<u32>,
}

impl Iterator for Chunks<'_> {
    type Item = Result<Chunk, Error>;

    fn next(&mut self) -> Option<Result<Chunk, Error>> {
        let entry = self.outgoing.manifest.file(self.next.file)?;
        let path = self.outgoing.path.join(&entry.name);
        let result = self.read(&path, entry.bytes);
        if result.is_err() {
            self.next.file = u32::MAX;
        }
        Some(result)
    }
}

impl Chunks<'_> {
    fn read(&mut self, path: &Path, file_bytes: u64) -> Result<Chunk, Error> {
        let place = self.next;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => OpenFile {
                file: File::open(path).map_err(Error::io("opening", path))?,
                checksum: (place.offset == 0).then_some(0),
            },
        };
        let length = usize::try_from(file_bytes - place.offset).unwrap_or(usize::MAX).min(SENT_BYTES_MAX);
        let mut data = vec![0; length];
        open.file.read_exact_at(&mut data, place.offset).map_err(Error::io("reading", path))?;
        open.checksum = open.checksum.map(|checksum| crc32c::crc32c_append(checksum, &data));
        let behind = Progress { offset: place.offset + length as u64, ..place };
        self.next = self.outgoing.manifest.settle(behind);
        let file_checksum = if self.next.file == place.file {
            self.open = Some(open);
            None
        } else {
            open.checksum
        };
        Ok(Chunk { place, file_checksum, data: Bytes::from(data) })
    }
}
