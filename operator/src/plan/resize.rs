//! Volumes grow to the size of the spec, one after the other; a growth that its provisioner does not give is taken back when the spec is.
//! The StatefulSet's own template cannot change, so that claims it makes later are small at first and grow like the others.

use crate::desired::quantity_bytes;
use crate::observed::VolumeSeen;

use super::{Action, Context, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let members = context.observed.latch.latch()?.members.iter().map(|member| member.ordinal);
    let volumes = || members.clone().filter_map(|ordinal| Some((ordinal, context.observed.volumes.get(&ordinal)?)));
    if let Some((ordinal, volume)) =
        volumes().find(|(_, volume)| volume.is_resizing() && !is_taken_back(context, volume))
    {
        let (claim, given) = (context.desired.volume(ordinal), volume.capacity.as_deref().unwrap_or("nothing"));
        return Some(Step::wait("AwaitResize", format!("{claim} shall have {} and has {given}", volume.request)));
    }
    let (ordinal, volume) = volumes().find(|(_, volume)| {
        let grows = volume.request_bytes().zip(wanted(context)).is_some_and(|(request, wanted)| request < wanted);
        !volume.deleting && (grows || is_taken_back(context, volume))
    })?;
    let action = Action::ResizeVolume {
        ordinal,
        uid: volume.uid.clone(),
        resource_version: volume.resource_version.clone(),
        size: context.desired.storage.size.clone(),
    };
    Some(Step::act(action, format!("spec.storage.size is {}", context.desired.storage.size)))
}

fn wanted(context: Context<'_>) -> Option<i64> {
    quantity_bytes(&context.desired.storage.size).ok()
}

/// It was asked for more than the spec says now, and was not given it.
fn is_taken_back(context: Context<'_>, volume: &VolumeSeen) -> bool {
    match (volume.request_bytes(), volume.capacity_bytes(), wanted(context)) {
        (Some(request), Some(capacity), Some(wanted)) => wanted < request && capacity <= wanted,
        _ => false,
    }
}
