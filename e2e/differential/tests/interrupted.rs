//! `quorate-differential` ended in the middle of a run: asked to stop, it ends in order and says so; killed, its servers end with it.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_harness::Identity;

/// Servers start within a second and end within milliseconds; a machine that is busy with other tests may need longer.
const WITHIN: Duration = Duration::from_secs(60);

/// A judge that would go on for ten minutes; it is killed with this value.
struct Judge(Child);

impl Judge {
    fn start(folder: &Path) -> Judge {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-differential"));
        command.args(["--duration", "600", "--first-seed", "1"]).env("TMPDIR", folder);
        Judge(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Its servers, once both sides run.
    async fn servers(&self) -> Vec<Identity> {
        let file = format!("/proc/{0}/task/{0}/children", self.0.id());
        let mut servers = Vec::new();
        wait_until(|| {
            let children = fs::read_to_string(&file).unwrap();
            servers = children.split(' ').filter_map(|pid| Identity::of(pid.parse().ok()?)).collect();
            servers.len() >= 2
        })
        .await;
        servers
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn wait_until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < WITHIN, "it did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_judge_that_is_asked_to_stop_says_what_it_compared_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut judge = Judge::start(folder.path());
    let mut output = BufReader::new(judge.0.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap().starts_with("first seed 1")), "past findings were not replayed");
    let servers = judge.servers().await;
    judge.signal(Signal::SIGTERM);
    let said: Vec<String> = output.map(Result::unwrap).collect();
    assert_eq!(judge.0.wait().unwrap().code(), Some(143), "{said:?}");
    assert!(said.iter().any(|line| line.ends_with("0 differences, interrupted by SIGTERM")), "{said:?}");
    wait_until(|| !servers.iter().any(Identity::is_alive)).await;
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_servers_of_a_killed_judge_end_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut judge = Judge::start(folder.path());
    let servers = judge.servers().await;
    judge.signal(Signal::SIGKILL);
    judge.0.wait().unwrap();
    wait_until(|| !servers.iter().any(Identity::is_alive)).await;
}
