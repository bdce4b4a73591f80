//! Gives the directory of a removed member, and its log's when that lies elsewhere, another name beside the old one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Error, sync_directory};

/// Renames both, the log first: a directory that is new must not find the log of the one before. Returns the directory's new name.
///
/// # Errors
/// A directory that cannot be renamed; the same call may be repeated, also after a crash.
pub(super) fn rename(path: &Path, log: &Path, disk_id: &str) -> Result<PathBuf, Error> {
    let suffix = format!(".set-aside-{disk_id}");
    if !log.starts_with(path) && log.exists() {
        let (log, name) = whole(log, &suffix)?;
        // After a crash between the two the log is aside already, and this is the empty folder that the start since then made.
        if !log.with_file_name(&name).exists() {
            give_name(&log, &name)?;
        }
    }
    let (path, name) = whole(path, &suffix)?;
    give_name(&path, &name)?;
    Ok(PathBuf::from(name))
}

/// The whole path of a directory, and the name that it gets.
fn whole(path: &Path, suffix: &str) -> Result<(PathBuf, OsString), Error> {
    let path = path.canonicalize().map_err(Error::writing("renaming", path))?;
    let mut name = path.file_name().ok_or_else(|| Error::NotADirectory { path: path.clone() })?.to_owned();
    name.push(suffix);
    Ok((path, name))
}

fn give_name(path: &Path, name: &OsString) -> Result<(), Error> {
    let renamed = std::fs::rename(path, path.with_file_name(name));
    renamed.map_err(|source| Error::SetAside { path: path.to_owned(), source })?;
    sync_directory(path.parent().unwrap_or(path))
}
