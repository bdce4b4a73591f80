//! Gathers what is known of a cluster at this instant: the only reader of Kubernetes and of members.
//!
//! All reads are live, none from a watch's cache. A member that does not answer costs its timeout once, because all are
//! asked at the same time.

mod children;
mod members;
mod secrets;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::claim::Claim;
use crate::crd::LABEL_CLUSTER;
use crate::desired::Desired;
use crate::latch::Latch;
use crate::member_client::Access;
use crate::observed::{LatchSeen, Observed};

pub use secrets::{Credentials, LEAF_CERTIFICATE, PRIVATE_KEY, Secrets, TOKEN, TRUST};

/// Key of the record in the latch's ConfigMap.
pub const LATCH_KEY: &str = "latch.json";

/// What was seen, and what acting on it needs besides.
pub struct Observation {
    pub observed: Observed,
    pub secrets: Secrets,
    /// `None` until the Secrets of the admin plane exist.
    pub access: Option<Access>,
}

/// Observes one cluster.
pub async fn observe(
    client: &Client,
    desired: &Desired,
    credentials: &Credentials,
) -> Result<Observation, kube::Error> {
    let namespace = desired.namespace.as_str();
    let selector = ListParams::default().labels(&format!("{LABEL_CLUSTER}={}", desired.name));
    let latches: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let latch_name = desired.latch_name();
    let (latch, set, pods, claims, secrets, documents) = futures::try_join!(
        latches.get_opt(&latch_name),
        sets.get_opt(&desired.name),
        pods.list(&selector),
        claims.list(&selector),
        Secrets::read(client, desired),
        children::documents(client, desired),
    )?;
    let (pods, strangers) = children::pods(desired, pods.items);
    let mut observed = Observed {
        finalizer: false,
        status_cluster_id: None,
        latch: latch_seen(latch),
        statefulset: set.as_ref().map(|set| children::statefulset(desired, set)),
        pods,
        strangers,
        volumes: children::volumes(desired, Claim::Data, &claims.items),
        wal_volumes: children::volumes(desired, Claim::Wal, &claims.items),
        members: std::collections::BTreeMap::new(),
        configuration: None,
        drift: Vec::new(),
        authorities: secrets.authorities(desired),
    };
    let access = credentials.access(desired, &secrets);
    if let Some(access) = &access {
        let hosts = members::hosts(desired, &observed);
        let is_founded = observed.latch.latch().map(|latch| latch.cluster_id);
        (observed.members, observed.configuration) = members::ask(hosts, access, is_founded).await;
    }
    observed.drift = secrets.drift(desired, observed.latch.latch(), jiff::Timestamp::now());
    let documents = children::drift(desired, &observed, &documents, set.as_ref());
    observed.drift.extend(documents);
    Ok(Observation { observed, secrets, access })
}

fn latch_seen(latch: Option<ConfigMap>) -> LatchSeen {
    let Some(latch) = latch else { return LatchSeen::Absent };
    let text = latch.data.as_ref().and_then(|data| data.get(LATCH_KEY)).map(String::as_str).unwrap_or_default();
    match Latch::parse(text) {
        Ok(parsed) => LatchSeen::Present {
            latch: Box::new(parsed),
            resource_version: latch.metadata.resource_version.unwrap_or_default(),
        },
        Err(error) => LatchSeen::Unusable { reason: error.to_string() },
    }
}
