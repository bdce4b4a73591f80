//! When members see another leader: each is asked again and again whom it follows.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::{Either, join_all, select};
use kube::ResourceExt;
use quorate_api::etcdserverpb::StatusRequest;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;

use crate::world::{Session, World};

/// Between two looks at a member: a small part of an election timeout.
const PAUSE: Duration = Duration::from_millis(10);
/// Looks between two at which pods there are.
const LOOKS_BETWEEN_LISTS: u32 = 20;
/// A member that does not answer in this time is asked over a new connection.
const PATIENCE: Duration = Duration::from_millis(300);

/// Runs the work, and says besides when members of the cluster saw another leader, or none.
pub async fn while_recorded<T>(world: &World, name: &str, work: impl Future<Output = T>) -> (T, Vec<Instant>) {
    let mut changes = Vec::new();
    let done = {
        let recorder = pin!(record(world, name, &mut changes));
        match select(pin!(work), recorder).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    };
    (done, changes)
}

async fn record(world: &World, name: &str, changes: &mut Vec<Instant>) -> std::convert::Infallible {
    let mut sessions = BTreeMap::<String, Session>::new();
    let mut leaders = BTreeMap::<String, u64>::new();
    for look in 0_u32.. {
        if look % LOOKS_BETWEEN_LISTS == 0 {
            connect(world, name, &mut sessions).await;
        }
        let asked = sessions.iter().map(async |(pod, session)| (pod.clone(), leader(session).await));
        for (pod, leader) in join_all(asked).await {
            match leader {
                Some(leader) => {
                    let before = leaders.insert(pod, leader);
                    if before.is_some_and(|before| before != leader) {
                        changes.push(Instant::now());
                    }
                }
                None => {
                    sessions.remove(&pod);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    unreachable!("no test looks that often")
}

/// Connects to pods that there is no connection to, and leaves those that ask their clients to go. One that cannot be reached is tried
/// again later.
async fn connect(world: &World, name: &str, sessions: &mut BTreeMap<String, Session>) {
    let pods = world.ready_pods(name).await.unwrap_or_default();
    let serving =
        pods.iter().filter(|pod| pod.labels().get("quorate.io/serving").is_some_and(|serves| serves == "true"));
    let serving: Vec<String> = serving.map(ResourceExt::name_any).collect();
    sessions.retain(|pod, _| serving.contains(pod));
    for pod in serving {
        let Some(ordinal) = pod.rsplit('-').next().and_then(|ordinal| ordinal.parse().ok()) else { continue };
        if !sessions.contains_key(&pod)
            && let Ok(session) = world.session(name, ordinal).await
        {
            sessions.insert(pod, session);
        }
    }
}

async fn leader(session: &Session) -> Option<u64> {
    let mut client = MaintenanceClient::new(session.channel());
    let answer = tokio::time::timeout(PATIENCE, client.status(StatusRequest {})).await;
    Some(answer.ok()?.ok()?.into_inner().leader)
}
