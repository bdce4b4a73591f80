//! A follower whose network swallows everything for longer than a retransmission waits, and how soon it serves after that. Nobody
//! tells either side that the connections between them are dead.

use std::time::Duration;

use super::Error;
use super::clients::in_clients_network;
use super::cluster::{BACK_WITHIN, Cluster, Network};
use super::plan::Plan;

/// Cuts a follower of three members off from the others for so long; returns how much later it serves a linearizable read.
///
/// # Errors
/// The harness failed, or the members do not serve before or after.
pub fn run(cut: Duration, seed: u64) -> Result<Duration, Error> {
    in_clients_network(move |clients| async move {
        let plan = Plan { members: 3, duration: Duration::ZERO, seed, tls: true, kinds: Vec::new() };
        let mut cluster = Cluster::start(&plan, clients, Network::Switched, &[])?;
        cluster.all_back().await.map_err(|violation| cluster.late(violation, BACK_WITHIN))?;
        let leader = cluster.leader().await.ok_or_else(|| cluster.late("an election", BACK_WITHIN))?;
        let follower = (leader + 1) % plan.members;
        cluster.change_links(true, |from, to, link| link.cut |= (from == follower) != (to == follower));
        tokio::time::sleep(cut).await;
        cluster.mend_links();
        cluster.all_back().await.map_err(|violation| cluster.late(violation, BACK_WITHIN))
    })
}
