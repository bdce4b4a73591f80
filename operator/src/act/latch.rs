//! Writes the latch: created once, replaced only at the version that was read.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::json;

use crate::latch::Latch;
use crate::observe::LATCH_KEY;
use crate::render;

use super::{Error, FIELD_MANAGER, Hands};

/// Creates it; fails when one exists.
pub async fn create(hands: &Hands<'_>, latch: &Latch) -> Result<(), Error> {
    api(hands).create(&parameters(), &document(hands, latch, None)).await?;
    Ok(())
}

/// Replaces it at a version.
pub async fn replace(hands: &Hands<'_>, latch: &Latch, resource_version: &str) -> Result<(), Error> {
    let name = hands.desired.latch_name();
    api(hands).replace(&name, &parameters(), &document(hands, latch, Some(resource_version))).await?;
    Ok(())
}

/// Deletes it at a version.
pub async fn delete(hands: &Hands<'_>, resource_version: &str) -> Result<(), Error> {
    let preconditions = Preconditions { resource_version: Some(resource_version.to_owned()), uid: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    api(hands).delete(&hands.desired.latch_name(), &parameters).await?;
    Ok(())
}

fn api(hands: &Hands<'_>) -> Api<ConfigMap> {
    Api::namespaced(hands.client.clone(), &hands.desired.namespace)
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn document(hands: &Hands<'_>, latch: &Latch, resource_version: Option<&str>) -> ConfigMap {
    let desired = hands.desired;
    let mut document = json!({
        "metadata": {"name": desired.latch_name(), "namespace": desired.namespace, "labels": render::labels(desired)},
        "data": {LATCH_KEY: latch.to_text()},
    });
    if let Some(version) = resource_version {
        document["metadata"]["resourceVersion"] = json!(version);
    }
    serde_json::from_value(document).expect("the document has a ConfigMap's fields")
}
