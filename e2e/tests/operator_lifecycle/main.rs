//! The life of a `QuorateCluster` on a real Kubernetes of three nodes with real members: what the API server refuses,
//! founding, growing and shrinking under load, healing, a lost node, a lost volume, live changes, certificates that end, an
//! operator that dies at any request, that has a rival or is away, retained disks, deletion.
//!
//! The scenarios build on each other: one cluster `main` lives through most of them.

mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod crashing;
mod five;
mod leaders;
mod lease;
mod load;
mod mortal;
mod nodes;
mod operations;
mod pods;
mod schema;
mod serving;
mod tuning;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::Error;
use futures::FutureExt;
use http::Request;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use nix::sys::signal::Signal;
use quorate_e2e::scenario::{Outcome, Runner};
use serde_json::json;
use world::World;

/// Default election timeout of the profile LowLatency.
const ELECTION_MIN: Duration = Duration::from_millis(1_000);
/// Twice that: a randomized timeout is up to it.
const ELECTION: Duration = Duration::from_millis(2_000);
/// Connections to a Service of three members, of which one shall lead to a certain member.
const CONNECTIONS_MAX: u32 = 60;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime needs only threads");
    // The same program, started again, is an operator that dies at a request.
    match crashing::budget() {
        Some(requests) => runtime.block_on(crashing::operate(requests)),
        None => runtime.block_on(scenarios()),
    }
}

async fn scenarios() -> ExitCode {
    let mut runner = Runner::from_arguments();
    let mut slot = None;
    runner.always("the_operator_starts_with_its_own_rights", start(&mut slot).boxed_local()).await;
    let Some(world) = slot else { return runner.finish() };
    runner
        .run("the_api_server_refuses_what_is_not_allowed_and_says_what_is", schema::refusals(&world).boxed_local())
        .await;
    runner.run("what_keeps_a_child_from_being_made_is_said_in_the_status", refused(&world).boxed_local()).await;
    runner.run("one_member_is_founded_and_serves", founding(&world).boxed_local()).await;
    runner.run("one_grows_to_three_under_load", growing(&world).boxed_local()).await;
    runner.run("members_are_spread_over_the_nodes", nodes::spread(&world).boxed_local()).await;
    let mut ends = None;
    runner.run("leaves_near_their_end_are_renewed", certificates::renewed(&world, &mut ends).boxed_local()).await;
    runner.run("timers_change_while_members_run", tuning::timers(&world).boxed_local()).await;
    runner.run("limits_change_while_members_run", tuning::limits(&world).boxed_local()).await;
    runner.run("a_volume_grows_with_the_spec_and_never_shrinks", tuning::volumes(&world).boxed_local()).await;
    runner.run("a_deleted_leader_comes_back_on_its_disk", deleted_pod(&world).boxed_local()).await;
    runner.run("a_killed_process_is_restarted_by_the_kubelet", killed_process(&world).boxed_local()).await;
    runner.run("a_node_without_power_is_waited_for", nodes::killed_node(&world).boxed_local()).await;
    runner.run("a_node_without_network_is_waited_for", nodes::partitioned_node(&world).boxed_local()).await;
    runner.run("new_connections_work_after_the_old_leaves", certificates::outlived(&world, ends).boxed_local()).await;
    runner.run("a_lost_volume_is_replaced_under_a_new_id", lost_volume(&world).boxed_local()).await;
    runner.run("a_pod_with_a_members_labels_serves_no_clients", serving::stranger(&world).boxed_local()).await;
    runner
        .run("a_copied_disk_serves_no_clients_until_it_is_replaced", serving::copied_disk(&world).boxed_local())
        .await;
    runner.run("all_pods_come_back_while_the_operator_is_away", operator_away(&world).boxed_local()).await;
    runner.run("of_two_operators_only_the_one_with_the_lease_acts", lease::rivals(&world).boxed_local()).await;
    runner.run("three_shrink_to_one_under_load", shrinking(&world).boxed_local()).await;
    runner.run("an_operator_that_dies_at_any_request_goes_on_where_it_was", dying_operator(&world).boxed_local()).await;
    runner.run("a_retained_disk_of_a_removed_member_is_set_aside", set_aside(&world).boxed_local()).await;
    runner.run("a_cluster_without_tls_needs_consent_and_then_serves", without_tls(&world).boxed_local()).await;
    runner.run("what_is_said_of_pods_reaches_the_pods", pods::passed_on(&world).boxed_local()).await;
    runner
        .run(
            "clients_without_certificates_are_served_where_none_are_asked_for",
            pods::clients_without_certificates(&world).boxed_local(),
        )
        .await;
    runner.run("five_members_serve_without_two", five::two_of_five(&world).boxed_local()).await;
    runner.run("retained_disks_wait_for_adoption", adoption(&world).boxed_local()).await;
    runner.run("deletion_leaves_nothing_when_that_is_asked_for", deletion(&world).boxed_local()).await;
    runner
        .run(
            "an_operator_that_dies_at_any_request_founds_adopts_heals_and_deletes",
            mortal::whole_life(&world).boxed_local(),
        )
        .await;
    runner.always("the_cluster_stops", async move { Ok(world.cluster.stop().await?) }.boxed_local()).await;
    runner.finish()
}

async fn start(slot: &mut Option<World>) -> Outcome {
    *slot = Some(World::start().await?);
    Ok(())
}

/// A Service of somebody else has the name of a child; and the schema of our resource takes a toleration that Kubernetes does not know,
/// the pod template does not.
async fn refused(world: &World) -> Outcome {
    let services: Api<Service> = Api::default_namespaced(world.client.clone());
    let foreign = json!({"metadata": {"name": "odd"}, "spec": {"selector": {"app": "odd"}, "ports": [{"port": 80}]}});
    let foreign = services.create(&PostParams::default(), &serde_json::from_value(foreign)?).await?;
    let toleration = json!({"key": "dedicated", "operator": "Sometimes"});
    let storage = json!({"retention": {"whenDeleted": "Delete"}});
    world.create("odd", 1, json!({"spec": {"pods": {"tolerations": [toleration]}, "storage": storage}})).await?;
    world.await_condition("odd", "Stalled", "NameConflict").await?;
    let said = world.condition("odd", "Stalled").await?.map(|condition| condition.message).unwrap_or_default();
    assert!(said.starts_with("Service odd exists and is not controlled by this QuorateCluster"), "{said}");
    assert_eq!(services.get("odd").await?, foreign, "it is left as it was");
    services.delete("odd", &DeleteParams::default()).await?;
    world.await_condition("odd", "Stalled", "Refused").await?;
    let said = world.condition("odd", "Stalled").await?.map(|condition| condition.message).unwrap_or_default();
    assert!(
        said.starts_with("Apply: StatefulSet.apps \"odd\" is invalid: spec.template.spec.tolerations[0].operator"),
        "{said}"
    );
    assert!(said.contains("Sometimes"), "{said}");
    refusal_stands(world).await?;
    world.patch("odd", json!({"spec": {"pods": {"tolerations": []}}})).await?;
    world.await_ready("odd", 1).await?;
    assert_ne!(services.get("odd").await?.uid(), foreign.uid(), "the operator made one of its own");
    world.delete("odd").await
}

/// The operator tries again every few seconds, and as long as it is refused for the same reason it writes nothing.
async fn refusal_stands(world: &World) -> Outcome {
    let (before, tries) = (world.clusters().get("odd").await?, statefulsets_refused(world).await?);
    world.await_until("one more try", async || Ok(statefulsets_refused(world).await? > tries)).await?;
    assert_eq!(world.clusters().get("odd").await?, before, "the object after one more try");
    Ok(())
}

/// How many StatefulSets the API server has found invalid since it started.
async fn statefulsets_refused(world: &World) -> Result<u64, Error> {
    let metrics = world.client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
    let refusals = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && line.contains("code=\"422\"")
            && line.contains("resource=\"statefulsets\"")
    });
    refusals.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
}

async fn founding(world: &World) -> Outcome {
    world.create("main", 1, json!({})).await?;
    world.await_ready("main", 1).await?;
    let mut session = world.session("main", 0).await?;
    session.put("first", "1").await?;
    assert_eq!(session.get("first").await?.as_deref(), Some("1"));
    // What belongs to the spec of a founded cluster, and what cannot change.
    for (patch, expected) in [
        (json!({"spec": {"version": "9.9.9"}}), "spec.version cannot be changed"),
        (json!({"spec": {"storage": {"size": "256Mi"}}}), "cannot be made smaller than status.storage.minCapacity"),
        (json!({"spec": {"tls": {"peer": {"mode": "Disabled"}}}}), "tls.peer cannot be changed"),
    ] {
        let error = world.patch("main", patch).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    Ok(())
}

async fn growing(world: &World) -> Outcome {
    let loads = [world.session("main", 0).await?, world.service_session("main").await?].map(load::Load::start);
    let grown = async {
        world.scale("main", 3).await?;
        world.await_ready("main", 3).await
    };
    let recorded = leaders::while_recorded(world, "main", grown);
    let ((grown, changes), operations) = operations::while_recorded(world, "main", recorded).await?;
    grown?;
    check_all(loads, &changes).await?;
    // One after the other, each shown under the id that was written before anything was done for it.
    let mut ids: Vec<String> = operations.iter().filter_map(|one| one.id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "{operations:?}");
    assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 26), "{ids:?}");
    for operation in &operations {
        assert!(operation.id.is_some() && operation.started_at < operation.deadline, "{operation:?}");
        assert_eq!((operation.kind.as_str(), operation.attempt), ("ScaleOut", 1));
    }
    for ordinal in 0..3 {
        assert_eq!(world.session("main", ordinal).await?.get("first").await?.as_deref(), Some("1"), "member {ordinal}");
    }
    Ok(())
}

async fn check_all(loads: impl IntoIterator<Item = load::Load>, changes: &[Instant]) -> Outcome {
    println!("       {} changes of the leader were seen", changes.len());
    for load in loads {
        load.stop().await.check_against(changes, ELECTION_MIN)?;
    }
    Ok(())
}

/// Leadership moves on, so that shrinking later has to hand it over.
async fn deleted_pod(world: &World) -> Outcome {
    let leader = world.status("main").await?.leader.ok_or("nobody leads")?;
    let before = world.member_ids("main").await?;
    world.pods().delete(&leader, &DeleteParams::default()).await?;
    world.await_gone_and_ready("main", &leader, 3).await?;
    assert_eq!(world.member_ids("main").await?, before, "a deleted pod changes no member");
    let led = world.status("main").await?.leader;
    assert!(led.is_some(), "somebody leads");
    Ok(())
}

async fn killed_process(world: &World) -> Outcome {
    let before = world.member_ids("main").await?;
    let restarts = world.restarts("main-2").await?;
    world.signal_server("main-2", Signal::SIGKILL)?;
    world.await_until("a restarted container", async || Ok(world.restarts("main-2").await? > restarts)).await?;
    world.await_ready("main", 3).await?;
    assert_eq!(world.member_ids("main").await?, before);
    Ok(())
}

async fn lost_volume(world: &World) -> Outcome {
    let mut session = world.session("main", 0).await?;
    session.put("before the loss", "kept").await?;
    let before = world.member_ids("main").await?;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.client.clone());
    let lost = claims.get("data-main-1").await?.uid();
    claims.delete("data-main-1", &DeleteParams::default()).await?;
    world.pods().delete("main-1", &DeleteParams::default()).await?;
    world
        .await_until("another member id for main-1", async || Ok(world.member_ids("main").await?[1] != before[1]))
        .await?;
    world.await_ready("main", 3).await?;
    let after = world.member_ids("main").await?;
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]), "the others stay");
    assert_ne!(after[1], before[1], "an empty disk is never admitted under the old id");
    assert_ne!(claims.get("data-main-1").await?.uid(), lost);
    assert_eq!(world.session("main", 1).await?.get("before the loss").await?.as_deref(), Some("kept"));
    Ok(())
}

async fn operator_away(world: &World) -> Outcome {
    world.run_operators(0).await?;
    let before: Vec<Option<String>> = world.pod_uids("main").await?;
    world
        .pods()
        .delete_collection(&DeleteParams::default(), &ListParams::default().labels("quorate.io/cluster=main"))
        .await?;
    world
        .await_until("three other ready pods", async || {
            let pods = world.ready_pods("main").await?;
            Ok(pods.len() == 3 && pods.iter().all(|pod| !before.contains(&pod.uid())))
        })
        .await?;
    let mut session = world.session("main", 0).await?;
    session.put("alone", "served").await?;
    assert_eq!(session.get("alone").await?.as_deref(), Some("served"));
    world.run_operators(1).await?;
    world.await_ready("main", 3).await
}

async fn shrinking(world: &World) -> Outcome {
    // A leader that has to go makes the operator hand leadership over.
    world.lead("main", "main-2").await?;
    let mut sessions = vec![world.session("main", 0).await?];
    for member in world.member_ids("main").await?.into_iter().skip(1) {
        sessions.push(session_of_service_at(world, &member.ok_or("a member has no id")?).await?);
    }
    let loads: Vec<load::Load> = sessions.into_iter().map(load::Load::start).collect();
    let shrunk = async {
        world.scale("main", 1).await?;
        world.await_ready("main", 1).await
    };
    let (shrunk, changes) = leaders::while_recorded(world, "main", shrunk).await;
    shrunk?;
    assert!(!changes.is_empty(), "leadership moved");
    check_all(loads, &changes).await?;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.client.clone());
    world
        .await_until("the volumes of the removed members gone", async || {
            Ok(claims.list(&ListParams::default().labels("quorate.io/cluster=main")).await?.items.len() == 1)
        })
        .await?;
    assert_eq!(world.session("main", 0).await?.get("first").await?.as_deref(), Some("1"));
    Ok(())
}

/// A client of the Service that was led to this member first.
async fn session_of_service_at(world: &World, member_id: &str) -> Result<world::Session, common::Error> {
    let wanted = u64::from_str_radix(member_id, 16)?;
    for _ in 0..CONNECTIONS_MAX {
        let session = world.service_session("main").await?;
        if session.served_by().await? == wanted {
            return Ok(session);
        }
    }
    Err(format!("the Service never led to {member_id}").into())
}

async fn dying_operator(world: &World) -> Outcome {
    world.run_operators(0).await?;
    let mut deaths = 0;
    for (seed, replicas) in [(1, 3), (2, 1), (3, 3)] {
        world.scale("main", replicas).await?;
        deaths += crashing::until_ready(world, "main", replicas, seed).await?;
    }
    println!("       {deaths} deaths");
    assert!(deaths >= 20, "only {deaths} deaths prove little");
    assert_eq!(world.session("main", 2).await?.get("first").await?.as_deref(), Some("1"));
    world.run_operators(1).await?;
    world.await_ready("main", 3).await
}

async fn set_aside(world: &World) -> Outcome {
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.client.clone());
    let uid = claims.get("data-main-2").await?.uid();
    let before = world.member_ids("main").await?;
    world.patch("main", json!({"spec": {"storage": {"retention": {"whenScaled": "Retain"}}}})).await?;
    for replicas in [1, 3] {
        world.scale("main", replicas).await?;
        world.await_ready("main", replicas).await?;
    }
    assert_eq!(claims.get("data-main-2").await?.uid(), uid, "the claim was kept");
    assert_ne!(world.member_ids("main").await?[2], before[2], "a removed member's id is never used again");
    assert_eq!(world.session("main", 2).await?.get("first").await?.as_deref(), Some("1"));
    Ok(())
}

async fn without_tls(world: &World) -> Outcome {
    let disabled = json!({"client": {"mode": "Disabled"}, "peer": {"mode": "Disabled"}});
    let retention = json!({"whenDeleted": "Delete"});
    world.create("plain", 1, json!({"spec": {"tls": disabled, "storage": {"retention": retention}}})).await?;
    world.await_condition("plain", "Stalled", "InvalidSpec").await?;
    let consent = json!({"metadata": {"annotations": {"quorate.io/allow-plaintext-peers": "true"}}});
    world.patch("plain", consent).await?;
    world.await_ready("plain", 1).await?;
    let mut session = world.session("plain", 0).await?;
    session.put("plain", "text").await?;
    assert_eq!(session.get("plain").await?.as_deref(), Some("text"));
    // Neither a wrong annotation nor a missing one keeps it from going.
    world.patch("plain", json!({"metadata": {"annotations": {"quorate.io/allow-plaintext-peers": null}}})).await?;
    world.delete("plain").await
}

async fn adoption(world: &World) -> Outcome {
    let cluster_id = world.status("main").await?.cluster_id.ok_or("no cluster id")?;
    let before = world.member_ids("main").await?;
    world.delete("main").await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(world.client.clone());
    assert!(maps.get_opt("main-latch").await?.is_some(), "the latch outlives the object");
    world.create("main", 3, json!({})).await?;
    world.await_condition("main", "Stalled", "DisksOfAnotherCluster").await?;
    let message = world.condition("main", "Stalled").await?.map(|one| one.message).unwrap_or_default();
    assert!(message.contains(&format!("quorate.io/adopt: \"{cluster_id}\"")), "{message}");
    world.patch("main", json!({"metadata": {"annotations": {"quorate.io/adopt": cluster_id}}})).await?;
    world.await_ready("main", 3).await?;
    assert_eq!(world.member_ids("main").await?, before, "all members with their disks");
    assert_eq!(world.session("main", 0).await?.get("first").await?.as_deref(), Some("1"));
    Ok(())
}

async fn deletion(world: &World) -> Outcome {
    world.patch("main", json!({"spec": {"storage": {"retention": {"whenDeleted": "Delete"}}}})).await?;
    let selector = ListParams::default().labels("quorate.io/cluster=main");
    let sets: Api<StatefulSet> = Api::default_namespaced(world.client.clone());
    assert_eq!(sets.list(&selector).await?.items.len(), 1, "the label finds what shall be gone");
    world.delete("main").await?;
    world.await_no_trace("main").await
}
