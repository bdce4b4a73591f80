//! Applies and deletes Kubernetes objects.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::crd::{FINALIZER, QuorateCluster};
use crate::observe::{LEAF_CERTIFICATE, PRIVATE_KEY, TOKEN, TRUST};
use crate::render::{ANNOTATION_OWNER_UID, Child, LABEL_SERVING, labels, owner_reference};
use crate::tls::{self, Pair, SecretKind};

use super::{Error, FIELD_MANAGER, Hands};

/// Adds or removes our finalizer at the version of the object that is read here.
pub async fn finalizer(hands: &Hands<'_>, present: bool) -> Result<(), Error> {
    let desired = hands.desired;
    let api: Api<QuorateCluster> = Api::namespaced(hands.client.clone(), &desired.namespace);
    let object = api.get(&desired.name).await?;
    if object.uid().as_deref() != Some(desired.uid.as_str()) {
        return Ok(());
    }
    let mut finalizers: Vec<String> = object.finalizers().iter().filter(|one| *one != FINALIZER).cloned().collect();
    if present {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_metadata(&desired.name, &parameters, &Patch::Merge(patch)).await?;
    Ok(())
}

/// Makes a child as it shall be.
pub async fn apply(hands: &Hands<'_>, child: &Child) -> Result<(), Error> {
    let (desired, observed) = (hands.desired, &hands.observation.observed);
    let document = match child {
        Child::Secret(kind) => Some(secret(hands, *kind)?),
        _ => child.document(desired, observed),
    };
    let Some(mut document) = document else { return delete_budget(hands).await };
    if let (Child::StatefulSet, Some(seen)) = (child, &observed.statefulset) {
        // Its size was counted from an observation: a newer object refuses it.
        document["metadata"]["resourceVersion"] = json!(seen.resource_version);
    }
    let is_first = *child == Child::StatefulSet && observed.statefulset.is_none();
    let (version, kind, plural) = child.kind();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = Api::namespaced_with(hands.client.clone(), &desired.namespace, &resource);
    if is_first {
        // Nobody else may have made it since: applying would put its size back to that of an empty cluster.
        let object = serde_json::from_value(document).expect("the document has kind and metadata");
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        api.create(&parameters, &object).await?;
    } else {
        api.patch(&child.name(desired), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(document)).await?;
    }
    Ok(())
}

async fn delete_budget(hands: &Hands<'_>) -> Result<(), Error> {
    let api: Api<PodDisruptionBudget> = Api::namespaced(hands.client.clone(), &hands.desired.namespace);
    api.delete(&hands.desired.name, &DeleteParams::default()).await?;
    Ok(())
}

fn secret(hands: &Hands<'_>, kind: SecretKind) -> Result<Value, Error> {
    let desired = hands.desired;
    let mut metadata = json!({
        "name": kind.name(desired),
        "namespace": desired.namespace,
        "labels": labels(desired),
        "annotations": {ANNOTATION_OWNER_UID: desired.uid},
    });
    if !kind.is_retained() {
        metadata["ownerReferences"] = json!([owner_reference(desired)]);
    }
    let data: BTreeMap<String, String> =
        content(hands, kind)?.into_iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
    Ok(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}))
}

/// An authority that exists is kept as it is: applying it only takes it over.
fn content(hands: &Hands<'_>, kind: SecretKind) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let (desired, secrets, now) = (hands.desired, &hands.observation.secrets, Timestamp::now());
    let kept = secrets.values(kind).filter(|values| kind.is_retained() && values.contains_key(PRIVATE_KEY));
    if let Some(values) = kept {
        return Ok(values);
    }
    let pair =
        |pair: Pair, trust: String| [(LEAF_CERTIFICATE, pair.certificate), (PRIVATE_KEY, pair.key), (TRUST, trust)];
    let values = match kind {
        SecretKind::Authority(plane) => {
            let made = tls::authority(desired, plane, now)?;
            let trust = made.certificate.clone();
            pair(made, trust).to_vec()
        }
        SecretKind::Leaf(leaf) => {
            // `needed` names authorities before leaves, so that this one was observed or the action is refused.
            let authority = secrets.authority(leaf.plane()).ok_or(Error::NoMember)?;
            pair(tls::leaf(desired, leaf, &authority, now)?, authority.certificate).to_vec()
        }
        SecretKind::Token => vec![(TOKEN, tls::token())],
    };
    Ok(values.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect())
}

/// Labels this very pod as one that clients and evictions may count on, or as one that they may not.
pub async fn set_serving(hands: &Hands<'_>, pod: &str, uid: &str, serving: bool) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(hands.client.clone(), &hands.desired.namespace);
    let patch = json!({"metadata": {"uid": uid, "labels": {LABEL_SERVING: serving.to_string()}}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(pod, &parameters, &Patch::Merge(patch)).await?;
    Ok(())
}

/// Deletes this very pod.
pub async fn delete_pod(hands: &Hands<'_>, ordinal: u32, uid: &str) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(hands.client.clone(), &hands.desired.namespace);
    api.delete(&hands.desired.pod(ordinal), &only(uid)).await?;
    Ok(())
}

/// Deletes this very StatefulSet; its pods go in the background.
pub async fn delete_statefulset(hands: &Hands<'_>, uid: &str) -> Result<(), Error> {
    let api: Api<StatefulSet> = Api::namespaced(hands.client.clone(), &hands.desired.namespace);
    let parameters = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..only(uid) };
    api.delete(&hands.desired.name, &parameters).await?;
    Ok(())
}

/// Deletes this very Secret.
pub async fn delete_secret(hands: &Hands<'_>, name: &str, uid: &str) -> Result<(), Error> {
    let api: Api<Secret> = Api::namespaced(hands.client.clone(), &hands.desired.namespace);
    api.delete(name, &only(uid)).await?;
    Ok(())
}

fn only(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}
