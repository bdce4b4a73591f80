//! Five members: founded, and serving while two of them do not.

use nix::sys::signal::Signal;
use quorate_e2e::scenario::Outcome;
use serde_json::json;

use crate::world::World;

pub async fn two_of_five(world: &World) -> Outcome {
    world.create("five", 5, json!({"spec": {"storage": {"retention": {"whenDeleted": "Delete"}}}})).await?;
    world.await_ready("five", 5).await?;
    let status = world.status("five").await?;
    let quorum = status.quorum.ok_or("no quorum is shown")?;
    assert_eq!((quorum.needed, quorum.healthy, quorum.margin), (3, 5, 2));
    let mut session = world.session("five", 0).await?;
    session.put("all", "there").await?;
    // Two that neither answer nor end, one of them the leader.
    world.lead("five", "five-4").await?;
    for pod in ["five-3", "five-4"] {
        world.signal_server(pod, Signal::SIGSTOP)?;
    }
    world.await_until("a put without two of five", async || Ok(session.put("three", "left").await.is_ok())).await?;
    assert_eq!(session.get("three").await?.as_deref(), Some("left"));
    for pod in ["five-3", "five-4"] {
        world.signal_server(pod, Signal::SIGKILL)?;
    }
    world
        .await_until("two restarted members", async || {
            let restarts = world.all_restarts("five").await?;
            Ok(restarts.iter().filter(|restarts| **restarts > 0).count() == 2)
        })
        .await?;
    world.await_ready("five", 5).await?;
    assert_eq!(world.session("five", 4).await?.get("three").await?.as_deref(), Some("left"));
    world.delete("five").await
}
