//! What the status shows of operations: a watch delivers every status, however short it was shown.

use std::pin::pin;

use futures::future::{Either, select};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{WatchEvent, WatchParams};
use quorate_operator::crd::QuorateCluster;
use quorate_operator::crd::status::OperationStatus;

use crate::common::Error;
use crate::world::World;

/// Runs the work, and returns besides every operation that the cluster's status showed from before it began.
pub async fn while_recorded<T>(
    world: &World,
    name: &str,
    work: impl Future<Output = T>,
) -> Result<(T, Vec<OperationStatus>), Error> {
    let version = world.clusters().get(name).await?.resource_version().unwrap_or_default();
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut shown = Vec::new();
    let done = {
        let recorder = pin!(record(world, only, version, &mut shown));
        match select(pin!(work), recorder).await {
            Either::Left((done, _)) => done,
            Either::Right((ended, _)) => return Err(ended.err().unwrap_or_else(|| "the watch ended".into())),
        }
    };
    Ok((done, shown))
}

async fn record(
    world: &World,
    only: WatchParams,
    version: String,
    shown: &mut Vec<OperationStatus>,
) -> Result<(), Error> {
    let clusters = world.clusters();
    let mut events = clusters.watch(&only, &version).await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Modified(QuorateCluster { status, .. }) => {
                shown.extend(status.and_then(|status| status.operation));
            }
            WatchEvent::Error(error) => return Err(error.message.clone().into()),
            WatchEvent::Added(_) | WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}
