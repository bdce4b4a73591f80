//! etcd's strict checks before a membership change: it must not take the quorum away, judged by who has started and who has been
//! connected for a while. They protect users of etcd's own Cluster calls; the operator's guarded changes have rules of their own. Pure.

use std::collections::BTreeSet;

use quorate_api::Error as ApiError;
use quorate_core::log::MemberId;
use quorate_core::membership::{Change, Membership};

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// `connected` are the other members that this one has been connected with for five seconds.
///
/// # Errors
/// Not enough started members, or an unhealthy cluster.
pub fn check(
    membership: &Membership,
    change: &Change,
    this: MemberId,
    connected: &BTreeSet<MemberId>,
) -> Result<(), ApiError> {
    let voters: Vec<_> = membership.members().filter(|member| !member.learner).collect();
    let started = voters.iter().filter(|member| !member.name.is_empty()).count();
    let active = voters.iter().filter(|member| member.id == this || connected.contains(&member.id)).count();
    match change {
        Change::AddVoter(_) | Change::AddLearner(_) => {
            let after = voters.len() + 1;
            if matches!(change, Change::AddVoter(_)) && voters.len() > 1 && started < quorum(after) {
                return Err(ApiError::MemberNotEnoughStarted);
            }
            if voters.len() > 1 && active < quorum(after) {
                return Err(ApiError::Unhealthy);
            }
            Ok(())
        }
        Change::Promote(_) => {
            // The learner counts as started: it reported its progress.
            if started + 1 < quorum(voters.len() + 1) { Err(ApiError::MemberNotEnoughStarted) } else { Ok(()) }
        }
        Change::Remove(id) => check_removal(membership, *id, this, connected, active),
        Change::UpdatePeerUrls { .. } | Change::Leave => Ok(()),
        Change::Joint(changes) => {
            let mut active = connected.clone();
            active.insert(this);
            check_joint(membership, changes, &active)
        }
    }
}

/// A joint change needs the majority of the old voters to begin, and of the new ones to end: both must be alive. `active` are the
/// members that were heard of lately, this one among them.
///
/// # Errors
/// An unhealthy cluster.
pub fn check_joint(membership: &Membership, changes: &[Change], active: &BTreeSet<MemberId>) -> Result<(), ApiError> {
    let before: BTreeSet<MemberId> = membership.voter_ids().collect();
    let mut after = before.clone();
    for change in changes {
        match change {
            Change::AddVoter(member) => after.insert(member.id),
            Change::Promote(id) => after.insert(*id),
            Change::Remove(id) => after.remove(id),
            _ => continue,
        };
    }
    let decides = |voters: &BTreeSet<MemberId>| voters.intersection(active).count() >= quorum(voters.len());
    if decides(&before) && decides(&after) { Ok(()) } else { Err(ApiError::Unhealthy) }
}

fn check_removal(
    membership: &Membership,
    id: MemberId,
    this: MemberId,
    connected: &BTreeSet<MemberId>,
    active: usize,
) -> Result<(), ApiError> {
    let Some(target) = membership.get(id).filter(|member| !member.learner) else { return Ok(()) };
    let others = membership.members().filter(|member| !member.learner && member.id != target.id);
    let (mut count, mut started) = (0, 0);
    for member in others {
        count += 1;
        started += usize::from(!member.name.is_empty());
    }
    if started < quorum(count) || count == 0 {
        return Err(ApiError::MemberNotEnoughStarted);
    }
    if id != this && !connected.contains(&id) {
        return Ok(());
    }
    if active - 1 < 1 + (count) / 2 { Err(ApiError::Unhealthy) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::membership::Member;

    fn cluster(started: &[bool]) -> Membership {
        let member = |(id, started): (u64, &bool)| {
            let name = if *started { format!("m{id}") } else { String::new() };
            Member { id, name, peer_urls: vec![format!("http://p{id}")], ..Default::default() }
        };
        Membership::seeded((1..).zip(started).map(member))
    }

    #[test]
    fn a_joint_change_needs_the_old_and_the_new_majority_alive() {
        let mut membership = cluster(&[true, true, true]);
        membership.apply(4, Change::Joint(vec![Change::AddLearner(Member { id: 4, ..Default::default() })]));
        membership.apply(5, Change::Leave);
        let replace = [Change::Promote(4), Change::Remove(3)];
        for (active, expected) in [
            (vec![1, 2, 4], Ok(())),
            (vec![1, 2], Ok(())),
            (vec![1, 3], Err(ApiError::Unhealthy)),
            (vec![1, 4], Err(ApiError::Unhealthy)),
        ] {
            let active = active.into_iter().collect();
            assert_eq!(check_joint(&membership, &replace, &active), expected, "{active:?} are alive");
        }
    }

    #[test]
    fn changes_that_could_cost_the_quorum_are_refused() {
        let add = || Change::AddVoter(Member { id: 9, ..Default::default() });
        for (started, connected, change, expected) in [
            (vec![true], vec![], add(), Ok(())),
            (vec![true], vec![], Change::Remove(1), Err(ApiError::MemberNotEnoughStarted)),
            (vec![true, true, true], vec![], add(), Err(ApiError::Unhealthy)),
            (vec![true, true, true], vec![2, 3], add(), Ok(())),
            (vec![true, false], vec![2], add(), Err(ApiError::MemberNotEnoughStarted)),
            (vec![true, true, true], vec![2, 3], Change::Remove(3), Ok(())),
            (vec![true, true, true], vec![2], Change::Remove(2), Err(ApiError::Unhealthy)),
            (vec![true, true, true], vec![2], Change::Remove(3), Ok(())),
        ] {
            let connected = connected.into_iter().collect();
            let result = check(&cluster(&started), &change, 1, &connected);
            assert_eq!(result, expected, "{started:?} started, {connected:?} connected, {change:?}");
        }
    }
}
