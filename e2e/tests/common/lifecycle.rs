//! How clusters of any size begin and end: ready in time, and nothing left behind.

use std::process::Command;
use std::time::{Duration, Instant};

use quorate_e2e::kubernetes::{Builder, Cluster, Deadline, Layout, State, Store, node_name, run};

use super::footprint::{Footprint, machine};
use super::{Error, folder, local, store};

/// What a machine with nothing else to do may take to a ready cluster, once its programs are built.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// A killed process is gone in milliseconds; builds beside it slow that down.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// Starts a cluster and fails when it took longer than it may.
pub async fn ready_in_time(builder: Builder) -> Result<Cluster, Error> {
    let start = Instant::now();
    let cluster = builder.start().await?;
    let took = start.elapsed();
    assert!(took < READY_LIMIT, "it took {took:?}, of {READY_LIMIT:?}");
    Ok(cluster)
}

/// Stops a cluster, of which at least so many processes and namespaces are seen, and looks for its remains.
pub async fn stop_leaves_nothing(cluster: Cluster, seen: (usize, usize), before: Vec<String>) -> Result<(), Error> {
    let footprint = Footprint::of(cluster.layout());
    footprint.assert_seen(seen);
    cluster.stop().await?;
    footprint.await_gone().await?;
    assert_eq!(machine(), before, "the machine itself changed");
    Ok(())
}

/// Kills the harness of a cluster of so many nodes with signal 9; `quorate-local down` then finds all of it by its folder.
pub async fn killed_harness_leaves_nothing(
    name: &str,
    nodes: u32,
    seen: (usize, usize),
    before: Vec<String>,
) -> Result<(), Error> {
    let folder = folder(name);
    let local = |command: &str| local(&folder, command);
    let store = if store() == Store::Etcd { "etcd" } else { "quorate" };
    let start = Instant::now();
    run(local("up").args(["--nodes", &nodes.to_string(), "--store", store]))?;
    let took = start.elapsed();
    assert!(took < READY_LIMIT, "it took {took:?}, of {READY_LIMIT:?}");
    let shown = run(&mut local("status"))?;
    assert!(!shown.contains("dead"), "{shown}");
    let last = node_name(nodes);
    for (command, expected) in [("partition", "cut off"), ("heal", "running")] {
        run(local(command).arg(nodes.to_string()))?;
        let shown = run(&mut local("status"))?;
        assert!(shown.contains(&format!("{last}: {expected}")), "after {command}: {shown}");
    }
    let layout = Layout::open(&folder)?;
    let harness = State::read(&layout).ok_or("no state in the folder")?.harness;
    let footprint = Footprint::of(&layout);
    run(Command::new("kill").args(["-9", &harness.pid.to_string()]))?;
    let deadline = Deadline::after(WAIT_LIMIT, "the end of the killed harness", &layout);
    while harness.is_alive() {
        deadline.pause_async().await?;
    }
    footprint.assert_seen(seen);
    assert!(footprint.remains().len() > seen.0, "the cluster ended with its harness: {:?}", footprint.remains());
    run(&mut local("down"))?;
    footprint.await_gone().await?;
    assert_eq!(machine(), before, "the machine itself changed");
    Ok(())
}
