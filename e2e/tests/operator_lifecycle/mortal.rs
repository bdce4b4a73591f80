//! A whole life under operators that die at any request: founding with its certificates, deletion, adoption and growth, a
//! lost volume, deletion with everything, and founding anew. The logs have volumes of their own.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use quorate_e2e::scenario::Outcome;
use serde_json::json;

use crate::common::Error;
use crate::crashing::{self, FEW_REQUESTS};
use crate::world::World;

const NAME: &str = "mortal";
const WAL_SIZE: &str = "256Mi";

pub async fn whole_life(world: &World) -> Outcome {
    // An operator's requests would be about another cluster too, and might never come to the step that this one waits for.
    let others: Vec<String> =
        world.clusters().list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    if !others.is_empty() {
        return Err(format!("an earlier scenario has left {}", others.join(", ")).into());
    }
    world.run_operators(0).await?;
    let founded = founding_of_one(world).await?;
    let adopted = deletion_and_adoption(world).await?;
    let healed = lost_log(world).await?;
    let deleted = deletion(world).await?;
    let storage = json!({"retention": {"whenDeleted": "Delete"}, "walStorage": {"size": WAL_SIZE}});
    world.create(NAME, 3, json!({"spec": {"storage": storage}})).await?;
    let grown = crashing::until_ready(world, NAME, 3, 15).await?;
    assert_eq!(world.session(NAME, 0).await?.get("first").await?, None, "a new cluster");
    let deaths = [founded, adopted, healed, deleted, grown];
    println!("       deaths: {deaths:?}");
    assert!(deaths.iter().all(|deaths| *deaths >= 3), "only {deaths:?} deaths prove little");
    world.run_operators(1).await?;
    world.delete(NAME).await?;
    world.await_no_trace(NAME).await
}

/// Certificates are made, the latch is written, the cluster is founded once.
async fn founding_of_one(world: &World) -> Result<u32, Error> {
    world.create(NAME, 1, json!({"spec": {"storage": {"walStorage": {"size": WAL_SIZE}}}})).await?;
    let deaths = crashing::until_ready(world, NAME, 1, 11).await?;
    world.session(NAME, 0).await?.put("first", "1").await?;
    Ok(deaths)
}

/// The UIDs of a member's claims: of its data and of its log.
async fn claims(world: &World, ordinal: u32) -> Result<[Option<String>; 2], Error> {
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.client.clone());
    let uid = async |kind: &str| Ok::<_, kube::Error>(claims.get(&format!("{kind}-{NAME}-{ordinal}")).await?.uid());
    Ok([uid("data").await?, uid("wal").await?])
}

/// The disk of one outlives its object and is the beginning of three. An object that wants the logs elsewhere gets nothing.
async fn deletion_and_adoption(world: &World) -> Result<u32, Error> {
    let before = world.status(NAME).await?;
    let disk = claims(world, 0).await?;
    let mut deaths = deleted(world).await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(world.client.clone());
    assert!(maps.get_opt("mortal-latch").await?.is_some(), "the latch outlives the object");
    let cluster_id = before.cluster_id.clone().ok_or("no cluster id")?;
    let metadata = json!({"annotations": {"quorate.io/adopt": cluster_id}});
    world.create(NAME, 3, json!({"metadata": metadata})).await?;
    deaths += crashing::until(world, 16, FEW_REQUESTS, async || {
        let stalled = world.condition(NAME, "Stalled").await?;
        Ok(stalled.is_some_and(|one| one.reason == "WalStorageDiffers"))
    })
    .await?;
    assert!(world.ready_pods(NAME).await?.is_empty(), "no member starts without its log");
    deaths += deleted(world).await?;
    let spec = json!({"storage": {"walStorage": {"size": WAL_SIZE}}});
    world.create(NAME, 3, json!({"metadata": metadata, "spec": spec})).await?;
    deaths += crashing::until_ready(world, NAME, 3, 13).await?;
    let after = world.status(NAME).await?;
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(after.members[0].member_id, before.members[0].member_id, "the same member");
    assert_eq!(claims(world, 0).await?, disk, "on the same disk");
    assert_eq!(world.session(NAME, 2).await?.get("first").await?.as_deref(), Some("1"));
    Ok(deaths)
}

/// A member that lost its log alone has lost its disk: it comes back under another id, on two new volumes.
async fn lost_log(world: &World) -> Result<u32, Error> {
    let before = world.member_ids(NAME).await?;
    let (lost, kept) = (claims(world, 1).await?, claims(world, 2).await?);
    assert!(logs_on_its_own_volume(world, "mortal-1")?, "the log lies where the spec says");
    let api: Api<PersistentVolumeClaim> = Api::default_namespaced(world.client.clone());
    api.delete("wal-mortal-1", &DeleteParams::default()).await?;
    world.pods().delete("mortal-1", &DeleteParams::default()).await?;
    let replaced = async || {
        let ids = world.member_ids(NAME).await?;
        Ok(ids.get(1).is_some_and(|id| id.is_some() && *id != before[1]) && world.is_ready(NAME, 3).await?)
    };
    let deaths = crashing::until(world, 14, FEW_REQUESTS, replaced).await?;
    let after = world.member_ids(NAME).await?;
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]), "the others stay");
    let (now, still) = (claims(world, 1).await?, claims(world, 2).await?);
    assert!(now[0] != lost[0] && now[1] != lost[1], "both volumes are new: {now:?} after {lost:?}");
    assert_eq!(still, kept);
    assert_eq!(world.session(NAME, 1).await?.get("first").await?.as_deref(), Some("1"));
    Ok(deaths)
}

/// Whether a member's log is on the second volume, and nothing of it beside the data.
fn logs_on_its_own_volume(world: &World, pod: &str) -> Result<bool, Error> {
    let root = PathBuf::from(format!("/proc/{}/root/var/lib", world.server(pod)?));
    let mut segments = std::fs::read_dir(root.join("quorate-wal/wal"))?;
    let has_segment =
        segments.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "wal")));
    Ok(has_segment && !root.join("quorate/data/wal").exists())
}

/// Volumes, latch and authorities go too.
async fn deletion(world: &World) -> Result<u32, Error> {
    world.patch(NAME, json!({"spec": {"storage": {"retention": {"whenDeleted": "Delete"}}}})).await?;
    let deaths = deleted(world).await?;
    world.await_no_trace(NAME).await?;
    Ok(deaths)
}

/// The object is deleted, and operators die until it is gone.
async fn deleted(world: &World) -> Result<u32, Error> {
    world.clusters().delete(NAME, &DeleteParams::default()).await?;
    crashing::until(world, 12, FEW_REQUESTS, async || Ok(world.clusters().get_opt(NAME).await?.is_none())).await
}
