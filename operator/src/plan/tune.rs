//! Timers and limits reach running members without a restart, in an order that never elects by accident: election
//! timeouts rise everywhere first, then heartbeats change, then election timeouts fall (rule H: what is pushed persists).

use crate::desired::Timers;
use crate::latch::{Latch, Tuning};
use crate::observed::{LatchSeen, MemberPhase, MemberState};

use super::facts::answered;
use super::{Action, Context, Step};

/// Pushes of one generation of the latch: one number for each phase and one for the limits.
const PUSHES_PER_GENERATION: u64 = 4;

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let LatchSeen::Present { latch, resource_version } = &context.observed.latch else { return None };
    decide(context, latch, resource_version)
        .or_else(|| push_limits(context, latch))
        .or_else(|| push_timers(context, latch))
}

/// The intent first: a generation that only rises.
fn decide(context: Context<'_>, latch: &Latch, resource_version: &str) -> Option<Step> {
    let desired = context.desired;
    if latch.tuning.timers == desired.timers && latch.tuning.limits == desired.limits {
        return None;
    }
    let mut latch = latch.clone();
    let generation = latch.tuning.generation + 1;
    latch.tuning = Tuning { generation, timers: desired.timers, limits: desired.limits };
    let what = "other timers or limits are wanted";
    let action = Action::WriteLatch { latch: Box::new(latch), resource_version: resource_version.to_owned(), what };
    Some(Step::act(action, what))
}

/// A learner has the voters' timers before it votes, else it would call elections against a leader that lives. A change that is under
/// way ends before: a voter that is silent meanwhile may have any of the values in between. The learner itself takes them at once.
pub(super) fn before_vote(context: Context<'_>, latch: &Latch, ordinal: u32, learner: &MemberState) -> Option<Step> {
    let timers = latch.tuning.timers;
    let mut voters = running(context).filter(|(voter, _)| context.facts.voters.contains_key(voter));
    if !voters.all(|(_, state)| state.timers == timers) {
        return push_timers(context, latch);
    }
    let generation = latch.tuning.generation * PUSHES_PER_GENERATION + 3;
    (learner.timers != timers)
        .then(|| Step::act(Action::SetTimers { ordinal, generation, timers }, "the voters have other timers"))
}

fn running(context: Context<'_>) -> impl Iterator<Item = (u32, &MemberState)> {
    answered(context.observed).filter(|(_, state)| state.phase == MemberPhase::Running)
}

fn push_limits(context: Context<'_>, latch: &Latch) -> Option<Step> {
    let limits = latch.tuning.limits;
    let (ordinal, _) = running(context).find(|(_, state)| state.limits != limits)?;
    let generation = latch.tuning.generation * PUSHES_PER_GENERATION;
    Some(Step::act(Action::SetLimits { ordinal, generation, limits }, "the member has other limits"))
}

fn push_timers(context: Context<'_>, latch: &Latch) -> Option<Step> {
    let wanted = latch.tuning.timers;
    let all_present = context.facts.healthy.len() == context.facts.voters.len();
    if running(context).all(|(_, state)| state.timers == wanted) {
        return None;
    }
    if !all_present {
        return Some(Step::wait("AwaitMembers", "timers are changed only while every member is there"));
    }
    let push = |phase: u64, ordinal: u32, timers: Timers| {
        let generation = latch.tuning.generation * PUSHES_PER_GENERATION + phase;
        Some(Step::act(Action::SetTimers { ordinal, generation, timers }, "the member has other timers"))
    };
    if let Some((ordinal, state)) = running(context).find(|(_, state)| election(state) < wanted.election_milliseconds) {
        return push(1, ordinal, Timers { election_milliseconds: wanted.election_milliseconds, ..state.timers });
    }
    let other_heartbeat = |state: &MemberState| state.timers.heartbeat_milliseconds != wanted.heartbeat_milliseconds;
    if let Some((ordinal, state)) = running(context).find(|(_, state)| other_heartbeat(state)) {
        return push(2, ordinal, Timers { heartbeat_milliseconds: wanted.heartbeat_milliseconds, ..state.timers });
    }
    let (ordinal, _) = running(context).find(|(_, state)| election(state) > wanted.election_milliseconds)?;
    push(3, ordinal, wanted)
}

fn election(state: &MemberState) -> u64 {
    state.timers.election_milliseconds
}
