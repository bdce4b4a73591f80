//! Asks the members: each for its state, and one for the configuration.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::desired::Desired;
use crate::id::Id;
use crate::member_client::{Access, Member};
use crate::observed::{Configuration, MemberPhase, MemberSeen, MemberState, Observed};

/// Ordinal, address and host name of every pod that has an address.
pub fn hosts(desired: &Desired, observed: &Observed) -> Vec<(u32, String, String)> {
    observed
        .pods
        .iter()
        .filter_map(|(ordinal, pod)| Some((*ordinal, pod.address.clone()?, desired.pod_host(*ordinal))))
        .collect()
}

/// States by ordinal, and the configuration when a member of `cluster` could read it linearizably.
pub async fn ask(
    hosts: Vec<(u32, String, String)>,
    access: &Access,
    cluster: Option<Id>,
) -> (BTreeMap<u32, MemberSeen>, Option<Configuration>) {
    let answers = join_all(
        hosts
            .into_iter()
            .map(|(ordinal, address, host)| async move { (ordinal, ask_one(&address, &host, access).await) }),
    )
    .await;
    let mut seen = BTreeMap::new();
    let mut able = Vec::new();
    for (ordinal, answer) in answers {
        match answer {
            Ok((member, state)) => {
                if state.phase == MemberPhase::Running && cluster.is_some() && state.cluster_id == cluster {
                    able.push((state.leader_id != state.member_id, state.leader_id.is_none(), ordinal, member));
                }
                seen.insert(ordinal, MemberSeen::Answered(Box::new(state)));
            }
            Err(reason) => {
                seen.insert(ordinal, MemberSeen::Silent { reason });
            }
        }
    }
    // The leader first, then members that know one.
    able.sort_by_key(|(is_no_leader, knows_none, ordinal, _)| (*is_no_leader, *knows_none, *ordinal));
    for (_, knows_none, ordinal, mut member) in able {
        if knows_none {
            continue;
        }
        match member.configuration().await {
            Ok(configuration) if Some(configuration.cluster_id) == cluster => return (seen, Some(configuration)),
            Ok(_) => tracing::warn!(ordinal, "the configuration names another cluster"),
            Err(error) => tracing::info!(ordinal, %error, "no linearizable configuration"),
        }
    }
    (seen, None)
}

async fn ask_one(address: &str, host: &str, access: &Access) -> Result<(Member, MemberState), String> {
    let mut member = Member::connect(address, host, access).await.map_err(|error| error.to_string())?;
    let state = member.state().await.map_err(|error| error.to_string())?;
    // Addresses are used again by other pods, and without TLS nothing else would notice.
    if host.split('.').next() != Some(state.name.as_str()) {
        return Err(format!("the address belongs to {:?}", state.name));
    }
    Ok((member, state))
}
