//! The data directory: its layout, its lock, and the member-local file.
//!
//! ```text
//! FORMAT          version of this layout; checked before anything else is read
//! LOCK            held by the one process that uses the directory
//! member.json     what belongs to this member alone (see `member`)
//! database.json   pointer: the name of the database directory in use
//! db/<name>/      databases; more than one only while a snapshot is installed
//! wal/            the write-ahead log, unless it lies on another disk
//! snapshots/      checkpoints being sent (`out/`) and snapshots being received (`in/`)
//! ```
//!
//! Invariant: `FORMAT`, `member.json` and `database.json` are only ever replaced whole, and durably.

mod aside;
mod atomic;
mod error;
mod lock;
mod log;
mod member;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use atomic::{replace, sync_directory};
pub use error::{Error, MADE_READ_ONLY, is_full};
pub use member::{Admission, Identity, Limits, Member, Origin, Owner, Recovery, Seed, Setting, Timers, Tombstone};

use lock::Lock;

/// Version of the layout.
pub const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORD: &str = "quorate-data";
const LOCK_FILE: &str = "LOCK";
const MEMBER_FILE: &str = "member.json";
const POINTER_FILE: &str = "database.json";
const DATABASES: &str = "db";
const LOG: &str = "wal";
const SNAPSHOTS: &str = "snapshots";
const FULL_FILE: &str = "disk_full";
/// Name of a new directory's database; each installed snapshot gets the next number.
const FIRST_DATABASE: &str = "0000000000000001";
/// What a new volume holds by itself.
const LOST_AND_FOUND: &str = "lost+found";

/// A locked data directory; clones share it.
#[derive(Debug, Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    log: PathBuf,
    member: Mutex<Member>,
    /// Released with the last clone.
    _locks: Vec<Lock>,
}

/// What every format of the member-local file has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Pointer {
    directory: String,
}

impl Directory {
    /// Opens the directory, or makes a new one with a fresh disk id where nothing or an empty directory is; takes the lock and
    /// raises the boot counter, durably. `log` is `--wal-dir`; `None` = inside the directory.
    ///
    /// # Errors
    /// Anything that makes the directory unusable, each with its remedy; nothing was changed then, but for a layout half made.
    pub fn open(path: &Path, log: Option<&Path>) -> Result<Directory, Error> {
        create(path)?;
        let format = read_format(path)?;
        if format.is_none() {
            refuse_foreign_content(path)?;
        }
        let mut locks = vec![Lock::take(&path.join(LOCK_FILE))?];
        let log = log.map_or_else(|| path.join(LOG), Path::to_owned);
        if !log.starts_with(path) {
            create(&log)?;
            locks.push(Lock::take(&log.join(LOCK_FILE))?);
        }
        let member = read_member(path)?;
        if member.is_none() && path.join(DATABASES).exists() {
            return Err(Error::MemberMissing { path: path.to_owned() });
        }
        log::refuse_other(path, &log, member.as_ref())?;
        if format.is_none() {
            atomic::replace(path, FORMAT_FILE, format!("{FORMAT_WORD} {FORMAT}\n").as_bytes())?;
        }
        let mut member = member.unwrap_or_else(|| Member::born(rand::random(), unix_seconds()));
        member.boot += 1;
        write_member(path, &member)?;
        // The database's directory is made last: until it exists, a missing member file means an interrupted creation.
        create(&path.join(SNAPSHOTS))?;
        if !path.join(DATABASES).exists() {
            write_pointer(path, FIRST_DATABASE)?;
        }
        create(&path.join(DATABASES))?;
        let shared = Shared { path: path.to_owned(), log, member: Mutex::new(member), _locks: locks };
        Ok(Directory { shared: Arc::new(shared) })
    }

    /// What belongs to this member alone, as it is on disk.
    pub fn member(&self) -> Member {
        self.lock_member().clone()
    }

    fn lock_member(&self) -> MutexGuard<'_, Member> {
        // A change is built on a copy, so a panic leaves no half of it.
        self.shared.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the member-local file; durable on return. An error of `change` leaves it as it was.
    ///
    /// # Errors
    /// Those of `change`, or a disk that does not take the file.
    pub fn update(&self, change: impl FnOnce(&mut Member) -> Result<(), Error>) -> Result<(), Error> {
        let mut current = self.lock_member();
        let mut next = current.clone();
        change(&mut next)?;
        if next != *current {
            next.format = next.needed_format();
            write_member(&self.shared.path, &next)?;
            *current = next;
        }
        Ok(())
    }

    /// Binds the directory to a cluster, once: later calls with the same identity change nothing.
    ///
    /// # Errors
    /// `OtherCluster` or `OtherMember` when it is bound to another; `Removed` under a tombstone.
    pub fn bind(&self, identity: &Identity, admission: Admission, owner: Option<Owner>) -> Result<(), Error> {
        let path = self.shared.path.clone();
        self.update(|member| {
            member.refuse_other(&path, identity.cluster_id, Some(identity.member_id))?;
            if member.identity.is_none() {
                member.identity = Some(identity.clone());
                member.admission = Some(admission);
                member.owner = owner;
            }
            Ok(())
        })
    }

    /// Refuses a directory that is bound to another cluster than the flags or the caller mean.
    ///
    /// # Errors
    /// `OtherCluster`, naming both.
    pub fn check_cluster(&self, cluster_id: u64) -> Result<(), Error> {
        self.lock_member().refuse_other(&self.shared.path, cluster_id, None)
    }

    /// Notes that the first group of the log is durable. From then on an empty log is a lost one.
    ///
    /// # Errors
    /// A disk that does not take the file.
    pub fn note_log_begun(&self) -> Result<(), Error> {
        self.update(|member| {
            member.log_begun = true;
            Ok(())
        })
    }

    /// Refuses a folder without a log where one was begun, before anything is made in it: a wrong `--wal-dir` or a lost disk must not
    /// become amnesia.
    ///
    /// # Errors
    /// `LogLost`, or a folder that cannot be read.
    pub fn check_log_is_there(&self) -> Result<(), Error> {
        match log::first_segment(&self.shared.log)? {
            Some(_) => Ok(()),
            None => self.check_log(0),
        }
    }

    /// Refuses an empty log (`last_group` 0) where one was begun.
    ///
    /// # Errors
    /// `LogLost`.
    pub fn check_log(&self, last_group: u64) -> Result<(), Error> {
        if last_group == 0 && self.lock_member().log_begun {
            return Err(Error::LogLost { path: self.shared.log.clone() });
        }
        Ok(())
    }

    /// Whether this member's NOSPACE alarm was raised for a full disk, and not taken back by the process that raised it.
    pub fn is_marked_full(&self) -> bool {
        self.shared.path.join(FULL_FILE).exists()
    }

    /// Makes or removes that mark, durably. It is an empty file beside the others: a full disk has no room for more.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub fn mark_full(&self, full: bool) -> Result<(), Error> {
        let path = self.shared.path.join(FULL_FILE);
        let done = match full {
            true => OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).map(drop),
            false => std::fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        };
        done.map_err(Error::writing(if full { "creation" } else { "removal" }, &path))?;
        sync_directory(&self.shared.path)
    }

    /// Writes the tombstone of a member that was removed: raft never runs on this directory again.
    ///
    /// # Errors
    /// A disk that does not take the file.
    pub fn bury(&self, tombstone: Tombstone) -> Result<(), Error> {
        self.update(|member| {
            member.tombstone.get_or_insert(tombstone);
            Ok(())
        })
    }

    /// Renames the directory (and a log elsewhere) of a removed member, so that the volume can be used again, and returns its new
    /// name beside the old place. The process must start anew afterwards.
    ///
    /// # Errors
    /// `NotRemoved` without a tombstone, `OtherOwner` when the owner is another, or a directory that cannot be renamed.
    pub fn set_aside(&self, owner_uid: &str) -> Result<PathBuf, Error> {
        let member = self.lock_member();
        let path = &self.shared.path;
        if member.tombstone.is_none() {
            return Err(Error::NotRemoved { path: path.clone() });
        }
        let owner = member.owner.as_ref().map_or("", |owner| owner.uid.as_str());
        if owner != owner_uid {
            return Err(Error::OtherOwner { owner: owner.to_owned(), given: owner_uid.to_owned() });
        }
        aside::rename(path, &self.shared.log, &member.disk_id)
    }

    /// The data directory itself.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Where the write-ahead log lies.
    pub fn log(&self) -> &Path {
        &self.shared.log
    }

    /// Where databases lie, each in a directory of its own.
    pub fn databases(&self) -> PathBuf {
        self.shared.path.join(DATABASES)
    }

    /// Where snapshots are made and received.
    pub fn snapshots(&self) -> PathBuf {
        self.shared.path.join(SNAPSHOTS)
    }

    /// The disk id as the write-ahead log carries it.
    ///
    /// # Errors
    /// A member file whose disk id is malformed.
    pub fn disk_id(&self) -> Result<[u8; 16], Error> {
        let member = self.lock_member();
        let mut id = [0; 16];
        hex::decode_to_slice(&member.disk_id, &mut id).map_err(|error| Error::Malformed {
            path: self.shared.path.join(MEMBER_FILE),
            reason: format!("disk_id {:?}: {error}", member.disk_id),
        })?;
        Ok(id)
    }

    /// Name of the database directory in use, by the pointer file.
    ///
    /// # Errors
    /// A pointer that is missing or cannot be read.
    pub fn database(&self) -> Result<String, Error> {
        let path = self.shared.path.join(POINTER_FILE);
        let malformed = |reason| Error::Malformed { path: path.clone(), reason };
        let bytes = read_if_exists(&path)?.ok_or_else(|| malformed("it is missing".to_owned()))?;
        let pointer: Pointer = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if !is_database_name(&pointer.directory) {
            return Err(malformed(format!("directory {:?}", pointer.directory)));
        }
        Ok(pointer.directory)
    }

    /// Points to another database; durable on return.
    ///
    /// # Errors
    /// A disk that does not take the file.
    pub fn set_database(&self, name: &str) -> Result<(), Error> {
        write_pointer(&self.shared.path, name)
    }
}

fn write_pointer(path: &Path, name: &str) -> Result<(), Error> {
    assert!(is_database_name(name), "database directories are named by 16 hexadecimal digits");
    let pointer = Pointer { directory: name.to_owned() };
    let bytes = serde_json::to_vec_pretty(&pointer).expect("a struct of one string serialises");
    atomic::replace(path, POINTER_FILE, &bytes)
}

/// Whether a database directory may have this name: 16 lower-case hexadecimal digits, so that none can lead elsewhere.
pub fn is_database_name(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn unix_seconds() -> u64 {
    // A clock before 1970 makes a disk look old, no more.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// Makes a directory that only its owner may enter, or takes that right from others where it exists.
fn create(path: &Path) -> Result<(), Error> {
    if let Ok(metadata) = path.metadata() {
        if !metadata.is_dir() {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        harden(path, metadata.mode());
        return Ok(());
    }
    // Every name that is made must be durable, also those of parents that were missing.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.exists() {
        create(parent)?;
    }
    DirBuilder::new().mode(0o700).create(path).map_err(Error::writing("creation", path))?;
    sync_directory(parent)
}

fn harden(path: &Path, mode: u32) {
    if mode & 0o077 == 0 {
        return;
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)) {
        Ok(()) => {
            tracing::info!(path = %path.display(), before = format!("{mode:o}"), "closed the directory to other users")
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), %error, "other users can enter the directory");
        }
    }
}

fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::writing("reading", path)(error)),
    }
}

/// The version of the layout, checked; `None` where none is written yet.
fn read_format(path: &Path) -> Result<Option<u32>, Error> {
    let file = path.join(FORMAT_FILE);
    let Some(bytes) = read_if_exists(&file)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let version = text.trim_end().strip_prefix(FORMAT_WORD).and_then(|rest| rest.trim_start().parse().ok());
    match version {
        Some(FORMAT) => Ok(version),
        Some(found) => Err(Error::Future { path: path.to_owned(), found, known: FORMAT }),
        None => Err(Error::Malformed { path: file, reason: format!("it says {text:?}") }),
    }
}

fn refuse_foreign_content(path: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(path).map_err(Error::writing("listing", path))? {
        let name = entry.map_err(Error::writing("listing", path))?.file_name();
        let name = name.to_string_lossy();
        let ours = name == LOCK_FILE || name == LOST_AND_FOUND || atomic::is_temporary(&name) || name == LOG;
        if name == "member" {
            return Err(Error::Etcd { path: path.to_owned() });
        }
        if !ours {
            return Err(Error::Foreign { path: path.to_owned(), found: name.into_owned() });
        }
    }
    Ok(())
}

fn read_member(path: &Path) -> Result<Option<Member>, Error> {
    let file = path.join(MEMBER_FILE);
    let Some(bytes) = read_if_exists(&file)? else { return Ok(None) };
    let malformed = |reason| Error::Malformed { path: file.clone(), reason };
    // A later format may have any fields.
    let Head { format } = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    if !(1..=member::FORMAT).contains(&format) {
        return Err(Error::Future { path: file, found: format, known: member::FORMAT });
    }
    let member: Member = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    Ok(Some(member))
}

fn write_member(path: &Path, member: &Member) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(member).expect("a member file has string keys only");
    bytes.push(b'\n');
    atomic::replace(path, MEMBER_FILE, &bytes)
}
