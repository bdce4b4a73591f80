//! How many pods there are, and how many an eviction must leave: counted from membership, never from the spec alone.

use crate::desired::Desired;
use crate::latch::Work;
use crate::observed::{MemberPhase, Observed};

use super::facts;
use super::guard;

/// Replicas of the StatefulSet: one more than the highest ordinal of configuration, latch and operation.
pub fn statefulset_replicas(desired: &Desired, observed: &Observed) -> u32 {
    let Some(latch) = observed.latch.latch() else { return 1 };
    let configured = observed.configuration.iter().flat_map(|configuration| &configuration.members);
    let target = latch.operation.as_ref().and_then(|operation| match operation.work {
        Work::Join { .. } | Work::Remove { .. } => Some(operation.ordinal),
        Work::Retire { .. } => None,
    });
    configured
        .filter_map(|member| desired.ordinal(&member.name))
        .chain(latch.members.iter().map(|member| member.ordinal))
        .chain(target)
        .chain([0])
        .max()
        .map_or(1, |highest| highest + 1)
}

/// Pods that an eviction must leave: the votes needed now, or after the promotion that comes next. `None`: no budget,
/// because the only member could then never be evicted.
pub fn budget(desired: &Desired, observed: &Observed) -> Option<u32> {
    let latch = observed.latch.latch()?;
    let voters = match &observed.configuration {
        Some(configuration) => configuration.voters().count(),
        None => latch.members.iter().filter(|member| member.voter).count(),
    };
    let promotion =
        observed.configuration.as_ref().and_then(|configuration| configuration.learner()).is_some_and(|learner| {
            desired
                .ordinal(&learner.name)
                .and_then(|ordinal| facts::state(observed, ordinal))
                .is_some_and(|state| state.phase == MemberPhase::Running && state.member_id == Some(learner.id))
        });
    let voters = voters + usize::from(promotion);
    if voters <= 1 { None } else { u32::try_from(guard::quorum(voters)).ok() }
}
