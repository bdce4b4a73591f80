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
        let state = super::facts::state(context.observed, *ordinal)?;
        let (serving, why) = match fitness(context, latch, *ordinal, state) {
            Fitness::Fit if state.draining => {
                let action = Action::Drain { ordinal: *ordinal, draining: false };
                return Some(Step::act(action, "its member stays in the cluster"));
            }
            Fitness::Fit => (true, "its member belongs to the cluster"),
            Fitness::Unfit(why) => (false, why),
        };
        if pod.serving == serving {
            return None;
        }
        let action = Action::SetServing { pod: context.desired.pod(*ordinal), uid: pod.uid.clone(), serving };
        Some(Step::act(action, why))
    })
}

/// Whether clients and evictions may count on a member that tells its state.
enum Fitness {
    Fit,
    /// And why not.
    Unfit(&'static str),
}

fn fitness(context: Context<'_>, latch: &Latch, ordinal: u32, state: &MemberState) -> Fitness {
    if is_copy(context, latch, ordinal, state) {
        Fitness::Unfit("its member runs on a copy of its disk")
    } else if state.cluster_id.is_some_and(|cluster| cluster != latch.cluster_id) {
        Fitness::Unfit("its member belongs to another cluster")
    } else if state.phase == MemberPhase::Running && !is_configured(context, state) {
        Fitness::Unfit("its member is not in the configuration")
    } else {
        Fitness::Fit
    }
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
