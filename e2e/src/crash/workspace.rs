//! The folder of one run. It is removed at its end; what a killed run left behind is swept at the start of the next. Its servers end with it
//! (`Process`), its namespaces with their holders and the last server, and mounts and loop devices with these.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use quorate_harness::Identity;

use super::Error;
use super::disk::thaw_abandoned;

/// Begins the names of all that a run makes outside of namespaces.
const PREFIX: &str = "quorate-crash";

/// Runs of this process so far, so that parallel tests have folders of their own.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A folder `quorate-crash-PID-STARTED-N` (of the harness) below the system's temporary folder.
pub struct Workspace {
    path: PathBuf,
    host: IpAddr,
}

impl Workspace {
    pub fn create() -> Result<Workspace, Error> {
        sweep();
        let (pid, number) = (std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(Identity::own().name(PREFIX, number));
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        let [.., high, low] = pid.to_be_bytes();
        let [.., last] = number.to_be_bytes();
        // 127.128.0.0/9, which nothing else here uses: a run has ports to itself.
        let host = IpAddr::from(Ipv4Addr::new(127, 128 | high, low, last.wrapping_add(1).max(1)));
        Ok(Workspace { path, host })
    }

    /// A loopback address that no other run uses at the same time.
    pub fn host(&self) -> IpAddr {
        self.host
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What runs that are dead left in a folder: every entry whose name is or begins with the name of a workspace.
pub(crate) fn abandoned(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of_the_dead = |name: &OsStr| {
        let owner = name.to_str().and_then(|name| Identity::owner(name, PREFIX));
        owner.is_some_and(|owner| !owner.is_alive())
    };
    entries.filter(move |entry| of_the_dead(&entry.file_name())).map(|entry| entry.path())
}

/// Removes the folders of dead runs. Their servers ended with them, but for one that waits for a disk that stalls.
fn sweep() {
    for folder in abandoned(&std::env::temp_dir()) {
        thaw_abandoned(&folder);
        // What cannot be removed now is tried again by the next run.
        let _ = fs::remove_dir_all(&folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_a_dead_owner_is_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let own = Identity::own();
        let dead = Identity { started: own.started + 1, ..own };
        for name in [own.name(PREFIX, 0), dead.name(PREFIX, 0), dead.name("somebody-else", 0), format!("{PREFIX}-x")] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let left: Vec<PathBuf> = abandoned(folder.path()).collect();
        assert_eq!(left, [folder.path().join(dead.name(PREFIX, 0))]);
    }
}
