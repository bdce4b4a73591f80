//! Calls members: the one that an action names, or the leader for what only it can do.

use quorate_api::admin::FoundRequest;

use crate::member_client::{self, Member};
use crate::observed::MemberPhase;
use crate::plan::Action;

use super::{Error, Hands};

/// Performs an action on a member.
pub async fn call(hands: &Hands<'_>, action: &Action) -> Result<(), Error> {
    let ordinal = target(hands, action).ok_or(Error::NoMember)?;
    let at_member = |source| Error::Member { pod: hands.desired.pod(ordinal), source };
    let mut member = connect(hands, ordinal).await?;
    perform(hands, &mut member, action).await.map_err(at_member)
}

fn target(hands: &Hands<'_>, action: &Action) -> Option<u32> {
    match action {
        Action::Found { ordinal, .. }
        | Action::Admit { ordinal, .. }
        | Action::Adopt { ordinal, .. }
        | Action::SetAside { ordinal, .. }
        | Action::Drain { ordinal, .. }
        | Action::SetTimers { ordinal, .. }
        | Action::SetLimits { ordinal, .. } => Some(*ordinal),
        _ => leader(hands),
    }
}

fn leader(hands: &Hands<'_>) -> Option<u32> {
    hands.observation.observed.members.iter().find_map(|(ordinal, seen)| {
        let state = seen.state()?;
        let leads =
            state.phase == MemberPhase::Running && state.leader_id.is_some() && state.leader_id == state.member_id;
        leads.then_some(*ordinal)
    })
}

async fn connect(hands: &Hands<'_>, ordinal: u32) -> Result<Member, Error> {
    let observation = hands.observation;
    let address = observation.observed.pods.get(&ordinal).and_then(|pod| pod.address.as_deref());
    let (Some(address), Some(access)) = (address, &observation.access) else { return Err(Error::NoMember) };
    Member::connect(address, &hands.desired.pod_host(ordinal), access)
        .await
        .map_err(|source| Error::Member { pod: hands.desired.pod(ordinal), source })
}

async fn perform(hands: &Hands<'_>, member: &mut Member, action: &Action) -> Result<(), member_client::Error> {
    let desired = hands.desired;
    let owner_name = desired.owner_name();
    let owner = (desired.uid.as_str(), owner_name.as_str());
    match action {
        Action::Found { ordinal, disk_id, cluster_id } => {
            let request = FoundRequest {
                owner_uid: desired.uid.clone(),
                owner_name: owner_name.clone(),
                member_name: desired.pod(*ordinal),
                peer_urls: vec![desired.peer_url(*ordinal)],
                expected_cluster_id: cluster_id.0,
                disk_id: disk_id.clone(),
            };
            member.found(request).await
        }
        Action::Admit { member_id, disk_id, configuration, .. } => {
            member.admit(*member_id, disk_id, owner, configuration).await
        }
        Action::Adopt { cluster_id, .. } => member.adopt(*cluster_id, owner).await,
        Action::SetAside { owner_uid, .. } => member.set_aside(owner_uid).await,
        Action::ChangeMembership { expected_index, change } => member.change(*expected_index, change).await,
        Action::Drain { draining, .. } => member.drain(*draining).await,
        Action::HandOver { to } => member.hand_over(*to).await,
        Action::SetTimers { generation, timers, .. } => member.set_timers(*generation, *timers).await,
        Action::SetLimits { generation, limits, .. } => member.set_limits(*generation, *limits).await,
        other => unreachable!("{} is not an action on a member; `act` sends only those here", other.name()),
    }
}
