//! A mount namespace for the disks of a run. In the machine's own, anybody who copies the mounts just then (a container
//! runtime, say) keeps a dead file system alive, and mounting its image again would bring the dead one back.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Error;

/// Lives as long as this value; its mounts go with it, also when the test is killed: the holder ends with its input.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    pub fn create() -> Result<Namespace, Error> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", "echo made; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("run", "unshare"))?;
        let output = holder.stdout.as_mut().expect("the output is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(Error::io("read from", "unshare"))?;
        if line.trim() != "made" {
            return Err(Error::Command { command: "unshare --mount".to_owned(), output: line });
        }
        Ok(Namespace { holder })
    }

    /// A command that runs inside; it has the process id that `spawn` gives.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg("--").arg(program);
        command
    }

    /// The path by which this process, outside, reaches what stands at `path` inside.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("a workspace has an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
