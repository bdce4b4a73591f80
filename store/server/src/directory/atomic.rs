//! Replacing a small file whole: a crash leaves the old or the new one, and a return means the new one is durable.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Error;

const TEMPORARY: &str = ".tmp";

/// Whether a file is the unfinished half of a `replace` that a crash interrupted.
pub(super) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// Writes `directory/name` beside its place, syncs it, renames it and syncs the directory.
///
/// # Errors
/// A disk that does not take the file; the old one is still there then.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let temporary = directory.join(format!("{name}{TEMPORARY}"));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut file = opened.map_err(Error::writing("creation", &temporary))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(Error::writing("writing", &temporary))?;
    std::fs::rename(&temporary, directory.join(name)).map_err(Error::writing("renaming", &temporary))?;
    sync_directory(directory)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// A failing disk.
pub fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::writing("sync", path))
}
