//! A program of the cluster: started in its cgroup, with its log and its pid file, ended with SIGKILL.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use quorate_harness::Identity;

use super::cgroup::Cgroup;
use super::error::{Error, Result, io};
use super::layout::Layout;

/// How much of a log an error shows.
const TAIL_BYTES: u64 = 1_500;

/// Enters each cgroup named by the first arguments (their count comes first) and then becomes the program, so that no
/// process of ours is ever outside of its group.
const ENTER_AND_EXEC: &str =
    r#"n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 > "$1" || exit 125; shift; n=$((n-1)); done; exec "$@""#;

/// A running program. Dropping it leaves the program running: the cgroup ends it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    pid_file: PathBuf,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Names the log and the pid file.
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Program {
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), program: program.into(), arguments: Vec::new(), environment: Vec::new() }
    }

    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it by `spawn`, which chooses the namespaces that the new process is born in. Log and pid file are the
    /// caller's: a node sees other files at their paths.
    pub fn start(
        &self,
        layout: &Layout,
        cgroup: &Cgroup,
        spawn: impl FnOnce(&mut Command) -> Result<Child>,
    ) -> Result<Process> {
        let log = layout.log(&self.name);
        let file = OpenOptions::new().create(true).append(true).open(&log).map_err(io("open the log", &log))?;
        let errors = file.try_clone().map_err(io("open the log", &log))?;
        let entries = cgroup.entries();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", ENTER_AND_EXEC, &self.name])
            .arg(entries.len().to_string())
            .args(entries)
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            // Ctrl-C in a terminal ends the harness, and the harness ends its cluster.
            .process_group(0);
        let child = spawn(&mut command)?;
        let pid_file = layout.pid_file(&self.name);
        let identity = Identity::of(child.id()).map(|identity| identity.to_string()).unwrap_or_default();
        fs::write(&pid_file, identity).map_err(io("write", &pid_file))?;
        Ok(Process { name: self.name.clone(), child, log, pid_file })
    }
}

impl Process {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// `kill -9`, and its entry in the process table is gone when this returns.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().map_err(io("kill", &self.name))?;
        self.child.wait().map_err(io("wait for", &self.name))?;
        match fs::remove_file(&self.pid_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("delete", &self.pid_file)(error)),
            _ => Ok(()),
        }
    }

    /// An error with the end of the log if the program has ended.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait().map_err(io("wait for", &self.name))? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> Error {
        Error::Ended { name: self.name.clone(), status, log: self.log.clone(), tail: tail(&self.log) }
    }
}

/// Runs a command to its end and returns what it printed; an error with its messages if it failed.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(io("start", command.get_program()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command { command: shown, status: output.status, stderr })
}

/// The end of a log file, for an error message.
pub fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(cannot be read: {error})"))
}
