//! From the voters there are to the voters there shall be, one operation after the other.

use crate::latch::{Latch, Operation, RemovalReason, Work};
use crate::observed::LatchSeen;

use super::operation::{self, begin};
use super::{Context, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let LatchSeen::Present { latch, resource_version } = &context.observed.latch else { return None };
    let operation = stray_learner(context, latch).or_else(|| surplus(context, latch)).or_else(|| missing(context))?;
    let what = match &operation.work {
        Work::Join { .. } => "a member is being added",
        Work::Remove { .. } | Work::Retire { .. } => "a member is being removed",
    };
    Some(Step::act(operation::write(latch, resource_version, Some(operation), what), what))
}

/// A learner without an operation is one whose operation was lost with an edited latch: it is taken up again.
fn stray_learner(context: Context<'_>, latch: &Latch) -> Option<Operation> {
    let learner = context.observed.configuration.as_ref()?.learner()?;
    let ordinal = context.desired.ordinal(&learner.name)?;
    let disk = latch.member(ordinal)?.disk.clone();
    Some(begin(context, ordinal, Work::Join { disk: Some(disk) }))
}

/// The highest voter above the wanted size, but not while a member that stays has to come back first: rule D would
/// refuse it later, and starting would only take the place of the repair.
fn surplus(context: Context<'_>, latch: &Latch) -> Option<Operation> {
    let (&ordinal, _) = context.facts.voters.last_key_value()?;
    if ordinal < context.desired.replicas {
        return None;
    }
    let disk = latch.member(ordinal)?.disk.clone();
    Some(begin(context, ordinal, Work::Remove { disk, reason: RemovalReason::ScaleIn }))
}

/// The lowest ordinal without a voter.
fn missing(context: Context<'_>) -> Option<Operation> {
    let ordinal = (0..context.desired.replicas).find(|ordinal| !context.facts.voters.contains_key(ordinal))?;
    Some(begin(context, ordinal, Work::Join { disk: None }))
}
