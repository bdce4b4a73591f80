//! A voter whose disk is provably gone, or that is corrupt, leaves; `scale` then fills its place with a new member
//! under a new id (rules B and E). An unhealthy voter without evidence is left alone: its pod comes back by itself.

use crate::latch::{RemovalReason, Work};
use crate::observed::LatchSeen;

use super::guard::{Guard, guard};
use super::operation;
use super::{Context, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let LatchSeen::Present { latch, resource_version } = &context.observed.latch else { return None };
    let (ordinal, reason) = candidate(context)?;
    let disk = latch.member(ordinal)?.disk.clone();
    let removal = operation::begin(context, ordinal, Work::Remove { disk, reason });
    let what = match reason {
        RemovalReason::Corrupt => "a corrupt member is being replaced",
        RemovalReason::DiskLost | RemovalReason::ScaleIn => "a member that lost its disk is being replaced",
    };
    Some(Step::act(operation::write(latch, resource_version, Some(removal), what), what))
}

fn candidate(context: Context<'_>) -> Option<(u32, RemovalReason)> {
    let facts = context.facts;
    facts.replaceable().or_else(|| {
        let silent = facts.voters.keys().find(|ordinal| !facts.healthy.contains(ordinal))?;
        guard(Guard::Evidence, false).then_some((*silent, RemovalReason::DiskLost))
    })
}
