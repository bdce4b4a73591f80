//! Which pods clients and evictions may count on. A pod is born with the label that the client Service and the disruption
//! budget select, so that members come back into service while no operator runs; here it is taken from those that do not
//! belong there, before anything else is decided about them, and given back when they do.

use crate::latch::{Latch, Work};
use crate::observed::{LatchSeen, MemberPhase, MemberState};

use super::identity::is_copy;
use super::{Action, Context, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let LatchSeen::Present { latch, .. } = &context.observed.latch else { return None };
    if latch.owner_uid != context.desired.uid {
        return None;
    }
    stranger(context).or_else(|| member(context, latch))
}

/// A pod with our labels that the StatefulSet did not make.
fn stranger(context: Context<'_>) -> Option<Step> {
    let stranger = context.observed.strangers.iter().find(|pod| pod.serving)?;
    let action = Action::SetServing { pod: stranger.name.clone(), uid: stranger.uid.clone(), serving: false };
    Some(Step::act(action, "it carries the labels of this cluster and is not a pod of its StatefulSet"))
}

fn member(context: Context<'_>, latch: &Latch) -> Option<Step> {
    context.observed.pods.iter().filter(|(_, pod)| !pod.deleting).find_map(|(ordinal, pod)| {
        if leaves(latch, *ordinal) {
            return None;
        }
        let unfit = unfit(context, latch, *ordinal)?;
        if unfit.is_none() && super::facts::state(context.observed, *ordinal).is_some_and(|state| state.draining) {
            let action = Action::Drain { ordinal: *ordinal, draining: false };
            return Some(Step::act(action, "its member stays in the cluster"));
        }
        if pod.serving == unfit.is_none() {
            return None;
        }
        let name = context.desired.pod(*ordinal);
        let action = Action::SetServing { pod: name, uid: pod.uid.clone(), serving: unfit.is_none() };
        Some(Step::act(action, unfit.unwrap_or("its member belongs to the cluster")))
    })
}

/// Why the member of a pod is not to be counted on: `Some(None)` when it is, `None` when nobody can tell.
fn unfit(context: Context<'_>, latch: &Latch, ordinal: u32) -> Option<Option<&'static str>> {
    let state = context.observed.members.get(&ordinal)?.state()?;
    if is_copy(context, latch, ordinal, state) {
        return Some(Some("its member runs on a copy of its disk"));
    }
    if state.cluster_id.is_some_and(|cluster| cluster != latch.cluster_id) {
        return Some(Some("its member belongs to another cluster"));
    }
    let is_unknown = state.phase == MemberPhase::Running && !is_configured(context, state);
    Some(is_unknown.then_some("its member is not in the configuration"))
}

/// `remove` says when a member that leaves shall have no clients any more.
fn leaves(latch: &Latch, ordinal: u32) -> bool {
    let leaving = latch.operation.as_ref().filter(|operation| matches!(operation.work, Work::Remove { .. }));
    leaving.is_some_and(|operation| operation.ordinal == ordinal)
}

fn is_configured(context: Context<'_>, state: &MemberState) -> bool {
    // Without a configuration nobody is called unknown.
    context
        .observed
        .configuration
        .as_ref()
        .is_none_or(|configuration| configuration.members.iter().any(|member| Some(member.id) == state.member_id))
}
