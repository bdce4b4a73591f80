//! Leader election on a coordination.k8s.io Lease. The lease fences nothing by itself: preconditions of every action
//! hold even with two leaders; it only keeps two operators from working against each other.

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Seconds that a lease lasts without renewal.
const LEASE_SECONDS: u64 = 15;
/// Seconds before its end at which it is renewed.
const GRACE_SECONDS: u64 = 5;

/// Where and as whom to lead.
#[derive(Clone, Debug)]
pub struct Settings {
    pub namespace: String,
    pub lease: String,
    /// Unique among replicas: the name of the pod.
    pub identity: String,
}

/// The lease as long as it is held.
pub struct Held {
    state: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

/// Waits until this process leads.
pub async fn acquire(client: Client, settings: &Settings) -> Result<Held, LeaseManagerError> {
    let manager = LeaseManagerBuilder::new(client, &settings.lease)
        .with_namespace(&settings.namespace)
        .with_identity(&settings.identity)
        .with_duration(LEASE_SECONDS)
        .with_grace(GRACE_SECONDS)
        .build()
        .await?;
    let (mut state, task) = manager.watch().await;
    // An error here means that the task ended; it is then reported by `lost`.
    let _ = state.wait_for(|leads| *leads).await;
    Ok(Held { state, task })
}

impl Held {
    /// Returns when the lease is lost.
    pub async fn lost(&mut self) {
        let _ = self.state.wait_for(|leads| !*leads).await;
    }

    /// Gives the lease back, so that another replica need not wait for its end.
    pub async fn release(self) {
        drop(self.state);
        match self.task.await {
            Ok(Ok(_)) => tracing::info!("lease released"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not released and will expire"),
            Err(error) => tracing::warn!(%error, "the lease was not released and will expire"),
        }
    }
}
