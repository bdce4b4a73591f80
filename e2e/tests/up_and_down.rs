//! `make up` and `make down` themselves, with images of the dev profile and in a folder of their own: from nothing to a
//! `QuorateCluster` of three that answers on three nodes, what a person is told to do with it, and to nothing again.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use common::{Error, Footprint, folder, local, machine};
use futures::FutureExt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use quorate_e2e::kubernetes::{Layout, State, run};
use quorate_e2e::scenario::{Outcome, Runner};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// A client's first answer through a busy machine comes in a second or two.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The transcript of a put, a get and a watch, which ends what `make up` does before it says how to go on.
const TRANSCRIPT: [&str; 14] = [
    "$ quoratectl put greeting hello",
    "OK",
    "$ quoratectl get greeting",
    "greeting",
    "hello",
    "$ quoratectl watch greeting --rev=1 &",
    "PUT",
    "greeting",
    "hello",
    "$ quoratectl put greeting \"hello again\"",
    "OK",
    "PUT",
    "greeting",
    "hello again",
];

#[tokio::main]
async fn main() -> ExitCode {
    let mut runner = Runner::from_arguments();
    let before = machine();
    let local = Local { folder: folder("up"), images: folder("images") };
    let mut hints = Vec::new();
    runner.always("make_up_shows_a_put_a_get_and_a_watch_of_three_members", up(&local, &mut hints).boxed()).await;
    if !hints.is_empty() {
        runner.run("one_member_stands_on_each_node", spread(&local).boxed()).await;
        runner.run("the_status_names_all_that_runs", status(&local).boxed()).await;
        runner.run("what_is_said_about_going_on_works_word_for_word", go_on(&local, &hints).boxed()).await;
        runner.always("make_down_leaves_nothing_behind", down(&local, &hints, before).boxed()).await;
    }
    runner.finish()
}

/// The cluster of this test; it is taken down also when a step fails.
struct Local {
    folder: PathBuf,
    images: PathBuf,
}

impl Local {
    /// `make` of a target from the sources that this test was built from, with what was built beside it.
    fn make(&self, target: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_quorate-local")).ancestors().nth(2);
        let mut command = Command::new("make");
        command.args(["--no-print-directory", "-C", concat!(env!("CARGO_MANIFEST_DIR"), "/.."), target]);
        command.args(["NODES=3", "PROFILE=dev", &format!("IMAGES={}", self.images.display())]);
        command.env("QUORATE_LOCAL_DIR", &self.folder).env("QUORATE_IN_PLACE", "1");
        command.env("CARGO_TARGET_DIR", built.expect("a program stands in target/PROFILE/"));
        // Those of the `make test` that this may run under.
        command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        command
    }

    fn command(&self, name: &str) -> Command {
        local(&self.folder, name)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Err(error) = run(&mut self.command("down")) {
            eprintln!("the cluster was not taken down: {error}");
        }
    }
}

async fn up(local: &Local, hints: &mut Vec<String>) -> Outcome {
    let shown = run(&mut local.make("up"))?;
    println!("{shown}");
    let transcript = shown.find(TRANSCRIPT[0]).ok_or("no transcript")?;
    let lines: Vec<&str> = shown[transcript..].lines().collect();
    assert_eq!(lines[..TRANSCRIPT.len()], TRANSCRIPT);
    let (title, rest) = lines[TRANSCRIPT.len()..].split_at(2);
    assert_eq!(title, ["", "Go on with"]);
    hints.extend(rest.iter().map(|line| line.trim().to_owned()));
    Ok(())
}

async fn spread(local: &Local) -> Outcome {
    let pods = ["get", "pods", "-l", "quorate.io/cluster=main", "-o", "jsonpath={.items[*].spec.nodeName}"];
    let nodes = run(local.command("kubectl").arg("--").args(pods))?;
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node1", "node2", "node3"]);
    Ok(())
}

async fn status(local: &Local) -> Outcome {
    let shown = run(&mut local.command("status"))?;
    println!("{shown}");
    let field = |name: &str| {
        let mut lines = shown.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().map(|rest| rest.trim().to_owned()).unwrap_or_default()
    };
    assert_eq!(field("Cluster "), "ready");
    assert_eq!(field("Folder "), local.folder.display().to_string());
    assert_eq!(field("Nodes "), "node1: running, node2: running, node3: running");
    assert_eq!(field("Store "), "quorate");
    let programs = shown.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(" running"));
    let running: Vec<&str> = programs.map(str::trim).collect();
    let mut expected: Vec<String> =
        ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "lan-holder", "store"].map(String::from).into();
    for program in ["containerd", "holder", "kube-proxy", "kubelet"] {
        expected.extend((1..=3).map(|node| format!("node{node}-{program}")));
    }
    expected.sort();
    assert_eq!(running, expected);
    assert!(!shown.contains("dead"), "{shown}");
    Ok(())
}

async fn go_on(local: &Local, hints: &[String]) -> Outcome {
    let [kubeconfig, kubectl, forward, get, kill, _down] = hints else {
        return Err(format!("six lines were expected: {hints:#?}").into());
    };
    assert_eq!(*kubeconfig, format!("export KUBECONFIG={}", run(&mut local.command("kubeconfig"))?.trim()));
    let mut shell = Shell::start()?;
    shell.paste(kubeconfig, &[]).await?;
    let listed = shell.paste(kubectl, &["main"]).await?;
    let columns = listed.iter().find(|line| line.contains("main")).map(|line| line.split_whitespace().collect());
    let columns: Vec<&str> = columns.unwrap_or_default();
    assert_eq!(columns[..5], ["default", "main", "3", "3", "True"], "namespace, name, replicas, voters, Ready");
    shell.paste(forward, &["leads to main.default:2379"]).await?;
    let got = shell.paste(get, &["hello again"]).await?;
    assert_eq!(got, ["greeting", "hello again"]);
    shell.paste(kill, &["node2 has no power", "quorate-local restart 2"]).await?;
    let shown = run(&mut local.command("status"))?;
    assert!(shown.contains("node2: without power"), "{shown}");
    run(local.command("restart").arg("2"))?;
    let shown = run(&mut local.command("status"))?;
    assert!(shown.contains("node2: running"), "{shown}");
    // As a person ends what leads a port into the cluster.
    shell.paste("kill $!", &[]).await?;
    Ok(())
}

async fn down(local: &Local, hints: &[String], before: Vec<String>) -> Outcome {
    let layout = Layout::open(&local.folder)?;
    let footprint = Footprint::of(&layout);
    footprint.assert_seen((20, 10));
    let supervisor = State::read(&layout).ok_or("no state in the folder")?.harness;
    let shown = run(&mut local.make("down"))?;
    assert!(shown.starts_with("Stopped the cluster and removed"), "{shown}");
    assert!(!supervisor.is_alive(), "the supervisor runs on");
    footprint.await_gone().await?;
    assert_eq!(machine(), before, "the machine itself changed");
    // The last line names the same folder, in which nothing is left to take down.
    let line = hints.last().ok_or("nothing was said")?;
    Shell::start()?.paste(line, &[&format!("There is no cluster in {}", local.folder.display())]).await?;
    Ok(())
}

/// The shell of a person who pastes what was printed, line by line, and has set nothing in it before.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    fn start() -> Result<Self, Error> {
        let mut command = tokio::process::Command::new("bash");
        command.args(["--norc", "--noprofile"]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        command.env_clear().envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("the shell has no input")?;
        let output = child.stdout.take().ok_or("the shell has no output")?;
        Ok(Self { child, input, output: BufReader::new(output).lines() })
    }

    /// What it printed, once the line has succeeded and each of the texts was seen.
    async fn paste(&mut self, line: &str, expected: &[&str]) -> Result<Vec<String>, Error> {
        const ENDED: &str = "ended with ";
        println!("$ {line}");
        self.input.write_all(format!("exec 2>&1\n{line}\necho '{ENDED}'$?\n").as_bytes()).await?;
        let (mut said, mut status) = (Vec::<String>::new(), None);
        let whole = |said: &[String]| expected.iter().all(|text| said.iter().any(|line| line.contains(text)));
        while status.is_none() || !whole(&said) {
            let read = tokio::time::timeout(ANSWER_LIMIT, self.output.next_line()).await;
            let read = read.map_err(|_| format!("{line}: {expected:?} was not said: {said:#?}"))??;
            let read = read.ok_or_else(|| format!("{line} ended the shell: {said:#?}"))?;
            match read.strip_prefix(ENDED) {
                Some(code) => status = Some(code.to_owned()),
                None => said.push(read),
            }
            assert!(status.as_deref().is_none_or(|status| status == "0"), "{line} failed: {said:#?}");
        }
        println!("{}", said.join("\n"));
        Ok(said)
    }
}

impl Drop for Shell {
    /// With all that it started.
    fn drop(&mut self) {
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}
