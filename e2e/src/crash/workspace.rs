//! The folder of one run. It is removed at its end; what a killed run left behind, processes included, is swept at the
//! start of the next. Mounts live in the run's namespace and go with its last process.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;
use super::disk::thaw;

const PREFIX: &str = "quorate-crash-";

/// Runs of this process so far, so that parallel tests have folders of their own.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A folder `quorate-crash-PID-N` below the system's temporary folder.
pub struct Workspace {
    path: PathBuf,
    host: IpAddr,
}

impl Workspace {
    pub fn create() -> Result<Workspace, Error> {
        sweep();
        let (pid, number) = (std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let name = format!("{PREFIX}{pid}-{number}");
        let path = std::env::temp_dir().join(name);
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
        clear(&self.path);
    }
}

/// Removes the folders of runs whose process is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            clear(&entry.path());
        }
    }
}

/// Ends the processes that run in a folder and removes it.
fn clear(folder: &Path) {
    for pid in processes_of(folder) {
        // A process that waits for a stalled disk does not die.
        for mount in fs::read_dir(format!("/proc/{pid}/root{}", folder.display())).into_iter().flatten().flatten() {
            if mount.path().is_dir() {
                thaw(&mount.path());
            }
        }
        // It may have ended by itself in between, which is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = fs::remove_dir_all(folder);
}

/// Processes one of whose arguments names the folder.
fn processes_of(folder: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let wanted = format!("{}/", folder.display());
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut arguments = arguments.split(|byte| *byte == 0);
            let program = arguments
                .next()
                .and_then(|path| Path::new(&*String::from_utf8_lossy(path)).file_name().map(OsStr::to_owned));
            program.as_deref() == Some(OsStr::new("quorate"))
                && arguments.any(|argument| String::from_utf8_lossy(argument).contains(&wanted))
        })
        .collect()
}
