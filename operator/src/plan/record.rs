//! Keeps the latch's list of members equal to the configuration, and ends the operation that got there.
//! The configuration is the truth; the latch is what is left of it when no quorum answers.

use crate::latch::{Disk, Latch, LatchedMember, Operation, Work};
use crate::observed::{Configuration, LatchSeen};

use super::guard::{Guard, guard};
use super::operation::{advance, complete};
use super::{Action, Context, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let LatchSeen::Present { latch, resource_version } = &context.observed.latch else { return None };
    let configuration = context.observed.configuration.as_ref()?;
    let members = match members(context, latch, configuration) {
        Ok(members) => members,
        Err(step) => return Some(*step),
    };
    let operation = operation(context, latch, configuration);
    if members == latch.members && operation == latch.operation {
        return None;
    }
    let mut latch = latch.clone();
    latch.members = members;
    latch.operation = operation;
    let action =
        Action::WriteLatch { latch, resource_version: resource_version.clone(), what: "the membership is recorded" };
    Some(Step::act(action, "the configuration differs from the record"))
}

fn members(
    context: Context<'_>,
    latch: &Latch,
    configuration: &Configuration,
) -> Result<Vec<LatchedMember>, Box<Step>> {
    let mut members = Vec::new();
    for member in &configuration.members {
        // `identity` let only members with our names through.
        let Some(ordinal) = context.desired.ordinal(&member.name) else { continue };
        let Some(disk) = disk_of(latch, ordinal, member.id) else {
            return Err(Box::new(Step::stall(
                "UnknownMember",
                format!(
                    "member {} ({}) is in the configuration but not in the latch: remove it with `quoratectl member remove {}`",
                    member.id, member.name, member.id
                ),
            )));
        };
        members.push(LatchedMember { ordinal, disk, voter: !member.learner });
    }
    members.sort_by_key(|member| member.ordinal);
    Ok(members)
}

fn disk_of(latch: &Latch, ordinal: u32, id: crate::id::Id) -> Option<Disk> {
    let recorded = latch.members.iter().map(|member| (member.ordinal, &member.disk));
    let under_way = latch.operation.as_ref().filter(|operation| !matches!(operation.work, Work::Retire { .. }));
    let joining = under_way.and_then(|operation| Some((operation.ordinal, operation.disk()?)));
    recorded
        .chain(joining)
        .find(|(recorded, disk)| *recorded == ordinal && disk.member_id == id)
        .map(|(_, disk)| disk.clone())
}

/// The operation after this configuration: joining ends with a vote, removing turns into retiring the volume.
fn operation(context: Context<'_>, latch: &Latch, configuration: &Configuration) -> Option<Operation> {
    let operation = latch.operation.as_ref()?;
    let configured = |id| configuration.members.iter().find(|member| member.id == id);
    match &operation.work {
        Work::Join { disk: Some(disk) } if configured(disk.member_id).is_some_and(|member| !member.learner) => None,
        Work::Join { disk: Some(disk) } if configured(disk.member_id).is_some() && !is_recorded(latch, disk) => {
            Some(advance(context, operation, operation.work.clone()))
        }
        Work::Remove { disk, reason } if guard(Guard::MemberGone, configured(disk.member_id).is_none()) => {
            Some(advance(context, operation, Work::Retire { disk: disk.clone(), reason: *reason }))
        }
        _ => Some(complete(context, operation)),
    }
}

fn is_recorded(latch: &Latch, disk: &Disk) -> bool {
    latch.members.iter().any(|member| member.disk.member_id == disk.member_id)
}
