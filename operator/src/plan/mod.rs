//! Decides the single next step of a cluster. Pure: `observe` gathers facts, `act` performs the one action, and the
//! next round observes afresh, so that a crash in between costs one repetition and no more.
//!
//! One file a concern; `plan` asks them in the order of the design (section 2), and the first that has something to do
//! or to wait for has the say.

mod action;
mod bootstrap;
mod delete;
mod facts;
pub mod guard;
mod identity;
mod join;
mod operation;
mod record;
mod remove;
mod replace;
mod resize;
mod scale;
mod serving;
mod size;
mod tune;

use jiff::Timestamp;

use crate::desired::Desired;
use crate::observed::Observed;
use crate::render::{Child, Drift};
use crate::tls::SecretKind;

pub use action::{Action, Decision, MembershipChange, Stall, Step};
pub use facts::{Facts, LAG_ENTRIES_MAX};
pub use size::{budget, statefulset_replicas};

/// All that a concern may look at.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub facts: &'a Facts,
    pub now: Timestamp,
    /// Randomness for the id of an operation that begins; drawn by the caller.
    pub entropy: u128,
}

/// The next step and the facts it rests on. `entropy` becomes part of the id of an operation that begins now.
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp, entropy: u128) -> Decision {
    let facts = Facts::new(desired, observed);
    let context = Context { desired, observed, facts: &facts, now, entropy };
    let step = next(context);
    let overdue = operation::overdue(context, &step);
    Decision { facts, step, overdue }
}

fn next(context: Context<'_>) -> Step {
    let Context { desired, observed, .. } = context;
    if desired.deleting {
        return delete::next(context);
    }
    if desired.paused {
        return certificates(context).unwrap_or(Step::Paused);
    }
    if !observed.finalizer {
        return Step::act(Action::AddFinalizer, "the finalizer is missing");
    }
    let concerns: [fn(Context<'_>) -> Option<Step>; 11] = [
        serving::next,
        identity::next,
        children,
        bootstrap::next,
        record::next,
        quorum,
        operation_under_way,
        replace::next,
        scale::next,
        tune::next,
        resize::next,
    ];
    concerns.iter().find_map(|concern| concern(context)).unwrap_or(Step::Steady)
}

/// Puts right what is not as it shall be; never blocked by an operation.
fn children(context: Context<'_>) -> Option<Step> {
    let drift = context.observed.drift.first()?;
    Some(match &drift.conflict {
        Some(conflict) => Step::stall("NameConflict", conflict.clone()),
        None => apply(context, drift),
    })
}

/// Leaves are renewed while a cluster is paused too: a pause must not end in members that cannot speak to each other.
fn certificates(context: Context<'_>) -> Option<Step> {
    context.observed.latch.latch()?;
    let is_leaf = |child: &Child| matches!(child, Child::Secret(SecretKind::Leaf(_)));
    let drift = context.observed.drift.iter().find(|drift| is_leaf(&drift.child) && drift.conflict.is_none())?;
    Some(apply(context, drift))
}

fn apply(context: Context<'_>, drift: &Drift) -> Step {
    let (_, kind, _) = drift.child.kind();
    let why = format!("{kind} {}: {}", drift.child.name(context.desired), drift.reason);
    Step::act(Action::Apply(drift.child.clone()), why)
}

/// Without a linearizable configuration nothing about membership may be decided (invariant 6): the pods come back on
/// their own disks by themselves.
fn quorum(context: Context<'_>) -> Option<Step> {
    if context.observed.configuration.is_some() {
        return None;
    }
    let facts = context.facts;
    if facts.lost_disks.len() > facts.voters.len().saturating_sub(facts.quorum()) {
        return Some(Step::stall(
            "DisksLost",
            format!(
                "the disks of {} of {} voters are gone ({}): no quorum can come back by itself; restore a backup into a new cluster",
                facts.lost_disks.len(),
                facts.voters.len(),
                facts.lost_disks.iter().map(|ordinal| context.desired.pod(*ordinal)).collect::<Vec<_>>().join(", "),
            ),
        ));
    }
    Some(Step::wait(
        "AwaitQuorum",
        format!(
            "{} of {} voters answer, {} are needed; waiting for their pods to come back on their disks",
            facts.healthy.len(),
            facts.voters.len(),
            facts.quorum()
        ),
    ))
}

/// Goes on with the operation in the latch.
fn operation_under_way(context: Context<'_>) -> Option<Step> {
    join::next(context).or_else(|| remove::next(context))
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
