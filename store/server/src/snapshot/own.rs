//! A member's own database as a snapshot of it: copied by hard links, changed in the copy, and put in the place of the original as a
//! snapshot that came from elsewhere. Until its marker is in the log, the original is whole and in force.

use std::path::{Path, PathBuf};

use super::incoming::{checksum_of, next_name, settle_files};
use super::outgoing::{INSPECTION, remove};
use super::{Error, Manifest, Received};
use crate::backend::Backend;
use crate::directory::Directory;

/// Where the copy is changed, below the directory's `snapshots`; a start removes what was left there.
const OWN: &str = "own";

/// A copy of the database in use.
#[derive(Debug)]
pub struct OwnCopy {
    directory: Directory,
    path: PathBuf,
}

impl OwnCopy {
    /// Flushes the database and links its files.
    ///
    /// # Errors
    /// A failing disk or database.
    pub fn make(directory: &Directory, backend: &Backend) -> Result<OwnCopy, Error> {
        let path = directory.snapshots().join(OWN);
        backend.checkpoint(&path)?;
        Ok(OwnCopy { directory: directory.clone(), path })
    }

    /// Where it can be opened and changed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a snapshot of the changed copy: synced, every byte read once for its checksum, in nobody's use yet.
    ///
    /// # Errors
    /// A failing disk or database, or files that cannot be read.
    pub fn finish(&self, changed: &Backend) -> Result<Received, Error> {
        let name = next_name(&self.directory)?;
        let path = self.directory.databases().join(&name);
        // A database that was open has files which its next opening changes; a checkpoint of it has none.
        changed.checkpoint(&path)?;
        let mut manifest = Manifest::of_checkpoint(&path, INSPECTION)?;
        for entry in &mut manifest.files {
            let file = path.join(&entry.name);
            entry.checksum = Some(checksum_of(&file)?);
            std::fs::File::open(&file).and_then(|file| file.sync_all()).map_err(Error::io("sync", &file))?;
        }
        settle_files(&self.directory, name, &path, &manifest)
    }
}

impl Drop for OwnCopy {
    fn drop(&mut self) {
        remove(&self.path);
    }
}
