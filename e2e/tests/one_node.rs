//! A cluster of one node: pods, names, volumes, a store that is killed, and nothing left behind, whether the cluster was
//! stopped or its harness killed.

mod common;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use common::{await_running, cluster, load_toolbox, machine, pod};
use common::{killed_harness_leaves_nothing, ready_in_time, stop_leaves_nothing};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use quorate_e2e::kubernetes::Cluster;
use quorate_e2e::scenario::{Outcome, Runner};
use serde_json::json;
use tokio::sync::watch;

const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// Kills of the API server's store while objects are written.
const STORE_KILLS: usize = 5;
/// A second's worth of them.
const WRITES_BETWEEN_KILLS: usize = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let mut runner = Runner::from_arguments();
    let mut slot = None;
    let before = machine();
    runner.always("a_node_is_ready_within_twenty_seconds", start(&mut slot).boxed()).await;
    if let Some(cluster) = slot {
        runner.run("a_pod_finds_services_by_name", services_by_name(&cluster).boxed()).await;
        runner.run("a_volume_outlives_its_pod_and_ends_with_its_claim", volumes(&cluster).boxed()).await;
        runner.run("the_api_server_loses_nothing_when_its_store_is_killed", kill_store(&cluster).boxed()).await;
        let stopped = stop_leaves_nothing(cluster, (10, 4), before.clone());
        runner.always("stopping_leaves_nothing_behind", stopped.boxed()).await;
    }
    let killed = killed_harness_leaves_nothing("killed", 1, (10, 4), before);
    runner.run("a_killed_harness_is_cleaned_up_from_its_folder_alone", killed.boxed()).await;
    runner.finish()
}

async fn start(slot: &mut Option<Cluster>) -> Outcome {
    let cluster = slot.insert(ready_in_time(cluster("one-node")).await?);
    load_toolbox(cluster)
}

async fn services_by_name(cluster: &Cluster) -> Outcome {
    let script = "for name in kubernetes.default kube-dns.kube-system.svc.cluster.local; do getent hosts $name; done";
    cluster.apply(&pod("names", script, "", "  restartPolicy: Never")).await?;
    let log = logs_at_end(cluster, "names").await?;
    assert_eq!(
        log.split_whitespace().collect::<Vec<_>>(),
        ["10.96.0.1", "kubernetes.default.svc.cluster.local", "10.96.0.10", "kube-dns.kube-system.svc.cluster.local",]
    );
    Ok(())
}

async fn volumes(cluster: &Cluster) -> Outcome {
    let client = cluster.client();
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n\
                 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 32Mi}}}";
    cluster.apply(claim).await?;
    let mount = "    volumeMounts: [{name: data, mountPath: /data}]";
    let volume = "  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]";
    cluster.apply(&pod("writer", "id -u > /data/writer; exec sleep 1000", mount, volume)).await?;
    await_running(&client, "writer").await?;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    delete_pod(&pods, "writer").await?;

    let fill = "cat /data/writer; cat /dev/zero > /data/zeros; ls -s --block-size=1M /data/zeros";
    let spec = format!("  restartPolicy: Never\n{volume}");
    cluster.apply(&pod("reader", fill, mount, &spec)).await?;
    let log = logs_at_end(cluster, "reader").await?;
    assert!(log.starts_with("65532\n"), "the first pod's data: {log}");
    assert_full(&log, 24..=32);

    delete_pod(&pods, "reader").await?;
    let claims = Api::<PersistentVolumeClaim>::default_namespaced(client.clone());
    let larger = json!({"spec": {"resources": {"requests": {"storage": "96Mi"}}}});
    claims.patch("data", &PatchParams::default(), &Patch::Merge(larger)).await?;
    let expanded = await_condition(claims.clone(), "data", |claim: Option<&PersistentVolumeClaim>| {
        let status = claim.and_then(|claim| claim.status.as_ref());
        status.and_then(|status| status.capacity.as_ref()?.get("storage")).is_some_and(|size| size.0 == "96Mi")
    });
    let claim = tokio::time::timeout(WAIT_LIMIT, expanded).await??.ok_or("the claim is gone")?;
    cluster.apply(&pod("again", fill, mount, &spec)).await?;
    assert_full(&logs_at_end(cluster, "again").await?, 72..=96);

    let name = claim.spec.and_then(|spec| spec.volume_name).ok_or("the claim has no volume")?;
    let volumes = Api::<PersistentVolume>::all(client);
    let uid = volumes.get(&name).await?.uid().unwrap_or_default();
    let on_disk = cluster.layout().node_disk(1).join("quorate-volumes").join(format!("{name}.img"));
    assert!(on_disk.exists(), "the volume is not {}", on_disk.display());
    delete_pod(&pods, "again").await?;
    claims.delete("data", &DeleteParams::default()).await?;
    tokio::time::timeout(WAIT_LIMIT, await_condition(volumes, &name, is_deleted(&uid))).await??;
    assert!(!on_disk.exists(), "{} outlived its claim", on_disk.display());
    Ok(())
}

/// The pod filled its volume until the file system refused, at so many MiB.
fn assert_full(log: &str, mebibytes: std::ops::RangeInclusive<u32>) {
    assert!(log.contains("No space left on device"), "{log}");
    let written = log.lines().last().and_then(|line| line.split_whitespace().next()?.parse().ok());
    assert!(written.is_some_and(|written| mebibytes.contains(&written)), "{mebibytes:?} MiB were expected: {log}");
}

async fn delete_pod(pods: &Api<Pod>, name: &str) -> Outcome {
    let uid = pods.get(name).await?.uid().unwrap_or_default();
    pods.delete(name, &DeleteParams::default()).await?;
    tokio::time::timeout(WAIT_LIMIT, await_condition(pods.clone(), name, is_deleted(&uid))).await??;
    Ok(())
}

/// Objects are written all the while; each that the API server acknowledged must be there in the end.
async fn kill_store(cluster: &Cluster) -> Outcome {
    let maps = Api::<ConfigMap>::default_namespaced(cluster.client());
    let (acknowledge, mut acknowledged) = watch::channel(Vec::new());
    let writer = tokio::spawn(write(maps.clone(), acknowledge));
    for kills in 0..=STORE_KILLS {
        let writes = (kills + 1) * WRITES_BETWEEN_KILLS;
        tokio::time::timeout(WAIT_LIMIT, acknowledged.wait_for(|names| names.len() >= writes)).await??;
        if kills < STORE_KILLS {
            cluster.kill_store()?;
            cluster.restart_store()?;
        }
    }
    writer.abort();
    // Before the list, so that a write in between cannot look lost.
    let acknowledged = acknowledged.borrow().clone();
    let found: BTreeSet<String> = maps.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !found.contains(*name)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged objects are lost: {lost:?}", lost.len(), acknowledged.len());
    println!("{} acknowledged writes over {STORE_KILLS} kills", acknowledged.len());

    cluster.apply(&pod("later", "exec sleep 1000", "", "")).await?;
    await_running(&cluster.client(), "later").await
}

/// Creates one object after the other and tells the names of those that were acknowledged.
async fn write(maps: Api<ConfigMap>, acknowledge: watch::Sender<Vec<String>>) {
    for number in 0_u64.. {
        let name = format!("written-{number}");
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a ConfigMap");
        if maps.create(&PostParams::default(), &map).await.is_ok() {
            acknowledge.send_modify(|names| names.push(name));
        }
    }
}

/// What a pod printed, once it has ended well.
async fn logs_at_end(cluster: &Cluster, name: &str) -> Result<String, common::Error> {
    let pods = Api::<Pod>::default_namespaced(cluster.client());
    let phase = |pod: Option<&Pod>| pod.and_then(|pod| pod.status.as_ref()?.phase.clone());
    let ended = await_condition(pods.clone(), name, move |pod: Option<&Pod>| {
        matches!(phase(pod).as_deref(), Some("Succeeded" | "Failed"))
    });
    let pod = tokio::time::timeout(WAIT_LIMIT, ended).await??;
    let log = pods.logs(name, &Default::default()).await?;
    if phase(pod.as_ref()).as_deref() == Some("Succeeded") {
        Ok(log)
    } else {
        Err(format!("{name} failed: {log}").into())
    }
}
