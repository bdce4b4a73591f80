//! Provisions local volumes: for a claim of class `quorate-local` whose pod has been given a node, a file system of the
//! claimed size on that node's disk (`volume`) and a PersistentVolume bound to the node. It grows with its claim.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller, Error as ControllerError};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;

use super::error::{Error, Result, kube as kube_error};
use super::layout::{Layout, NODES_MAX, node_name};
use super::volume::{self, Volume};

pub const PROVISIONER: &str = "quorate.io/local";
pub const STORAGE_CLASS: &str = "quorate-local";

/// Set by the scheduler once the claim's pod has a node.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Tells the controller manager whose volume it is, so that it leaves the deletion to us.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// After an error, most often an API server without its store.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Provisioner(JoinHandle<()>);

impl Provisioner {
    pub fn start(client: Client, layout: Layout) -> Self {
        let context = Arc::new(Context { client: client.clone(), layout });
        let claims = Controller::new(Api::<PersistentVolumeClaim>::all(client.clone()), watcher::Config::default())
            .run(claim_changed, |_, _, _| Action::requeue(RETRY), context.clone());
        let volumes = Controller::new(Api::<PersistentVolume>::all(client), watcher::Config::default()).run(
            volume_changed,
            |_, _, _| Action::requeue(RETRY),
            context,
        );
        Self(tokio::spawn(async move {
            let claims = claims.for_each(|done| async move { done.err().iter().for_each(report) });
            let volumes = volumes.for_each(|done| async move { done.err().iter().for_each(report) });
            tokio::join!(claims, volumes);
        }))
    }
}

fn report(error: &ControllerError<Error, watcher::Error>) {
    // An object that went before its turn came needs nothing.
    if !matches!(error, ControllerError::ObjectNotFound(_)) {
        eprintln!("provisioner: {error}; trying again");
    }
}

impl Provisioner {
    /// Returns once it has ended, so that it does not complain of an API server that ends next.
    pub async fn stop(mut self) {
        self.0.abort();
        // Cancelled is what was asked for.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Provisioner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Context {
    client: Client,
    layout: Layout,
}

async fn claim_changed(claim: Arc<PersistentVolumeClaim>, context: Arc<Context>) -> Result<Action> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.storage_class_name.as_deref() != Some(STORAGE_CLASS) || claim.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let requested = spec.resources.and_then(|resources| resources.requests?.get("storage").cloned());
    let Some(requested) = requested else { return Ok(Action::await_change()) };
    match (spec.volume_name, claim.annotations().get(SELECTED_NODE)) {
        (None, Some(node)) if spec.volume_mode.as_deref() == Some("Block") => {
            let note = format!("volumeMode Block is not supported by class {STORAGE_CLASS}: choose Filesystem");
            refuse(&claim, node, note, &context).await?
        }
        (None, Some(node)) => provision(&claim, node, requested, &context).await?,
        (Some(volume), _) => expand(&claim, &volume, requested, &context).await?,
        // No pod wants it yet.
        (None, None) => {}
    }
    Ok(Action::await_change())
}

/// Says on the claim why it gets no volume.
async fn refuse(claim: &PersistentVolumeClaim, node: &str, note: String, context: &Context) -> Result<()> {
    let reporter = Reporter { controller: PROVISIONER.into(), instance: Some(node.to_owned()) };
    let event = Event {
        type_: EventType::Warning,
        reason: "ProvisioningFailed".into(),
        note: Some(note),
        action: "Provisioning".into(),
        secondary: None,
    };
    let recorder = Recorder::new(context.client.clone(), reporter);
    recorder.publish(&event, &claim.object_ref(&())).await.map_err(kube_error("write an event"))
}

async fn provision(claim: &PersistentVolumeClaim, node: &str, size: Quantity, context: &Context) -> Result<()> {
    // Not a node of this cluster: the scheduler will choose again.
    let Some(number) = (1..=NODES_MAX).find(|&number| node_name(number) == node) else { return Ok(()) };
    let name = format!("pvc-{}", claim.uid().unwrap_or_default());
    let Some(bytes) = volume::bytes(&size.0).filter(|bytes| *bytes >= volume::BYTES_MIN) else {
        let note =
            format!("{} is too small for a file system: ask for {} MiB or more", size.0, volume::BYTES_MIN >> 20);
        return refuse(claim, node, note, context).await;
    };
    with_volume(context, number, &name, move |volume| volume.make(bytes)).await?;
    let volume = persistent_volume(claim, &name, node, size);
    let created = Api::<PersistentVolume>::all(context.client.clone()).create(&PostParams::default(), &volume).await;
    match created {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop).map_err(kube_error(format!("create the volume {name}"))),
    }
}

/// Works on a volume in a thread that may block: programs run, and devices are waited for.
async fn with_volume(
    context: &Context,
    node: u32,
    name: &str,
    work: impl FnOnce(Volume<'_>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (layout, name) = (context.layout.clone(), name.to_owned());
    let done = tokio::task::spawn_blocking(move || work(Volume::new(&layout, node, &name)));
    done.await.expect("work on a volume returns its errors")
}

fn persistent_volume(claim: &PersistentVolumeClaim, name: &str, node: &str, size: Quantity) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let on_node =
        NodeSelectorRequirement { key: HOSTNAME.into(), operator: "In".into(), values: Some(vec![node.to_owned()]) };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.into(), PROVISIONER.into())])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: Some(BTreeMap::from([("storage".into(), size)])),
            claim_ref: Some(ObjectReference { resource_version: None, ..claim.object_ref(&()) }),
            local: Some(LocalVolumeSource { path: volume::path(name), fs_type: None }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(vec![on_node]),
                        match_fields: None,
                    }],
                }),
            }),
            persistent_volume_reclaim_policy: Some("Delete".into()),
            storage_class_name: Some(STORAGE_CLASS.into()),
            volume_mode: Some("Filesystem".into()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// Lets the volume grow and records the new size on it and then on the claim. The API server lets a claim only grow.
async fn expand(claim: &PersistentVolumeClaim, volume: &str, requested: Quantity, context: &Context) -> Result<()> {
    let status = claim.status.clone().unwrap_or_default();
    let present = status.capacity.and_then(|capacity| capacity.get("storage").cloned());
    if status.phase.as_deref() != Some("Bound") || present.as_ref() == Some(&requested) {
        return Ok(());
    }
    let Some(bytes) = volume::bytes(&requested.0) else { return Ok(()) };
    let Some(node) = node_of(volume, context) else { return Ok(()) };
    with_volume(context, node, volume, move |volume| volume.grow(bytes)).await?;
    let size = json!({"capacity": {"storage": requested}});
    let (volumes, parameters) = (Api::<PersistentVolume>::all(context.client.clone()), PatchParams::default());
    let patched = volumes.patch(volume, &parameters, &Patch::Merge(json!({"spec": size}))).await;
    patched.map_err(kube_error(format!("expand the volume {volume}")))?;
    let claims =
        Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &claim.namespace().unwrap_or_default());
    let patched = claims.patch_status(&claim.name_any(), &parameters, &Patch::Merge(json!({"status": size}))).await;
    patched.map(drop).map_err(kube_error(format!("expand the claim {}", claim.name_any())))
}

/// Deletes a volume whose claim is gone, unless it is to be retained.
async fn volume_changed(volume: Arc<PersistentVolume>, context: Arc<Context>) -> Result<Action> {
    let ours = volume.annotations().get(PROVISIONED_BY).is_some_and(|by| by == PROVISIONER);
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if !ours || !released || policy != Some("Delete") || volume.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let name = volume.name_any();
    if let Some(node) = node_of(&name, &context) {
        with_volume(&context, node, &name, |volume| volume.delete()).await?;
    }
    let volumes = Api::<PersistentVolume>::all(context.client.clone());
    match volumes.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Action::await_change()),
        other => other.map(|_| Action::await_change()).map_err(kube_error(format!("delete the volume {name}"))),
    }
}

/// The node whose disk holds a volume.
fn node_of(name: &str, context: &Context) -> Option<u32> {
    (1..=NODES_MAX).find(|&node| Volume::new(&context.layout, node, name).exists())
}
