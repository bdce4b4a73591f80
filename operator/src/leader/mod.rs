//! Leader election on a coordination.k8s.io Lease, in the manner of Kubernetes' own components.
//!
//! A replica holds its [`Tenure`] for two thirds of the lease's life after the last renewal that it saw succeed; another
//! takes the lease only when it saw it unchanged for the whole life. Each counts on its own clock, so clocks need not
//! agree. The lease fences nothing by itself: preconditions of every action hold even with two leaders; it only keeps two
//! operators from working against each other.

mod record;
mod tenure;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::act::FIELD_MANAGER;
use record::{Sighting, Verdict};
pub use tenure::Tenure;

/// Renewals and attempts in one life of the lease: several may fail before the tenure ends.
const ATTEMPTS_PER_LEASE: u32 = 8;

/// Where and as whom to lead.
#[derive(Clone, Debug)]
pub struct Settings {
    pub namespace: String,
    pub lease: String,
    /// Unique among replicas: the name of the pod.
    pub identity: String,
    /// Life of the lease without renewal.
    pub duration: Duration,
}

impl Settings {
    /// How long after a renewal this replica acts at most; the rest of the lease's life is for what is under way then.
    fn tenure(&self) -> Duration {
        self.duration * 2 / 3
    }

    fn pause(&self) -> Duration {
        self.duration / ATTEMPTS_PER_LEASE
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("Kubernetes: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// The lease as long as it is held.
pub struct Held {
    tenure: Tenure,
    lost: watch::Receiver<bool>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Waits until this process leads.
pub async fn acquire(client: Client, settings: &Settings) -> Held {
    let mut candidate = Candidate::new(client, settings.clone());
    let mut waits_for = String::new();
    loop {
        match candidate.attempt().await {
            Ok(Outcome::Held) => break,
            Ok(Outcome::HeldBy(holder)) if holder != waits_for => {
                tracing::info!(holder, "another replica leads; waiting for its lease");
                waits_for = holder;
            }
            Ok(Outcome::HeldBy(_) | Outcome::Moved) => {}
            Err(error) => tracing::warn!(%error, lease = settings.lease, "the lease was not acquired; trying again"),
        }
        tokio::time::sleep(settings.pause()).await;
    }
    let tenure = candidate.tenure.clone();
    let (tell, lost) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        if !candidate.keep(stopped).await {
            // Nobody listens any more when the process is ending anyway.
            let _ = tell.send(true);
        }
    });
    Held { tenure, lost, stop, task }
}

impl Held {
    /// The right to act, for those who do.
    pub fn tenure(&self) -> Tenure {
        self.tenure.clone()
    }

    /// Returns when the lease is lost.
    pub async fn lost(&mut self) {
        // An error means that the task ended without a word, which is a loss too.
        let _ = self.lost.wait_for(|lost| *lost).await;
    }

    /// Gives the lease back, so that another replica need not wait for its end.
    pub async fn release(self) {
        // The task has ended only when the lease was lost; then there is nothing to give back.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the lease was not released and will expire");
        }
    }
}

enum Outcome {
    Held,
    HeldBy(String),
    /// Somebody else wrote in between; the next look says who and what.
    Moved,
}

struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    tenure: Tenure,
    sighting: Option<Sighting>,
}

impl Candidate {
    fn new(client: Client, settings: Settings) -> Self {
        let api = Api::namespaced(client, &settings.namespace);
        Self { api, settings, tenure: Tenure::ended(), sighting: None }
    }

    /// Looks at the lease and takes or renews it if that is right. An attempt takes no longer than a tenure.
    async fn attempt(&mut self) -> Result<Outcome, Error> {
        let limit = self.settings.tenure();
        tokio::time::timeout(limit, self.attempt_unlimited()).await.map_err(|_| Error::Timeout(limit))?
    }

    async fn attempt_unlimited(&mut self) -> Result<Outcome, Error> {
        // Counted from before the request: the API server may have taken it at any moment since.
        let since = tenure::now();
        let Settings { lease: name, identity, duration, .. } = &self.settings;
        let live = self.api.get_opt(name).await?;
        let verdict = record::judge(live.as_ref(), &mut self.sighting, identity, tenure::now());
        let (parameters, now) = (parameters(), Timestamp::now());
        let written = match verdict {
            Verdict::HeldBy(holder) => return Ok(Outcome::HeldBy(holder)),
            Verdict::Free => match &live {
                Some(live) => self.api.replace(name, &parameters, &record::taken(live, identity, *duration, now)).await,
                None => self.api.create(&parameters, &record::fresh(name, identity, *duration, now)).await,
            },
            Verdict::Ours(lease) => self.api.replace(name, &parameters, &record::renewed(*lease, *duration, now)).await,
        };
        match written {
            Ok(_) => {
                self.tenure.extend(since + self.settings.tenure());
                Ok(Outcome::Held)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Outcome::Moved),
            Err(error) => Err(error.into()),
        }
    }

    /// Renews until told to stop, and then releases (`true`), or until the lease is lost (`false`).
    async fn keep(mut self, mut stopped: oneshot::Receiver<()>) -> bool {
        loop {
            tokio::select! {
                _ = &mut stopped => return self.release().await,
                () = tokio::time::sleep(self.settings.pause()) => {}
            }
            // A process that was stopped for a while finds its tenure over here, and must not renew: another may lead.
            if !self.tenure.holds() {
                tracing::error!("the lease was not renewed in time");
                return false;
            }
            match self.attempt().await {
                Ok(Outcome::Held | Outcome::Moved) => {}
                Ok(Outcome::HeldBy(holder)) => {
                    self.tenure.end();
                    tracing::error!(holder, "another replica holds the lease");
                    return false;
                }
                Err(error) => tracing::warn!(%error, "the lease was not renewed; trying again"),
            }
        }
    }

    async fn release(self) -> bool {
        let Settings { lease: name, identity, .. } = &self.settings;
        self.tenure.end();
        let released = async {
            let live = self.api.get(name).await?;
            match record::released(live, identity) {
                Some(lease) => self.api.replace(name, &parameters(), &lease).await.map(drop),
                None => Ok(()),
            }
        };
        match tokio::time::timeout(self.settings.pause(), released).await {
            Ok(Ok(())) => tracing::info!("lease released"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not released and will expire"),
            Err(_) => tracing::warn!("the API server did not answer; the lease will expire"),
        }
        true
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
