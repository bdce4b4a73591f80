//! Opening a member's storage: the database that counts, the log that continues it, and the end of an installation that a crash
//! interrupted.

use std::path::Path;

use quorate_core::log::Index;
use quorate_core::wal_format::SnapshotMarker;

use super::incoming::{install, manifest_path, verify};
use crate::backend::{self, Backend};
use crate::directory::{self, Directory};
use crate::wal::{self, Recovered, Wal};

/// Why a member does not start on its directory.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] directory::Error),
    #[error(transparent)]
    Backend(#[from] backend::OpenError),
    #[error("the database cannot be read: {0}")]
    Read(#[from] quorate_core::backend::Error),
    #[error(transparent)]
    Wal(#[from] wal::Error),
    #[error(
        "the log continues a snapshot at entry {index}, whose database {} is missing; rebuild this member from the others",
        .path.display()
    )]
    SnapshotMissing { index: Index, path: std::path::PathBuf },
    #[error(
        "the log continues a snapshot at entry {index}, whose database cannot be used: {source}; rebuild this member from the others"
    )]
    SnapshotBad { index: Index, source: super::Error },
    #[error("the snapshot at entry {index} cannot be installed yet: {source}")]
    SnapshotWaits { index: Index, source: super::Error },
    #[error(
        "the database {} ends at entry {applied}, before the snapshot at {index} that it was made of; rebuild this member from the \
         others",
        .path.display()
    )]
    DatabaseOld { path: std::path::PathBuf, applied: Index, index: Index },
}

impl StartError {
    /// Whether the disk is full, and opening may be tried anew when it has room.
    pub fn is_no_space(&self) -> bool {
        match self {
            StartError::Directory(error) => error.is_no_space(),
            StartError::Backend(error) => error.is_no_space(),
            StartError::Wal(error) => error.opening_lacks_space(),
            StartError::SnapshotWaits { .. } => true,
            _ => false,
        }
    }
}

impl StartError {
    /// Whether what is on disk is refused for good: no other try changes it.
    pub fn is_refusal(&self) -> bool {
        match self {
            StartError::Directory(error) => error.is_refusal(),
            StartError::Backend(error) => error.is_refusal(),
            StartError::Read(error) => backend::is_corruption(&error.reason),
            StartError::Wal(error) => error.is_refusal(),
            StartError::SnapshotMissing { .. } | StartError::DatabaseOld { .. } => true,
            StartError::SnapshotBad { source, .. } => source.is_refusal(),
            StartError::SnapshotWaits { .. } => false,
        }
    }
}

/// Everything that a member has on disk, open.
pub struct Storage {
    pub backend: Backend,
    pub wal: Wal,
    /// What the log held. A marker in it is installed.
    pub recovered: Recovered,
}

impl Storage {
    /// Opens the database that the pointer names and the log; completes an installation whose marker is durable, and removes what
    /// earlier runs left: snapshots half received or being sent, replaced databases.
    ///
    /// # Errors
    /// A directory, database or log that must not be used; each error names the remedy. Nothing was removed then.
    pub fn open(directory: &Directory, database: backend::Options, log: wal::Options) -> Result<Storage, StartError> {
        let name = directory.database()?;
        let path = directory.databases().join(&name);
        let mut backend = Backend::open(&path, database)?;
        // RocksDB syncs what is in a new database, not its name.
        directory::sync_directory(&directory.databases())?;
        let (applied, _) = backend.durable_applied()?;
        directory.check_log_is_there()?;
        let (wal, recovered) = Wal::open(directory.log(), log, applied)?;
        directory.check_log(recovered.last_group)?;
        match &recovered.marker {
            // Names of databases rise, so a marker's is below, at, or above the pointer's: past, done, or interrupted.
            Some(marker) if marker.directory > name => backend = complete(directory, marker, backend, database)?,
            Some(marker) if marker.directory == name && applied < marker.meta.index => {
                return Err(StartError::DatabaseOld { path, applied, index: marker.meta.index });
            }
            _ => {}
        }
        remove_leftovers(directory);
        Ok(Storage { backend, wal, recovered })
    }
}

/// Installs the snapshot of a durable marker; `old` is the database that it replaces.
fn complete(
    directory: &Directory,
    marker: &SnapshotMarker,
    old: Backend,
    options: backend::Options,
) -> Result<Backend, StartError> {
    let SnapshotMarker { meta, directory: name } = marker;
    let path = directory.databases().join(name);
    if !directory::is_database_name(name) || !path.is_dir() || !manifest_path(directory, name).exists() {
        return Err(StartError::SnapshotMissing { index: meta.index, path });
    }
    let bad = |source: super::Error| match source.is_no_space() {
        true => StartError::SnapshotWaits { index: meta.index, source },
        false => StartError::SnapshotBad { index: meta.index, source },
    };
    verify(directory, name, meta).map_err(bad)?;
    drop(old);
    install(directory, name, meta, options).map_err(bad)
}

/// Removes all databases but the one in use, and all snapshots: no transfer survives a restart.
fn remove_leftovers(directory: &Directory) {
    let Ok(current) = directory.database() else { return };
    remove_all_but(&directory.databases(), &current);
    remove_all_but(&directory.snapshots(), "");
}

fn remove_all_but(parent: &Path, kept: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name() == kept {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Ok(()) => tracing::info!(path = %path.display(), "removed what an earlier run left"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "what an earlier run left was not removed"),
        }
    }
}
