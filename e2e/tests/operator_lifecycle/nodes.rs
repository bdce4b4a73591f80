//! Three nodes: where pods go, and what becomes of a cluster when a node loses its power or its network.

use std::collections::BTreeSet;

use quorate_e2e::kubernetes::node_name;
use quorate_e2e::scenario::Outcome;

use crate::ELECTION;
use crate::common::Error;
use crate::load::Load;
use crate::world::World;

/// Puts that must succeed while a node is away: enough that the new leader has served for a while.
const PUTS_WITHOUT_THE_NODE: u32 = 200;

/// One member on each node, and the status says on which.
pub async fn spread(world: &World) -> Outcome {
    let members = world.status("main").await?.members;
    let nodes: BTreeSet<String> = members.iter().filter_map(|member| member.node.clone()).collect();
    assert_eq!(nodes, (1..=3).map(node_name).collect(), "{members:?}");
    let protection = world.condition("main", "ProtectionReduced").await?.map(|one| (one.status, one.reason));
    assert_eq!(protection, Some(("False".to_owned(), "Margin".to_owned())));
    Ok(())
}

/// A leader whose node loses its power: the others serve on, nobody is replaced, and the member comes back on its disk.
pub async fn killed_node(world: &World) -> Outcome {
    let away = Away::choose(world).await?;
    let gone = away.be_gone(world, || world.cluster.kill_node(away.node)).await;
    // Also after a failure: the scenarios after this one need the node.
    world.cluster.restart_node(away.node)?;
    away.await_whole(world, &gone?).await
}

/// A leader whose node loses its network: it goes on running and nobody hears it.
pub async fn partitioned_node(world: &World) -> Outcome {
    let away = Away::choose(world).await?;
    let restarts = world.restarts(&away.pod).await?;
    let gone = away.be_gone(world, || world.cluster.partition(away.node)).await;
    world.cluster.heal(away.node)?;
    away.await_whole(world, &gone?).await?;
    assert_eq!(world.restarts(&away.pod).await?, restarts, "a member that was cut off is not restarted");
    Ok(())
}

/// The member that goes away with its node, and one that sees the rest.
struct Away {
    pod: String,
    node: u32,
    witness: u32,
}

impl Away {
    /// A leader on a node without the operator.
    async fn choose(world: &World) -> Result<Self, Error> {
        let operator = world.operator_node().await?;
        let members = world.status("main").await?.members;
        let candidate = members.iter().find(|member| member.node.as_ref().is_some_and(|node| *node != operator));
        let member = candidate.ok_or("every member runs beside the operator")?;
        let pod = member.name.clone();
        let node = (1..=3).find(|node| Some(node_name(*node)) == member.node).ok_or("a node of another cluster")?;
        let witness = (0..3).find(|ordinal| format!("main-{ordinal}") != pod).ok_or("there is no other member")?;
        world.lead("main", &pod).await?;
        println!("       {pod} on {} goes away; the operator is on {operator}", node_name(node));
        Ok(Self { pod, node, witness })
    }

    /// The node goes and the others serve on. Returns the ids of the members.
    async fn be_gone(
        &self,
        world: &World,
        go: impl FnOnce() -> quorate_e2e::kubernetes::Result<()>,
    ) -> Result<Vec<Option<String>>, Error> {
        let before = world.member_ids("main").await?;
        let load = Load::start(world.session("main", self.witness).await?);
        world.await_until("the first puts", async || Ok(load.successes() > 10)).await?;
        go()?;
        world.await_until("another leader", async || Ok(load.terms() > 1)).await?;
        let enough = load.successes() + PUTS_WITHOUT_THE_NODE;
        world.await_until("puts under the new leader", async || Ok(load.successes() >= enough)).await?;
        world.cluster.await_node(self.node, false).await?;
        world.await_condition("main", "Degraded", "VotersUnhealthy").await?;
        self.assert_nobody_replaced(world, &before).await?;
        load.stop().await.check(ELECTION)?;
        Ok(before)
    }

    async fn assert_nobody_replaced(&self, world: &World, before: &[Option<String>]) -> Result<(), Error> {
        let status = world.status("main").await?;
        assert_eq!((status.voters, &status.operation), (3, &None), "silence is no evidence");
        assert_eq!(world.member_ids("main").await?, before);
        let away = status.members.iter().find(|member| member.name == self.pod);
        let message = away.and_then(|member| member.message.clone()).unwrap_or_default();
        assert!(!message.is_empty(), "the status does not say what is wrong with {}", self.pod);
        println!("       {}: {message}", self.pod);
        Ok(())
    }

    /// The node is back, and so is the member, as it was.
    async fn await_whole(&self, world: &World, before: &[Option<String>]) -> Outcome {
        world.cluster.await_node(self.node, true).await?;
        world
            .await_until("the member back in status", async || {
                let degraded = world.condition("main", "Degraded").await?;
                Ok(degraded.is_some_and(|one| one.status == "False"))
            })
            .await?;
        world.await_ready("main", 3).await?;
        assert_eq!(world.member_ids("main").await?, before, "the same members on the same disks");
        let ordinal = self.pod.rsplit('-').next().unwrap_or_default().parse()?;
        assert_eq!(world.session("main", ordinal).await?.get("first").await?.as_deref(), Some("1"));
        Ok(())
    }
}
