//! What reaches running members without a restart: raft timers and limits.

use quorate_e2e::scenario::Outcome;
use serde_json::json;

use crate::ELECTION;
use crate::load::Load;
use crate::world::World;

/// Slower, then as fast as before: the first raises the election timeouts before the heartbeats, the second the reverse.
pub async fn timers(world: &World) -> Outcome {
    let uids = world.pod_uids("main").await?;
    let restarts = world.all_restarts("main").await?;
    let load = Load::start(world.session("main", 0).await?);
    for (profile, heartbeat, election) in [("CrossZone", 250, 2_500), ("LowLatency", 100, 1_000)] {
        world.patch("main", json!({"spec": {"raft": {"profile": profile}}})).await?;
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

/// Claims are asked for more and their volumes have it, without a restart.
pub async fn volumes(world: &World) -> Outcome {
    let restarts = world.all_restarts("main").await?;
    world.patch("main", json!({"spec": {"storage": {"size": "640Mi"}}})).await?;
    world.await_ready("main", 3).await?;
    let status = world.status("main").await?;
    let storage = status.storage.ok_or("no sizes are shown")?;
    assert_eq!((storage.min_capacity.as_str(), storage.resizing.len()), ("640Mi", 0));
    let capacities: Vec<Option<String>> = status.members.into_iter().map(|member| member.capacity).collect();
    assert_eq!(capacities, vec![Some("640Mi".to_owned()); 3]);
    let error = world.patch("main", json!({"spec": {"storage": {"size": "512Mi"}}})).await.expect_err("it was given");
    assert!(error.to_string().contains("cannot be made smaller than status.storage.minCapacity"), "{error}");
    assert_eq!(world.all_restarts("main").await?, restarts);
    Ok(())
}
