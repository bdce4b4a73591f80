//! One running server as a process: signals and what they must have done when a call returns, and its log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_harness::{Status, tie};

use super::Error;

/// Stopping a process takes microseconds; this only bounds the wait.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at a process that is to end.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The lines of a log that an error shows.
const LOG_TAIL_LINES: usize = 25;

/// A process that is killed when this value goes, and when the thread that started it ends: a run starts its members from the thread that
/// blocks on it (see [`quorate_harness::tie`]).
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts the command; its output is added to the log. The flags alone say how a server runs: variables that it would
    /// read are taken away.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Process, Error> {
        let output = File::options().create(true).append(true).open(log).map_err(Error::io("open", log))?;
        let errors = output.try_clone().map_err(Error::io("open", log))?;
        for (name, _) in std::env::vars_os() {
            if ["QUORATE_", "ETCD_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        let program = PathBuf::from(command.get_program());
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = tie(&mut command).spawn().map_err(Error::io("start", program))?;
        Ok(Process { name: name.to_owned(), child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL, and the process is gone when this returns.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks the process to end by SIGTERM and waits for it; `None` if it was still there after `within`. One that was started a moment
    /// ago gets the signal when it handles it: before, the kernel would end it.
    pub async fn terminate(&mut self, within: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        let mut asked = false;
        while started.elapsed() < within {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if !asked && self.handles_sigterm() {
                asked = kill(self.pid(), Signal::SIGTERM).is_ok();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    }

    /// Stops the process where it stands: from here no thread of it runs a further instruction, so no answer leaves it.
    /// A thread inside a system call stays there, and whatever the call comes to is never seen.
    pub async fn freeze(&self) -> Result<(), Error> {
        // A process that has ended by itself cannot be stopped, and need not be.
        if kill(self.pid(), Signal::SIGSTOP).is_err() {
            return Ok(());
        }
        let started = Instant::now();
        while !stands_still(self.pid()) {
            if started.elapsed() > FREEZE_TIMEOUT {
                return Err(Error::NotFrozen { member: self.name.clone(), waited: FREEZE_TIMEOUT });
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Lets a stopped process go on.
    pub fn thaw(&self) {
        // It fails when the process has ended, which leaves nothing to go on.
        let _ = kill(self.pid(), Signal::SIGCONT);
    }

    /// One that has ended in this moment handles nothing; the next look sees that.
    fn handles_sigterm(&self) -> bool {
        Status::of(self.id()).and_then(|status| status.handles(Signal::SIGTERM)).unwrap_or(false)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id of Linux is below 2^22"))
    }

    fn end(&mut self) {
        // The process may have ended by itself (a disk without power), which leaves nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether every thread of a process is stopped, dead or inside an uninterruptible system call (states T, Z, X and D).
fn stands_still(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(status) = fs::read_to_string(thread.path().join("stat")) else { return true };
        // "PID (NAME) STATE …", and the name may hold anything.
        let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| "TtZXD".contains(state))
    })
}

/// The binary under test: `$QUORATE_BIN`, or `quorate` of the same build as this program or test.
pub fn server_binary() -> Result<PathBuf, Error> {
    let path = match std::env::var_os("QUORATE_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let this = std::env::current_exe().map_err(Error::io("find", "this program's own binary"))?;
            // target/PROFILE/NAME, or target/PROFILE/deps/NAME-HASH of a test
            let folder = this.parent().expect("a program stands in a folder");
            let profile = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
            profile.join("quorate")
        }
    };
    if path.is_file() { Ok(path) } else { Err(Error::NoBinary(path)) }
}

/// The end of a log.
pub fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
