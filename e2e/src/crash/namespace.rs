//! A mount namespace for the disks of a run, with a network namespace beside it where a member has one. In the machine's
//! own, anybody who copies the mounts just then (a container runtime, say) keeps a dead file system alive, and mounting its
//! image again would bring the dead one back.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Error;
use super::disk::run;

/// Lives as long as this value; its mounts go with it, also when the test is killed: the holder ends with its input.
pub struct Namespace {
    holder: Child,
    with_network: bool,
}

impl Namespace {
    /// A mount namespace.
    pub fn create() -> Result<Namespace, Error> {
        Namespace::make(false)
    }

    /// A mount namespace and a network namespace, in which nothing but a loopback is up.
    pub fn create_with_network() -> Result<Namespace, Error> {
        Namespace::make(true)
    }

    fn make(with_network: bool) -> Result<Namespace, Error> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(with_network.then_some("--net"))
            .args(["sh", "-c", "echo made; exec cat"])
            // Ctrl-C in a terminal is for the harness alone, which needs its namespaces until the members have ended.
            .process_group(0)
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
        let namespace = Namespace { holder, with_network };
        if with_network {
            run(namespace.command("ip").args(["link", "set", "lo", "up"]))?;
        }
        Ok(namespace)
    }

    /// A command that runs inside; it has the process id that `spawn` gives.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        if self.with_network {
            command.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        }
        command.arg("--").arg(program);
        command
    }

    /// A process that is inside as long as this value lives.
    pub fn holder(&self) -> u32 {
        self.holder.id()
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
