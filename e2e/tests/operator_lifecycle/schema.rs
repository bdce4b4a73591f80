//! What the API server itself refuses: the table that `operator/tests/cel.rs` runs through the rules alone.

use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use quorate_e2e::scenario::Outcome;
use serde_json::{Value, json};

use crate::common::Error;
use crate::world::World;

/// A line of the table: what is set where, and what the refusal says, if it is one.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    founded: bool,
    /// Size of the log's volume before the change, where there is one.
    #[serde(rename = "walStorage")]
    wal_storage: Option<String>,
    path: String,
    value: Value,
    refused: Option<String>,
}

#[derive(serde::Deserialize)]
struct Table {
    create: Vec<Case>,
    update: Vec<Case>,
}

/// The whole table, as dry runs: the API server judges and keeps nothing.
pub async fn refusals(world: &World) -> Outcome {
    let table: Table = serde_json::from_str(include_str!("../../../operator/tests/objects.json"))?;
    let api = world.dynamic();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for case in &table.create {
        let mut object = object("main");
        set(&mut object, &case.path, &case.value);
        case.judge(api.create(&dry, &serde_json::from_value(object)?).await)?;
    }
    // Helm writes nulls for values that are not set: they count as absent.
    let mut nulls = object("main");
    nulls["spec"]["storage"]["storageClassName"] = Value::Null;
    nulls["spec"]["storage"]["walStorage"] = Value::Null;
    nulls["spec"]["raft"] = json!({"heartbeatIntervalMilliseconds": null, "electionTimeoutMilliseconds": null});
    nulls["spec"]["pods"] = json!({"priorityClassName": null, "runtimeClassName": null});
    api.create(&dry, &serde_json::from_value(nulls)?).await?;
    // Objects that the operator leaves alone: as they were created, and with a status that names a cluster; without and with a volume
    // for the log.
    let names = table.update.iter().map(Case::before).collect::<std::collections::BTreeSet<_>>();
    for (name, founded, wal_storage) in &names {
        let (name, founded) = (name.as_str(), *founded);
        let mut paused = object(name);
        paused["metadata"]["annotations"] = json!({"quorate.io/paused": "true"});
        if let Some(size) = wal_storage {
            paused["spec"]["storage"]["walStorage"] = json!({"size": size});
        }
        api.create(&PostParams::default(), &serde_json::from_value(paused)?).await?;
        if founded {
            let status = Patch::Merge(json!({"status": {
                "clusterID": "8f3a91c0d2e4b617", "selector": "", "replicas": 0,
                "storage": {"minCapacity": "768Mi", "resizing": []},
            }}));
            api.patch_status(name, &PatchParams::default(), &status).await?;
        }
    }
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    for case in &table.update {
        let mut patch = json!({});
        set(&mut patch, &case.path, &case.value);
        case.judge(api.patch(&case.before().0, &dry, &Patch::Merge(patch)).await)?;
    }
    let even = Patch::Merge(json!({"spec": {"replicas": 2}}));
    let error = api.patch_scale("fresh", &PatchParams::default(), &even).await.expect_err("an even scale").to_string();
    assert!(error.contains("replicas must be 1, 3, 5 or 7"), "{error}");
    for (name, ..) in &names {
        api.delete(name, &DeleteParams::default()).await?;
    }
    println!("       {} objects and {} changes judged", table.create.len(), table.update.len());
    Ok(())
}

impl Case {
    /// The object that a change is made to: its name, whether it is founded, and the size of its log's volume.
    fn before(&self) -> (String, bool, Option<String>) {
        let name = if self.founded { "founded" } else { "fresh" };
        let suffix = if self.wal_storage.is_some() { "-with-wal" } else { "" };
        (format!("{name}{suffix}"), self.founded, self.wal_storage.clone())
    }

    fn judge(&self, result: Result<DynamicObject, kube::Error>) -> Result<(), Error> {
        match (&self.refused, result) {
            (None, Ok(_)) => Ok(()),
            (None, Err(error)) => Err(format!("{} was refused: {error}", self.name).into()),
            (Some(_), Ok(taken)) => Err(format!("{} was taken: {}", self.name, taken.name_any()).into()),
            (Some(text), Err(error)) if error.to_string().contains(text) => Ok(()),
            (Some(text), Err(error)) => Err(format!("{}: {error} does not say {text:?}", self.name).into()),
        }
    }
}

fn object(name: &str) -> Value {
    json!({
        "apiVersion": "quorate.io/v1alpha1", "kind": "QuorateCluster",
        "metadata": ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        "spec": {"version": "0.1.0", "storage": {"size": "1Gi"}},
    })
}

/// Sets a field; objects on the way are made.
fn set(object: &mut Value, path: &str, value: &Value) {
    let mut place = object;
    for key in path.trim_start_matches('/').split('/') {
        place = &mut place[key];
    }
    *place = value.clone();
}
