//! `quorate-chaos` ended in the middle of a run: asked to stop, it ends in order and says so; killed, its servers end with it, and the
//! next run removes the rest.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::Footprint;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::Mutex;

/// The harness, three members and four holders of namespaces; a mount and a network namespace of each member and of the clients.
const SEEN: (usize, usize) = (8, 8);

/// The kernel gives the number of a namespace that is gone to the next one: runs are looked for when no other run is there.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A run that would go on for ten minutes. It is killed with this value.
struct Run {
    harness: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Run {
    /// One whose first fault strikes; all that it makes is in the folder.
    fn under_fault(folder: &Path, fault: &str) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-chaos"));
        command.args(["run", "--seconds", "600", "--members", "3", "--seed", "1", "--no-tls", "--faults", fault]);
        // The log of hours would be in the cache.
        command
            .env("TMPDIR", folder)
            .env("QUORATE_CACHE", folder.join("cache"))
            .stdout(Stdio::piped())
            .process_group(0);
        let mut harness = command.spawn().unwrap();
        let output = BufReader::new(harness.stdout.take().unwrap()).lines();
        let mut run = Run { harness, output };
        let struck = run.output.by_ref().any(|line| line.unwrap().contains(fault));
        assert!(struck, "no {fault} struck; the harness said why");
        run
    }

    fn footprint(&self, folder: &Path) -> Footprint {
        let footprint = Footprint::of_chaos(self.harness.id(), folder);
        footprint.assert_seen(SEEN);
        footprint
    }

    /// Sends the signal to its process group, as a terminal does; the exit status (none when a signal ended it) and what it said from then on.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        killpg(Pid::from_raw(self.harness.id().try_into().unwrap()), signal).unwrap();
        let said: Vec<String> = self.output.by_ref().map(Result::unwrap).collect();
        (self.harness.wait().unwrap().code(), said.join("\n"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.harness.kill();
        let _ = self.harness.wait();
    }
}

#[tokio::test]
async fn a_run_that_is_asked_to_stop_says_what_it_did_and_leaves_nothing() {
    let _one = ONE_AT_A_TIME.lock().await;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::under_fault(folder.path(), "disk-stall");
        let footprint = run.footprint(folder.path());
        let (ended, said) = run.end(signal);
        assert_eq!(ended, Some(code), "{said}");
        let summary =
            said.lines().find(|line| line.starts_with("chaos: 3 members")).unwrap_or_else(|| panic!("{said}"));
        assert!(summary.contains(&format!("interrupted by {signal}")) && summary.contains("(disk-stall "), "{said}");
        footprint.await_gone().await.unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn what_a_killed_run_started_ends_with_it_and_the_next_run_removes_the_rest() {
    let _one = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().unwrap();
    // A process that waits for a disk that stalls cannot die, and such a disk outlives its mount.
    let stalled = Run::under_fault(folder.path(), "disk-stall");
    let of_stalled = stalled.footprint(folder.path());
    assert_eq!(stalled.end(Signal::SIGKILL).0, None);

    let parted = Run::under_fault(folder.path(), "partition");
    let of_parted = parted.footprint(folder.path());
    assert_eq!(parted.end(Signal::SIGKILL).0, None);
    of_parted.await_dead().await.unwrap();
    of_stalled.await_gone().await.unwrap();
    assert!(!of_parted.remains().is_empty(), "its folder is still there");

    let last = Run::under_fault(folder.path(), "pause");
    let of_last = last.footprint(folder.path());
    assert_eq!(last.end(Signal::SIGTERM).0, Some(143));
    of_last.await_gone().await.unwrap();
    of_parted.await_gone().await.unwrap();
}
