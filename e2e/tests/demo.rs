//! What `make up` and `make down` do, with images of the dev profile: from nothing to a `QuorateCluster` of three that
//! answers on three nodes, and to nothing again.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Error, Footprint, folder};
use quorate_e2e::kubernetes::{Layout, run};

/// Takes the cluster down also when the test fails.
struct Local(PathBuf);

impl Local {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-local"));
        command.arg(name).arg("--state-dir").arg(&self.0);
        command
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Err(error) = run(&mut self.command("down")) {
            eprintln!("the cluster was not taken down: {error}");
        }
    }
}

#[tokio::test]
async fn three_members_on_three_nodes_answer_and_are_gone_again() -> Result<(), Error> {
    let images = folder("images");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/image.sh");
    run(Command::new(script).args(["--profile", "dev", "--output"]).arg(&images))?;

    let local = Local(folder("demo"));
    let shown = run(local.command("demo").args(["--nodes", "3", "--images"]).arg(&images))?;
    println!("{shown}");
    let transcript = [
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
    let start = shown.find(transcript[0]).ok_or("no transcript")?;
    let lines: Vec<&str> = shown[start..].lines().take(transcript.len()).collect();
    assert_eq!(lines, transcript);

    let pods = ["get", "pods", "-l", "quorate.io/cluster=main", "-o", "jsonpath={.items[*].spec.nodeName}"];
    let nodes = run(local.command("kubectl").arg("--").args(pods))?;
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node1", "node2", "node3"], "one member on each node");

    for (command, expected) in [("kill", "node3: without power"), ("restart", "node3: running")] {
        println!("{}", run(local.command(command).arg("3"))?);
        let status = run(&mut local.command("status"))?;
        assert!(status.contains(expected), "after {command}: {status}");
    }

    let footprint = Footprint::of(&Layout::open(&local.0)?);
    run(&mut local.command("down"))?;
    footprint.await_gone().await
}
