//! Server-side apply of YAML documents, of whatever kinds the API server knows.

use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;

use super::error::{Error, Result, kube as kube_error};

/// Field manager of what the harness applies.
const MANAGER: &str = "quorate-local";

/// Applies the documents in `text` one after the other; one without a namespace goes into `default`.
pub async fn apply(client: &Client, text: &str) -> Result<()> {
    for object in parse(text)? {
        apply_one(client, &object).await?;
    }
    Ok(())
}

async fn apply_one(client: &Client, object: &DynamicObject) -> Result<()> {
    let name = object.name_any();
    let kind = object.types.clone().unwrap_or_default();
    let what = format!("apply {} {name}", kind.kind);
    let gvk = GroupVersionKind::try_from(&kind)
        .map_err(|error| Error::Kube { what: what.clone(), source: Box::new(kube::Error::Service(Box::new(error))) })?;
    let (resource, capabilities) = pinned_kind(client, &gvk).await.map_err(kube_error(what.clone()))?;
    let api: Api<DynamicObject> = if capabilities.scope == Scope::Namespaced {
        let namespace = object.namespace().unwrap_or_else(|| "default".into());
        Api::namespaced_with(client.clone(), &namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(&name, &parameters, &Patch::Apply(object)).await.map(drop).map_err(kube_error(what))
}

/// Empty documents, such as one of comments only, are left out.
fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    let failed = |source| Error::Manifest { what: "read a manifest".into(), source };
    let documents = serde_yaml::Deserializer::from_str(text).map(serde_yaml::Value::deserialize);
    let values = documents.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let values = values.into_iter().filter(|value| !value.is_null());
    values.map(|value| serde_yaml::from_value(value).map_err(failed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_order_and_empty_ones_are_left_out() {
        let text = "# head\n---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n---\n# nothing\n---\n\
                    apiVersion: v1\nkind: B\nmetadata: {name: b}\n";
        let names: Vec<String> = parse(text).unwrap().iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_torn_document_is_an_error() {
        assert!(matches!(parse("apiVersion: [v1"), Err(Error::Manifest { .. })));
    }
}
