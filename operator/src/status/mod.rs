//! The status: a pure view of what was observed and decided, written by one patch on every exit path, only if changed.

mod conditions;
pub mod events;
pub mod refusal;
mod view;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::crd::{GROUP, QuorateCluster, QuorateClusterStatus};

pub use conditions::{invalid, type_};
pub use view::{View, view};

/// Name under which the operator owns the fields of status.
const FIELD_MANAGER: &str = "quorate-operator-status";

/// Writes the status unless it is what the object is known to have.
pub async fn write(
    client: &Client,
    object: &QuorateCluster,
    known: Option<&QuorateClusterStatus>,
    status: &QuorateClusterStatus,
) -> Result<bool, kube::Error> {
    if known == Some(status) {
        return Ok(false);
    }
    let (Some(namespace), Some(name)) = (&object.metadata.namespace, &object.metadata.name) else { return Ok(false) };
    let api: Api<QuorateCluster> = Api::namespaced(client.clone(), namespace);
    let document = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "QuorateCluster",
        "metadata": {"name": name, "uid": object.metadata.uid},
        "status": status,
    });
    api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(document)).await?;
    Ok(true)
}
