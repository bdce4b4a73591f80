//! Timers and limits reach running members without a restart, in an order that never elects by accident: election
//! timeouts rise everywhere first, then heartbeats change, then election timeouts fall (rule H: what is pushed persists).

use crate::desired::{Desired, Timers};
use crate::latch::{Latch, Tuning};
use crate::observed::{LatchSeen, MemberPhase, MemberState};

use super::facts::answered;
use super::{Action, Context, Step};

/// Pushes of one generation of the latch: one number for each phase and one for the limits.
const PUSHES_PER_GENERATION: u64 = 4;

/// The phases of a change of timers. Every member takes part in each, also where that changes nothing for it: from then on it refuses
/// what was meant for an earlier phase or change and comes late, from an operator that does not lead any more.
///
/// Invariant: a phase begins when every voter has been through the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    RaiseElection = 1,
    Heartbeat = 2,
    LowerElection = 3,
}

impl Phase {
    const ALL: [Phase; 3] = [Phase::RaiseElection, Phase::Heartbeat, Phase::LowerElection];

    /// What a member has after this phase.
    fn timers(self, now: Timers, wanted: Timers) -> Timers {
        match self {
            Phase::RaiseElection => {
                let election_milliseconds = now.election_milliseconds.max(wanted.election_milliseconds);
                Timers { election_milliseconds, ..now }
            }
            Phase::Heartbeat => Timers { heartbeat_milliseconds: wanted.heartbeat_milliseconds, ..now },
            Phase::LowerElection => wanted,
        }
    }

    fn push(self, tuning: &Tuning) -> u64 {
        tuning.timers_generation * PUSHES_PER_GENERATION + self as u64
    }

    /// Whether the member has been through it. The timers of the founding come by flags; only who was started with others needs a push.
    fn is_done(self, tuning: &Tuning, state: &MemberState) -> bool {
        let is_founding = tuning.timers_generation == 0;
        state.timers_generation >= self.push(tuning)
            || (is_founding && self.timers(state.timers, tuning.timers) == state.timers)
    }
}

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
    let changes_timers = latch.tuning.timers != desired.timers;
    let timers_generation = if changes_timers { generation } else { latch.tuning.timers_generation };
    let timers_changed_at = if changes_timers { Some(context.now) } else { latch.tuning.timers_changed_at };
    let Desired { timers, limits, .. } = *desired;
    latch.tuning = Tuning { generation, timers_generation, timers, timers_changed_at, limits };
    let what = "other timers or limits are wanted";
    let action = Action::WriteLatch { latch: Box::new(latch), resource_version: resource_version.to_owned(), what };
    Some(Step::act(action, what))
}

/// A learner has the voters' timers before it votes, else it would call elections against a leader that lives. A change that is under
/// way ends before: a voter that is silent meanwhile may have any of the values in between. The learner itself takes them at once.
pub(super) fn before_vote(context: Context<'_>, latch: &Latch, ordinal: u32, learner: &MemberState) -> Option<Step> {
    let (tuning, last) = (&latch.tuning, Phase::LowerElection);
    let mut voters = running(context).filter(|(voter, _)| context.facts.voters.contains_key(voter));
    if !voters.all(|(_, state)| last.is_done(tuning, state)) {
        return push_timers(context, latch);
    }
    let (generation, timers) = (last.push(tuning), tuning.timers);
    (!last.is_done(tuning, learner))
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
    let tuning = &latch.tuning;
    let all_present = context.facts.healthy.len() == context.facts.voters.len();
    for phase in Phase::ALL {
        let Some((ordinal, state)) = running(context).find(|(_, state)| !phase.is_done(tuning, state)) else {
            continue;
        };
        if !all_present {
            return Some(Step::wait("AwaitMembers", "timers are changed only while every member is there"));
        }
        let (generation, timers) = (phase.push(tuning), phase.timers(state.timers, tuning.timers));
        return Some(Step::act(Action::SetTimers { ordinal, generation, timers }, "the timers of all members change"));
    }
    None
}
