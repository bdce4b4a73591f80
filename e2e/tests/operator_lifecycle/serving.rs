//! Whom clients reach through the Service: members that the operator admitted, and nobody else, whatever labels it carries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use nix::sys::signal::Signal;
use quorate_e2e::kubernetes::run;
use quorate_e2e::scenario::Outcome;
use serde_json::json;

use crate::common::Error;
use crate::world::World;

const STRANGER: &str = "stranger";

/// A server with its own cluster in a pod that was made by hand with a member's labels.
pub async fn stranger(world: &World) -> Outcome {
    world.run_operators(0).await?;
    world.pods().create(&PostParams::default(), &stranger_pod()?).await?;
    await_backends(world, &["main-0", "main-1", "main-2", STRANGER]).await?;
    world.run_operators(1).await?;
    await_backends(world, &["main-0", "main-1", "main-2"]).await?;
    let labels = world.pods().get(STRANGER).await?.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("quorate.io/serving").map(String::as_str), Some("false"));
    world.await_ready("main", 3).await?;
    world.pods().delete(STRANGER, &DeleteParams::default()).await?;
    Ok(())
}

fn stranger_pod() -> Result<Pod, Error> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": STRANGER, "labels": {"quorate.io/cluster": "main", "quorate.io/serving": "true"}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "quorate",
                "image": format!("quorate:{}", env!("CARGO_PKG_VERSION")),
                "imagePullPolicy": "IfNotPresent",
                "args": [
                    "--data-dir=/tmp/data",
                    "--listen-client-urls=http://0.0.0.0:2379",
                    "--advertise-client-urls=http://127.0.0.1:2379",
                ],
                "env": [{"name": "TMPDIR", "value": "/tmp"}],
                "ports": [{"name": "client", "containerPort": 2379}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

/// A member that runs on a copy of its disk under another claim: it counts itself ready, and only the operator knows better.
pub async fn copied_disk(world: &World) -> Outcome {
    let before = world.member_ids("main").await?;
    world.run_operators(0).await?;
    let copy = tempfile::tempdir()?;
    // All that a stopped process has written is seen.
    world.signal_server("main-1", Signal::SIGSTOP)?;
    let copied = copy_tree(&data(world, "main-1")?, copy.path());
    world.signal_server("main-1", Signal::SIGCONT)?;
    copied?;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.client.clone());
    let (claim, pod) = (claims.get("data-main-1").await?.uid(), world.pods().get("main-1").await?.uid());
    claims.delete("data-main-1", &DeleteParams::default()).await?;
    world.pods().delete("main-1", &DeleteParams::default()).await?;
    world
        .await_until("main-1 on an empty volume", async || {
            let (other_claim, other_pod) =
                (claims.get_opt("data-main-1").await?, world.pods().get_opt("main-1").await?);
            let is_new = other_claim.is_some_and(|found| found.uid() != claim)
                && other_pod.is_some_and(|found| found.uid() != pod);
            Ok(is_new && data(world, "main-1").is_ok_and(|data| data.join("member.json").exists()))
        })
        .await?;
    let empty = data(world, "main-1")?;
    run(Command::new("find").arg(&empty).args(["-mindepth", "1", "-delete"]))?;
    copy_tree(&copy.path().join("data"), empty.parent().ok_or("a volume has a root")?)?;
    world.signal_server("main-1", Signal::SIGKILL)?;
    await_backends(world, &["main-0", "main-1", "main-2"]).await?;
    world.run_operators(1).await?;
    world.await_condition("main", "Stalled", "CopiedDisk").await?;
    await_backends(world, &["main-0", "main-2"]).await?;
    // What the message says.
    claims.delete("data-main-1", &DeleteParams::default()).await?;
    world.pods().delete("main-1", &DeleteParams::default()).await?;
    world
        .await_until("another member id for main-1", async || {
            Ok(world.member_ids("main").await?.get(1).is_some_and(|id| *id != before[1]))
        })
        .await?;
    world.await_ready("main", 3).await?;
    await_backends(world, &["main-0", "main-1", "main-2"]).await
}

/// The data directory of a pod's server, as this machine reaches it.
fn data(world: &World, pod: &str) -> Result<PathBuf, Error> {
    Ok(PathBuf::from(format!("/proc/{}/root/var/lib/quorate/data", world.server(pod)?)))
}

/// Copies a folder into another with owners and modes.
fn copy_tree(from: &Path, into: &Path) -> Outcome {
    run(Command::new("cp").arg("-a").arg(from).arg(into))?;
    Ok(())
}

/// Waits until the Service leads to exactly these pods.
async fn await_backends(world: &World, expected: &[&str]) -> Outcome {
    let expected: BTreeSet<String> = expected.iter().map(|&pod| pod.to_owned()).collect();
    world
        .await_until(&format!("the Service leading to {expected:?}"), async || Ok(backends(world).await? == expected))
        .await
}

async fn backends(world: &World) -> Result<BTreeSet<String>, Error> {
    let slices: Api<EndpointSlice> = Api::default_namespaced(world.client.clone());
    let slices = slices.list(&ListParams::default().labels("kubernetes.io/service-name=main")).await?;
    let endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
    let ready = endpoints
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or_default());
    Ok(ready.filter_map(|endpoint| endpoint.target_ref?.name).collect())
}
