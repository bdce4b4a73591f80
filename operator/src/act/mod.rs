//! Performs exactly one action: the only writer besides `status`.
//!
//! What the action was planned on goes along as precondition (versions, UIDs, configuration index), so that a world
//! that moved on refuses it and the next round plans afresh.

mod children;
mod latch;
mod members;
mod volumes;

use kube::Client;

use crate::desired::Desired;
use crate::member_client;
use crate::observe::Observation;
use crate::plan::Action;
use crate::tls;

/// Name under which the operator owns fields.
pub const FIELD_MANAGER: &str = "quorate-operator";

/// Why an action was not performed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kubernetes: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("{pod}: {source}")]
    Member { pod: String, source: member_client::Error },
    #[error("{0}")]
    Certificate(#[from] tls::Error),
    #[error("no member can be asked to do that right now")]
    NoMember,
}

impl Error {
    /// The world moved on since the action was planned: observing again is the remedy. A child that is applied has no precondition that
    /// could fail as 422; there it is a refusal.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Kubernetes(kube::Error::Api(status)) => matches!(status.code, 404 | 409 | 410 | 422),
            Self::Member { source, .. } => source.is_stale(),
            _ => false,
        }
    }

    /// The API server, or an admission controller, refuses what the spec asks for: only another spec, or another rule there, helps.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Kubernetes(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422))
    }

    /// The member's release cannot do what was asked.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Member { source, .. } if source.is_unsupported())
    }

    /// Label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "kubernetes",
            Self::Member { .. } => "member",
            Self::Certificate(_) => "certificate",
            Self::NoMember => "no_member",
        }
    }
}

/// All that an action may use.
pub struct Hands<'a> {
    pub client: &'a Client,
    pub desired: &'a Desired,
    pub observation: &'a Observation,
}

/// Performs the action.
pub async fn act(hands: &Hands<'_>, action: &Action) -> Result<(), Error> {
    match action {
        Action::AddFinalizer => children::finalizer(hands, true).await,
        Action::RemoveFinalizer => children::finalizer(hands, false).await,
        Action::Apply(child) => children::apply(hands, child).await,
        Action::SetServing { pod, uid, serving } => children::set_serving(hands, pod, uid, *serving).await,
        Action::DeletePod { ordinal, uid } => children::delete_pod(hands, *ordinal, uid).await,
        Action::DeleteStatefulSet { uid } => children::delete_statefulset(hands, uid).await,
        Action::DeleteAuthority { name, uid } => children::delete_secret(hands, name, uid).await,
        Action::CreateLatch(latch) => latch::create(hands, latch).await,
        Action::WriteLatch { latch, resource_version, .. } => latch::replace(hands, latch, resource_version).await,
        Action::DeleteLatch { resource_version } => latch::delete(hands, resource_version).await,
        Action::MarkVolume { claim, ordinal, uid, resource_version, mark } => {
            volumes::mark(hands, &hands.desired.claim(*claim, *ordinal), uid, resource_version, mark).await
        }
        Action::ResizeVolume { ordinal, uid, resource_version, size } => {
            volumes::resize(hands, &hands.desired.volume(*ordinal), uid, resource_version, size).await
        }
        Action::DeleteVolume { claim, ordinal, uid, resource_version } => {
            volumes::delete(hands, &hands.desired.claim(*claim, *ordinal), uid, resource_version).await
        }
        Action::SetAside { ordinal, .. } => set_aside(hands, action, *ordinal).await,
        Action::Found { .. }
        | Action::Admit { .. }
        | Action::Adopt { .. }
        | Action::ChangeMembership { .. }
        | Action::Drain { .. }
        | Action::HandOver { .. }
        | Action::SetTimers { .. }
        | Action::SetLimits { .. } => members::call(hands, action).await,
    }
}

/// The process has opened the directory that is renamed, so its pod ends with it, also when an earlier attempt got no
/// further than the renaming: a pod of a removed member takes part in nothing.
async fn set_aside(hands: &Hands<'_>, action: &Action, ordinal: u32) -> Result<(), Error> {
    let renamed = members::call(hands, action).await;
    if let Some(pod) = hands.observation.observed.pods.get(&ordinal) {
        children::delete_pod(hands, ordinal, &pod.uid).await?;
    }
    renamed
}
