//! A cluster of three nodes, one of which loses its network and one its power, and nothing left behind, whether the cluster
//! was stopped or its harness killed.

mod common;

use std::process::ExitCode;

use common::{await_running, cluster, load_toolbox, machine, pod};
use common::{killed_harness_leaves_nothing, ready_in_time, stop_leaves_nothing};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use quorate_e2e::kubernetes::Cluster;
use quorate_e2e::scenario::{Outcome, Runner};

#[tokio::main]
async fn main() -> ExitCode {
    let mut runner = Runner::from_arguments();
    let mut slot = None;
    let before = machine();
    runner.always("three_nodes_are_ready_within_twenty_seconds", start(&mut slot).boxed()).await;
    if let Some(cluster) = slot {
        runner.run("a_node_cut_off_runs_its_pods_on_and_one_without_power_does_not", faults(&cluster).boxed()).await;
        let stopped = stop_leaves_nothing(cluster, (20, 10), before.clone());
        runner.always("stopping_leaves_nothing_behind", stopped.boxed()).await;
    }
    let killed = killed_harness_leaves_nothing("three-killed", 3, (20, 10), before);
    runner.run("a_killed_harness_is_cleaned_up_from_its_folder_alone", killed.boxed()).await;
    runner.finish()
}

async fn start(slot: &mut Option<Cluster>) -> Outcome {
    let cluster = slot.insert(ready_in_time(cluster("three-nodes").nodes(3)).await?);
    load_toolbox(cluster)
}

async fn faults(cluster: &Cluster) -> Outcome {
    let client = cluster.client();
    for node in [2, 3] {
        let name = format!("on-{node}");
        cluster.apply(&pod(&name, "exec sleep 1000", "", &format!("  nodeName: node{node}"))).await?;
        await_running(&client, &name).await?;
    }
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let started = |pod: Pod| Some(pod.status?.container_statuses?.first()?.restart_count);

    cluster.partition(2)?;
    cluster.kill_node(3)?;
    tokio::try_join!(cluster.await_node(2, false), cluster.await_node(3, false))?;
    cluster.await_node(1, true).await?;

    cluster.heal(2)?;
    cluster.restart_node(3)?;
    tokio::try_join!(cluster.await_node(2, true), cluster.await_node(3, true))?;
    let restarted = kube::runtime::wait::await_condition(pods.clone(), "on-3", |pod: Option<&Pod>| {
        pod.cloned().and_then(started) == Some(1)
    });
    tokio::time::timeout(std::time::Duration::from_secs(60), restarted).await??;
    let cut_off = pods.get("on-2").await?;
    assert_eq!(started(cut_off.clone()), Some(0), "{} was restarted", cut_off.name_any());
    Ok(())
}
