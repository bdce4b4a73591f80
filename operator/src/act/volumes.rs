//! Marks, resizes and deletes volume claims, always this very claim at the version that was read.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use crate::crd::{ANNOTATION_CLUSTER_ID, ANNOTATION_DISK_ID, ANNOTATION_MEMBER_ID};
use crate::observed::VolumeMark;

use super::{Error, FIELD_MANAGER, Hands};

/// Writes on the claim which member lives on it.
pub async fn mark(
    hands: &Hands<'_>,
    claim: &str,
    uid: &str,
    resource_version: &str,
    mark: &VolumeMark,
) -> Result<(), Error> {
    let patch = json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "annotations": {
                ANNOTATION_CLUSTER_ID: mark.cluster_id.to_string(),
                ANNOTATION_MEMBER_ID: mark.member_id.to_string(),
                ANNOTATION_DISK_ID: mark.disk_id,
            },
        },
    });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api(hands).patch(claim, &parameters, &Patch::Merge(patch)).await?;
    Ok(())
}

/// Asks for another size.
pub async fn resize(
    hands: &Hands<'_>,
    claim: &str,
    uid: &str,
    resource_version: &str,
    size: &str,
) -> Result<(), Error> {
    let patch = json!({
        "metadata": {"uid": uid, "resourceVersion": resource_version},
        "spec": {"resources": {"requests": {"storage": size}}},
    });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api(hands).patch(claim, &parameters, &Patch::Merge(patch)).await?;
    Ok(())
}

/// Deletes the claim.
pub async fn delete(hands: &Hands<'_>, claim: &str, uid: &str, resource_version: &str) -> Result<(), Error> {
    let preconditions =
        Preconditions { uid: Some(uid.to_owned()), resource_version: Some(resource_version.to_owned()) };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    api(hands).delete(claim, &parameters).await?;
    Ok(())
}

fn api(hands: &Hands<'_>) -> Api<PersistentVolumeClaim> {
    Api::namespaced(hands.client.clone(), &hands.desired.namespace)
}
