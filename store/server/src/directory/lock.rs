//! One process per directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Error;

/// An advisory lock, released when the file is closed, so also when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock in this file at once or not at all; the file says who holds it.
    pub fn take(path: &Path) -> Result<Lock, Error> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = opened.map_err(Error::writing("opening", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let directory = path.parent().unwrap_or(path).to_owned();
                return Err(Error::Locked { path: directory, holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(Error::writing("locking", path)(source)),
        }
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(Error::writing("writing", path))?;
        Ok(Lock { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.is_empty() => format!(" (pid {})", text.trim()),
        _ => String::new(),
    }
}
