//! What reaches running members: raft timers and limits without a restart, and larger volumes.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use quorate_e2e::scenario::Outcome;
use serde_json::json;

use crate::ELECTION;
use crate::common::Error;
use crate::load::Load;
use crate::world::World;

/// Slower, then faster: the first raises the election timeouts before the heartbeats, the second the reverse. Then what `Auto` makes of
/// timers that no profile has.
pub async fn timers(world: &World) -> Outcome {
    let uids = world.pod_uids("main").await?;
    let restarts = world.all_restarts("main").await?;
    let load = Load::start(world.session("main", 0).await?);
    let (heartbeat, election) = ("heartbeatIntervalMilliseconds", "electionTimeoutMilliseconds");
    for (raft, profile, heartbeat, election) in [
        (json!({"profile": "CrossZone"}), "CrossZone", 250, 2_500),
        (json!({"profile": "Custom", heartbeat: 120, election: 1_200}), "Custom", 120, 1_200),
        (json!({"profile": "Auto", heartbeat: null, election: null}), "LowLatency", 100, 1_000),
    ] {
        world.patch("main", json!({"spec": {"raft": raft}})).await?;
        world.await_ready("main", 3).await?;
        let raft = world.status("main").await?.raft.ok_or("the status shows no timers")?;
        assert_eq!(
            (raft.profile.as_str(), raft.heartbeat_interval_milliseconds, raft.election_timeout_milliseconds),
            (profile, heartbeat, election)
        );
    }
    let record = load.stop().await;
    record.check(ELECTION)?;
    assert_eq!(record.failures(), 0, "no request fails by a change of timers");
    assert_eq!(world.pod_uids("main").await?, uids, "without another pod");
    assert_eq!(world.all_restarts("main").await?, restarts, "without a restart");
    Ok(())
}

pub async fn limits(world: &World) -> Outcome {
    let uids = world.pod_uids("main").await?;
    let restarts = world.all_restarts("main").await?;
    world.patch("main", json!({"spec": {"limits": {"maxRequestBytes": 65_536}}})).await?;
    let large = "x".repeat(200_000);
    for ordinal in 0..3 {
        let mut session = world.session("main", ordinal).await?;
        world.await_until("a refused large request", async || Ok(session.put("large", &large).await.is_err())).await?;
    }
    world.await_ready("main", 3).await?;
    assert_eq!(world.pod_uids("main").await?, uids, "without another pod");
    assert_eq!(world.all_restarts("main").await?, restarts, "without a restart");
    Ok(())
}

/// The claim is asked for more, and the volume has it once its file system may grow: at the latest while no pod uses it, as on machines
/// that do not let it grow while it is mounted.
pub async fn volumes(world: &World) -> Outcome {
    world.create("grown", 1, json!({"spec": {"storage": {"retention": {"whenDeleted": "Delete"}}}})).await?;
    world.await_ready("grown", 1).await?;
    world.session("grown", 0).await?.put("small", "disk").await?;
    assert_eq!(sizes(world).await?, ("512Mi".to_owned(), Some("512Mi".to_owned())));
    world.patch("grown", json!({"spec": {"storage": {"size": "640Mi"}}})).await?;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.client.clone());
    world.await_until("a claim of more", async || Ok(of_claim(&claims).await?.0.as_deref() == Some("640Mi"))).await?;
    world.run_operators(0).await?;
    let sets: Api<StatefulSet> = Api::default_namespaced(world.client.clone());
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    sets.patch("grown", &PatchParams::default(), &none).await?;
    world.await_until("a larger volume", async || Ok(of_claim(&claims).await?.1.as_deref() == Some("640Mi"))).await?;
    world.run_operators(1).await?;
    world.await_ready("grown", 1).await?;
    assert_eq!(sizes(world).await?, ("640Mi".to_owned(), Some("640Mi".to_owned())));
    assert_eq!(world.session("grown", 0).await?.get("small").await?.as_deref(), Some("disk"));
    let error = world.patch("grown", json!({"spec": {"storage": {"size": "512Mi"}}})).await.expect_err("it was given");
    assert!(error.to_string().contains("cannot be made smaller than status.storage.minCapacity"), "{error}");
    world.delete("grown").await
}

/// What the status says: the smallest size, and the capacity of the one member.
async fn sizes(world: &World) -> Result<(String, Option<String>), Error> {
    let status = world.status("grown").await?;
    let storage = status.storage.ok_or("no sizes are shown")?;
    assert_eq!(storage.resizing, Vec::<String>::new());
    Ok((storage.min_capacity, status.members.into_iter().next().and_then(|member| member.capacity)))
}

/// What was asked for and what is there.
async fn of_claim(claims: &Api<PersistentVolumeClaim>) -> Result<(Option<String>, Option<String>), Error> {
    let claim = claims.get("data-grown-0").await?;
    let request = claim.spec.and_then(|spec| spec.resources?.requests?.remove("storage"));
    let capacity = claim.status.and_then(|status| status.capacity?.remove("storage"));
    Ok((request.map(|size| size.0), capacity.map(|size| size.0)))
}
