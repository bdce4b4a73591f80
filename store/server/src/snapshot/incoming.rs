//! The receiver's side: files into a directory of their own, verified and synced before anybody relies on them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use quorate_core::apply::AppliedIndex;
use quorate_core::log::SnapshotMeta;
use quorate_core::wal_format::SnapshotMarker;

use super::outgoing::{INSPECTION, remove};
use super::{Chunk, Error, FileEntry, Manifest, Progress};
use crate::backend::{self, Backend};
use crate::directory::{self, Directory, is_database_name, sync_directory};

/// Beside the database directory `<name>`: its manifest with the checksums of all files.
pub(super) const MANIFEST_SUFFIX: &str = ".manifest";

/// Left free on the volume, so that a snapshot does not take the log's space.
const SPACE_MARGIN_BYTES: u64 = 256 << 20;

/// Synced as it comes in pieces of this size: a long sync would hold up everybody else's, this member's log among them.
const SYNC_BYTES: u64 = 1 << 20;

/// A snapshot being received. It survives broken connections: the sender goes on at `progress`.
#[derive(Debug)]
pub struct Incoming {
    directory: Directory,
    name: String,
    path: PathBuf,
    /// Gets the checksum of each file as it is completed.
    manifest: Manifest,
    next: Progress,
    open: Option<OpenFile>,
    /// A file is not what was sent, or the disk failed: nothing goes on from here.
    damaged: bool,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    checksum: u32,
}

impl Incoming {
    /// Makes room for the snapshot beside the database in use.
    ///
    /// # Errors
    /// `NoSpace`, or a failing disk.
    pub fn begin(directory: &Directory, manifest: Manifest) -> Result<Incoming, Error> {
        let parent = directory.databases();
        let available = available_bytes(&parent)?;
        let needed = manifest.bytes() + SPACE_MARGIN_BYTES;
        if available < needed {
            return Err(Error::NoSpace { path: parent, needed, available });
        }
        let name = next_name(directory)?;
        let path = parent.join(&name);
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("creation", &path))?;
        let manifest = without_checksums(manifest);
        let mut incoming = Incoming {
            directory: directory.clone(),
            name,
            path,
            manifest,
            next: Progress::default(),
            open: None,
            damaged: false,
        };
        incoming.advance(Progress::default())?;
        Ok(incoming)
    }

    /// Whether this receives the snapshot that a sender offers and can go on where it stopped; else it is to be discarded.
    pub fn is_of(&self, offered: &Manifest) -> bool {
        !self.damaged && without_checksums(self.manifest.clone()) == without_checksums(offered.clone())
    }

    /// What the sender must send next.
    pub fn progress(&self) -> Progress {
        self.next
    }

    pub fn meta(&self) -> &SnapshotMeta {
        &self.manifest.meta
    }

    pub fn is_complete(&self) -> bool {
        self.manifest.file(self.next.file).is_none()
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// `Order` when it is another piece, `Checksum` when the file is not what was sent, `Chunk` when it is longer than its file, or a
    /// failing disk.
    pub fn write(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let result = self.add(chunk);
        // A piece that does not fit is refused before anything is touched.
        self.damaged |= !matches!(&result, Ok(()) | Err(Error::Order { .. } | Error::Chunk { .. }));
        result
    }

    fn add(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let Chunk { place, file_checksum, data } = chunk;
        let Progress { file, offset } = *place;
        let entry = self.manifest.file(self.next.file).filter(|_| *place == self.next);
        let Some(entry) = entry else {
            let Progress { file: expected_file, offset: expected_offset } = self.next;
            return Err(Error::Order { file, offset, expected_file, expected_offset });
        };
        let end = offset + data.len() as u64;
        if data.is_empty() || end > entry.bytes {
            return Err(Error::Chunk {
                reason: format!("it ends at {end} of {} bytes in {}", entry.bytes, entry.name),
            });
        }
        let path = self.path.join(&entry.name);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => OpenFile { file: create(&path)?, checksum: 0 },
        };
        open.file.write_all_at(data, offset).map_err(Error::io("writing", &path))?;
        open.checksum = crc32c::crc32c_append(open.checksum, data);
        if offset / SYNC_BYTES != end / SYNC_BYTES {
            open.file.sync_data().map_err(Error::io("sync", &path))?;
        }
        if end == entry.bytes {
            complete(&open, &path, &entry.name, *file_checksum)?;
            self.manifest.files[file as usize].checksum = Some(open.checksum);
        } else {
            self.open = Some(open);
        }
        self.advance(Progress { file, offset: end })
    }

    /// Moves on, creating the empty files on the way.
    fn advance(&mut self, behind: Progress) -> Result<(), Error> {
        let next = self.manifest.settle(behind);
        for number in behind.file..next.file {
            let entry = &mut self.manifest.files[number as usize];
            if entry.bytes == 0 {
                let path = self.path.join(&entry.name);
                create(&path)?.sync_all().map_err(Error::io("sync", &path))?;
                entry.checksum = Some(0);
            }
        }
        self.next = next;
        Ok(())
    }

    /// Makes everything durable and checks that it is the database which the manifest promises. After an error other than
    /// `Incomplete` it is to be discarded.
    ///
    /// # Errors
    /// `Incomplete`, a database that does not open or stands elsewhere, or a failing disk.
    pub fn finish(&mut self) -> Result<Received, Error> {
        if !self.is_complete() {
            let Progress { file, offset } = self.next;
            return Err(Error::Incomplete { file, offset });
        }
        let result = settle_files(&self.directory, self.name.clone(), &self.path, &self.manifest);
        self.damaged |= result.is_err();
        result
    }

    /// Gives up: the files go.
    pub fn discard(self) {
        remove(&self.path);
    }
}

/// Makes a snapshot of files that are synced and whose checksums are known: it must be the database that the manifest promises.
pub(super) fn settle_files(
    directory: &Directory,
    name: String,
    path: &Path,
    manifest: &Manifest,
) -> Result<Received, Error> {
    sync_directory(path)?;
    check_content(path, manifest)?;
    directory::replace(&directory.databases(), &format!("{name}{MANIFEST_SUFFIX}"), &manifest.encode())?;
    Ok(Received { directory: directory.clone(), name, meta: manifest.meta.clone() })
}

/// A snapshot whose files are verified and durable, and in nobody's use.
#[derive(Debug)]
pub struct Received {
    directory: Directory,
    name: String,
    meta: SnapshotMeta,
}

impl Received {
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// What the log must hold, durably, before `install`.
    pub fn marker(&self) -> SnapshotMarker {
        SnapshotMarker { meta: self.meta.clone(), directory: self.name.clone() }
    }

    /// Puts the snapshot's database in the place of the old one. Call it after the marker is durable; then tell the old backend
    /// `remove_when_closed`.
    ///
    /// # Errors
    /// All are fatal: the marker has discarded the old state, and the next start tries again.
    pub fn install(self, options: backend::Options) -> Result<Backend, Error> {
        install(&self.directory, &self.name, &self.meta, options)
    }

    /// Removes a snapshot that raft did not take.
    pub fn discard(self) {
        let path = self.directory.databases().join(&self.name);
        remove(&path);
        // Without its directory the manifest is swept up at the next start.
        drop(std::fs::remove_file(manifest_path(&self.directory, &self.name)));
    }
}

pub(super) fn install(
    directory: &Directory,
    name: &str,
    meta: &SnapshotMeta,
    options: backend::Options,
) -> Result<Backend, Error> {
    fail::fail_point!("snapshot::before_pointer");
    directory.set_database(name)?;
    fail::fail_point!("snapshot::after_pointer");
    let path = directory.databases().join(name);
    let backend = Backend::open(&path, options)?;
    fail::fail_point!("snapshot::after_opening");
    let (found, found_term) = backend.durable_applied()?;
    check_point(&path, AppliedIndex { index: found, term: found_term }, meta)?;
    let manifest = manifest_path(directory, name);
    std::fs::remove_file(&manifest).map_err(Error::io("removal", &manifest))?;
    tracing::info!(index = meta.index, term = meta.term, database = name, "installed a snapshot");
    Ok(backend)
}

/// Checks a received directory that a crash left between marker and pointer: every byte of it.
pub(super) fn verify(directory: &Directory, name: &str, meta: &SnapshotMeta) -> Result<(), Error> {
    let path = manifest_path(directory, name);
    let manifest = Manifest::decode(&std::fs::read(&path).map_err(Error::io("reading", &path))?)?;
    let path = directory.databases().join(name);
    for entry in &manifest.files {
        let found = checksum_of(&path.join(&entry.name))?;
        match entry.checksum {
            Some(expected) if expected == found => {}
            expected => {
                let (name, expected) = (entry.name.clone(), expected.unwrap_or(0));
                return Err(Error::Checksum { name, expected, found });
            }
        }
    }
    check_content(&path, &manifest)?;
    check_point(&path, AppliedIndex { index: manifest.meta.index, term: manifest.meta.term }, meta)
}

fn check_content(path: &Path, manifest: &Manifest) -> Result<(), Error> {
    let found = Manifest::of_checkpoint(path, INSPECTION)?;
    let applied = AppliedIndex { index: found.meta.index, term: found.meta.term };
    check_point(path, applied, &manifest.meta)?;
    if found.meta.conf_state != manifest.meta.conf_state || found.members != manifest.members {
        return Err(Error::Configuration { path: path.to_owned() });
    }
    Ok(())
}

fn check_point(path: &Path, applied: AppliedIndex, meta: &SnapshotMeta) -> Result<(), Error> {
    let AppliedIndex { index: found, term: found_term } = applied;
    let SnapshotMeta { index: expected, term: expected_term, conf_state: _ } = *meta;
    if (found, found_term) == (expected, expected_term) {
        return Ok(());
    }
    Err(Error::Point { path: path.to_owned(), found, found_term, expected, expected_term })
}

pub(super) fn manifest_path(directory: &Directory, name: &str) -> PathBuf {
    directory.databases().join(format!("{name}{MANIFEST_SUFFIX}"))
}

fn without_checksums(mut manifest: Manifest) -> Manifest {
    manifest.files.iter_mut().for_each(|FileEntry { checksum, .. }| *checksum = None);
    manifest
}

fn create(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(Error::io("creation", path))
}

fn complete(open: &OpenFile, path: &Path, name: &str, sent: Option<u32>) -> Result<(), Error> {
    match sent {
        Some(expected) if expected != open.checksum => {
            return Err(Error::Checksum { name: name.to_owned(), expected, found: open.checksum });
        }
        _ => {}
    }
    open.file.sync_all().map_err(Error::io("sync", path))
}

pub(super) fn checksum_of(path: &Path) -> Result<u32, Error> {
    let mut file = File::open(path).map_err(Error::io("opening", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut checksum = 0;
    loop {
        match file.read(&mut buffer).map_err(Error::io("reading", path))? {
            0 => return Ok(checksum),
            length => checksum = crc32c::crc32c_append(checksum, &buffer[..length]),
        }
    }
}

/// One above every database directory that exists or is pointed to: names only rise, so a marker tells new from old.
pub(super) fn next_name(directory: &Directory) -> Result<String, Error> {
    let mut highest = directory.database()?;
    let parent = directory.databases();
    for entry in std::fs::read_dir(&parent).map_err(Error::io("listing", &parent))? {
        let name = entry.map_err(Error::io("listing", &parent))?.file_name().to_string_lossy().into_owned();
        if is_database_name(&name) && name > highest {
            highest = name;
        }
    }
    let number = u64::from_str_radix(&highest, 16).expect("a database is named by 16 hexadecimal digits");
    Ok(format!("{:016x}", number + 1))
}

fn available_bytes(path: &Path) -> Result<u64, Error> {
    let statistics = nix::sys::statvfs::statvfs(path).map_err(|errno| Error::io("inspection", path)(errno.into()))?;
    Ok(statistics.blocks_available() * statistics.fragment_size())
}
