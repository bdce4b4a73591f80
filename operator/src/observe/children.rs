//! Reads children and turns them into what decisions need.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::claim::Claim;
use crate::crd::{ANNOTATION_CLUSTER_ID, ANNOTATION_DISK_ID, ANNOTATION_MEMBER_ID};
use crate::desired::Desired;
use crate::observed::{Observed, PodSeen, StatefulSetSeen, StrangerSeen, VolumeMark, VolumeSeen};
use crate::render::{self, Child, Drift};

/// Children with documents, as they live.
pub type Documents = BTreeMap<Child, Value>;

/// Reads Services and the budget; the StatefulSet is read for its own sake.
pub async fn documents(client: &Client, desired: &Desired) -> Result<Documents, kube::Error> {
    let services: Api<Service> = Api::namespaced(client.clone(), &desired.namespace);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), &desired.namespace);
    let names = [Child::PeersService, Child::ClientService, Child::Budget].map(|child| child.name(desired));
    let (peers, clients, budget) =
        futures::try_join!(services.get_opt(&names[0]), services.get_opt(&names[1]), budgets.get_opt(&names[2]))?;
    let mut documents = Documents::new();
    documents.extend(peers.map(|live| (Child::PeersService, value(&live))));
    documents.extend(clients.map(|live| (Child::ClientService, value(&live))));
    documents.extend(budget.map(|live| (Child::Budget, value(&live))));
    Ok(documents)
}

fn value<T: serde::Serialize>(live: &T) -> Value {
    serde_json::to_value(live).expect("Kubernetes objects hold only strings, numbers and maps with string keys")
}

/// What differs, in the order in which it is put right.
pub fn drift(desired: &Desired, observed: &Observed, documents: &Documents, set: Option<&StatefulSet>) -> Vec<Drift> {
    let set = set.map(value);
    let differs = |child| {
        let live = if child == Child::StatefulSet { set.as_ref() } else { documents.get(&child) };
        render::drift(desired, observed, child, live)
    };
    Child::DOCUMENTS.into_iter().filter_map(differs).collect()
}

/// The StatefulSet.
pub fn statefulset(desired: &Desired, set: &StatefulSet) -> StatefulSetSeen {
    let spec = set.spec.as_ref();
    StatefulSetSeen {
        uid: set.uid().unwrap_or_default(),
        resource_version: set.resource_version().unwrap_or_default(),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(0).unsigned_abs(),
        claim_size: spec
            .and_then(|spec| {
                spec.volume_claim_templates.as_ref()?.iter().find(|claim| claim.name_any() == Claim::Data.name())
            })
            .and_then(|claim| request(claim.spec.as_ref())),
        ours: set.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == desired.uid),
        deleting: set.metadata.deletion_timestamp.is_some(),
        update_revision: set.status.as_ref().and_then(|status| status.update_revision.clone()).unwrap_or_default(),
    }
}

/// Pods of the StatefulSet by ordinal, and those that only carry the cluster's label.
pub fn pods(desired: &Desired, pods: Vec<Pod>) -> (BTreeMap<u32, PodSeen>, Vec<StrangerSeen>) {
    let is_member = |pod: &Pod| {
        let mut owners = pod.owner_references().iter();
        owners.any(|owner| owner.controller == Some(true) && owner.kind == "StatefulSet" && owner.name == desired.name)
    };
    let (members, strangers): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(is_member);
    let members = members.into_iter().filter_map(|pod| Some((desired.ordinal(&pod.name_any())?, pod_seen(&pod))));
    let strangers = strangers.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(|pod| StrangerSeen {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        serving: is_serving(pod),
    });
    (members.collect(), strangers.collect())
}

fn is_serving(pod: &Pod) -> bool {
    pod.labels().get(render::LABEL_SERVING).is_some_and(|value| value == "true")
}

fn pod_seen(pod: &Pod) -> PodSeen {
    let status = pod.status.as_ref();
    let is_terminal = status
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| phase == "Failed" || phase == "Succeeded");
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready =
        conditions.is_some_and(|conditions| conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    PodSeen {
        uid: pod.uid().unwrap_or_default(),
        resource_version: pod.resource_version().unwrap_or_default(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        ready,
        serving: is_serving(pod),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        address: status.and_then(|status| status.pod_ip.clone()).filter(|ip| !ip.is_empty() && !is_terminal),
        revision: pod.labels().get("controller-revision-hash").cloned().unwrap_or_default(),
        trouble: trouble(pod),
    }
}

/// What keeps a pod from running, in the words of scheduler and kubelet.
fn trouble(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return String::new() };
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone().unwrap_or_default();
        (reason != "ContainerCreating").then(|| match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason,
        })
    });
    let unscheduled = || {
        let condition =
            status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
        Some(format!("not scheduled: {}", condition.message.clone().unwrap_or_default()))
    };
    waiting.or_else(unscheduled).unwrap_or_default()
}

/// The volume claims of one kind by ordinal.
pub fn volumes(desired: &Desired, kind: Claim, claims: &[PersistentVolumeClaim]) -> BTreeMap<u32, VolumeSeen> {
    let of_kind = |claim: &PersistentVolumeClaim| {
        let name = claim.name_any();
        let ordinal = desired.ordinal(name.strip_prefix(kind.name())?.strip_prefix('-')?)?;
        Some((ordinal, volume_seen(claim)))
    };
    claims.iter().filter_map(of_kind).collect()
}

fn request(spec: Option<&PersistentVolumeClaimSpec>) -> Option<String> {
    let requests = spec?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.clone())
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.status.as_ref()?.capacity.as_ref()?.get("storage").map(|capacity| capacity.0.clone())
}

fn volume_seen(claim: &PersistentVolumeClaim) -> VolumeSeen {
    let annotation = |key: &str| claim.annotations().get(key);
    let mark = || {
        Some(VolumeMark {
            cluster_id: annotation(ANNOTATION_CLUSTER_ID)?.parse().ok()?,
            member_id: annotation(ANNOTATION_MEMBER_ID)?.parse().ok()?,
            disk_id: annotation(ANNOTATION_DISK_ID)?.clone(),
        })
    };
    VolumeSeen {
        uid: claim.uid().unwrap_or_default(),
        resource_version: claim.resource_version().unwrap_or_default(),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        lost: claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost"),
        request: request(claim.spec.as_ref()).unwrap_or_default(),
        capacity: capacity(claim),
        marked: mark(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::fixture;

    #[test]
    fn claims_are_told_apart_by_name_and_the_datas_size_is_that_of_its_own_template() {
        let desired = fixture::desired_with_wal(3);
        let claim = |name: &str, size: &str| json!({"metadata": {"name": name, "uid": name}, "spec": {"resources": {"requests": {"storage": size}}}});
        let names = ["data-main-0", "wal-main-1", "wal-main-10", "data-main", "walls-main-2", "wal-other-3"];
        let claims: Vec<PersistentVolumeClaim> =
            names.iter().map(|name| serde_json::from_value(claim(name, "1Gi")).unwrap()).collect();
        let uids = |kind| -> Vec<(u32, String)> {
            volumes(&desired, kind, &claims).into_iter().map(|(ordinal, volume)| (ordinal, volume.uid)).collect()
        };
        assert_eq!(uids(Claim::Data), [(0, "data-main-0".to_owned())]);
        assert_eq!(uids(Claim::Wal), [(1, "wal-main-1".to_owned()), (10, "wal-main-10".to_owned())]);
        let set = json!({
            "metadata": {"name": "main"},
            "spec": {
                "selector": {}, "serviceName": "main-peers", "template": {},
                "volumeClaimTemplates": [claim("wal", "1Gi"), claim("data", "7Gi")],
            },
        });
        assert_eq!(statefulset(&desired, &serde_json::from_value(set).unwrap()).claim_size.as_deref(), Some("7Gi"));
    }
}
