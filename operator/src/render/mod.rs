//! The children as documents: pure, one file a kind, holding only the fields that the operator owns, so that the same
//! document serves server-side apply and the comparison with what lives.

mod budget;
mod compare;
mod service;
mod statefulset;

use serde_json::{Value, json};

use crate::crd::{GROUP, LABEL_CLUSTER};
use crate::desired::Desired;
use crate::observed::Observed;
use crate::plan;
use crate::tls::SecretKind;

pub use compare::holds;

/// Label that the client Service and the budget select. Every pod's template carries it as `true`; the operator turns it on
/// pods whose member does not belong to the cluster (`plan/serving`).
pub const LABEL_SERVING: &str = "quorate.io/serving";
/// Annotation on Secrets without an owner reference: UID of the `QuorateCluster` they were made for.
pub const ANNOTATION_OWNER_UID: &str = "quorate.io/owner-uid";

/// A child of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Child {
    Secret(SecretKind),
    PeersService,
    ClientService,
    Budget,
    StatefulSet,
}

/// A child that is not as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub child: Child,
    /// What differs, for the log.
    pub reason: String,
    /// The child exists and is not ours: why nothing is done, with the remedy.
    pub conflict: Option<String>,
}

impl Child {
    /// Children with a document, in the order in which they are applied: what others refer to comes first.
    pub const DOCUMENTS: [Self; 4] = [Self::PeersService, Self::ClientService, Self::Budget, Self::StatefulSet];

    /// Name of the object.
    pub fn name(&self, desired: &Desired) -> String {
        match self {
            Self::Secret(kind) => kind.name(desired),
            Self::PeersService => desired.peers_service(),
            Self::ClientService | Self::Budget | Self::StatefulSet => desired.name.clone(),
        }
    }

    /// API group and version, kind, and plural.
    pub fn kind(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Secret(_) => ("v1", "Secret", "secrets"),
            Self::PeersService | Self::ClientService => ("v1", "Service", "services"),
            Self::Budget => ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::StatefulSet => ("apps/v1", "StatefulSet", "statefulsets"),
        }
    }

    /// The document; `None` when the child shall not exist, or is a Secret, whose content is made by `tls`.
    pub fn document(&self, desired: &Desired, observed: &Observed) -> Option<Value> {
        match self {
            Self::Secret(_) => None,
            Self::PeersService => Some(service::peers(desired)),
            Self::ClientService => Some(service::client(desired)),
            Self::Budget => plan::budget(desired, observed).map(|available| budget::budget(desired, available)),
            Self::StatefulSet => {
                let template = observed.latch.latch().map_or(&desired.template, |latch| &latch.template);
                let live_size = observed.statefulset.as_ref().and_then(|set| set.claim_size.as_deref());
                let size = live_size.unwrap_or(&desired.storage.size);
                Some(statefulset::statefulset(desired, template, plan::statefulset_replicas(desired, observed), size))
            }
        }
    }
}

/// How a child with a document lives, compared with how it shall be.
pub fn drift(desired: &Desired, observed: &Observed, child: Child, live: Option<&Value>) -> Option<Drift> {
    let wanted = child.document(desired, observed);
    let drift = |reason: &str, conflict| Drift { child: child.clone(), reason: reason.to_owned(), conflict };
    match (wanted, live) {
        (None, None) => None,
        (Some(_), None) => Some(drift("it does not exist", None)),
        (_, Some(live)) if !is_ours(desired, live) => Some(drift("it is not ours", Some(conflict(desired, &child)))),
        (None, Some(_)) => Some(drift("it is no longer wanted", None)),
        (Some(wanted), Some(live)) => {
            let path = holds(live, &wanted).err()?;
            Some(drift(&format!("{path} differs"), None))
        }
    }
}

/// Rule I: ours is what names this very `QuorateCluster` as its controller.
pub fn is_ours(desired: &Desired, live: &Value) -> bool {
    let references = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.into_iter().flatten().any(|reference| {
        reference["controller"] == json!(true) && reference["uid"].as_str() == Some(desired.uid.as_str())
    })
}

fn conflict(desired: &Desired, child: &Child) -> String {
    let (_, kind, plural) = child.kind();
    let name = child.name(desired);
    format!(
        "{kind} {name} exists and is not controlled by this QuorateCluster: delete it with `kubectl delete {plural} {name} -n {}`, or use another name",
        desired.namespace
    )
}

/// Metadata of an owned child.
fn metadata(desired: &Desired, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": desired.namespace,
        "labels": labels(desired),
        "ownerReferences": [owner_reference(desired)],
    })
}

/// The reference by which the garbage collector takes a child along.
pub fn owner_reference(desired: &Desired) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "QuorateCluster",
        "name": desired.name,
        "uid": desired.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Labels of every child; those of GitOps tools on the parent are not copied.
pub fn labels(desired: &Desired) -> Value {
    json!({
        "app.kubernetes.io/name": "quorate",
        "app.kubernetes.io/instance": desired.name,
        "app.kubernetes.io/managed-by": "quorate-operator",
        LABEL_CLUSTER: desired.name,
    })
}

#[cfg(test)]
mod tests;
