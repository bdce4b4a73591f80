//! kube-rs wiring: what triggers a round, what a round does, and when the next one is due.
//!
//! A round is observe, plan, status, act; it is repeated at once as long as there is something to do, so that founding
//! takes no longer than its requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::controller::{Action as Next, Config as ControllerConfig, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};

use crate::act::{self, Hands};
use crate::auto::{self, RoundTrips};
use crate::crd::{LABEL_CLUSTER, QuorateCluster};
use crate::desired::Desired;
use crate::leader::Tenure;
use crate::metrics::Metrics;
use crate::observe::{self, Credentials};
use crate::observed::Observed;
use crate::plan::{self, Action, Step};
use crate::status::events::{self, Told};
use crate::status::{self, View, refusal};

/// Rounds in one run of the reconciler; founding and joining need about ten. Beyond, other clusters get their turn.
const ROUNDS_MAX: usize = 32;
/// Clusters worked on at the same time.
const CONCURRENCY: u16 = 16;
/// While something outside has to happen that no watch reports (a member catching up).
const WAITING: Duration = Duration::from_millis(500);
/// Everything is as it shall be; members are looked at this often.
const STEADY: Duration = Duration::from_secs(5);
/// Nothing can be done until a person acts.
const STALLED: Duration = Duration::from_secs(5);
/// After the first failure; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Longest note of an event; the API server takes 1024 bytes.
const NOTE_CHARS_MAX: usize = 1_000;
/// Longest action of an event.
const ACTION_CHARS_MAX: usize = 128;

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this replica may not act: its lease was not renewed in time")]
    NotLeading,
    #[error("observing: {0}")]
    Observe(#[source] kube::Error),
    #[error("writing status: {0}")]
    Status(#[source] kube::Error),
    #[error("{action}: {source}")]
    Act { action: &'static str, source: act::Error },
}

impl Error {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotLeading => "not_leading",
            Self::Observe(_) => "observe",
            Self::Status(_) => "status",
            Self::Act { source, .. } => source.kind(),
        }
    }
}

/// What all rounds share.
pub struct Shared {
    client: Client,
    metrics: Arc<Metrics>,
    credentials: Credentials,
    recorder: Recorder,
    tenure: Tenure,
    /// Failures in a row by UID; entries go with success.
    failures: Mutex<HashMap<String, u32>>,
    /// What profile `Auto` has seen by UID; entries go with the object.
    round_trips: Mutex<HashMap<String, RoundTrips>>,
}

impl Shared {
    /// Makes it for a client; nothing is written once the tenure is over.
    pub fn new(client: Client, metrics: Arc<Metrics>, identity: &str, tenure: Tenure) -> Arc<Self> {
        let reporter = Reporter { controller: "quorate-operator".to_owned(), instance: Some(identity.to_owned()) };
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            metrics,
            credentials: Credentials::default(),
            tenure,
            failures: Mutex::default(),
            round_trips: Mutex::default(),
        })
    }

    /// What profile `Auto` makes of what was seen of a cluster until now.
    fn settle(&self, desired: Desired, observed: &Observed, now: Timestamp) -> Desired {
        let mut all = self.round_trips.lock().expect("nothing panics while it holds this lock");
        let seen = all.entry(desired.uid.clone()).or_default();
        if let Some(longest) = observed.longest_round_trip() {
            seen.note(now, longest);
        }
        auto::settle(desired, observed.latch.latch().map(|latch| &latch.tuning), seen.p95(now), now)
    }

    /// Asked right before every write: a process that slept since it observed must not act on it.
    fn check_tenure(&self) -> Result<(), Error> {
        if self.tenure.holds() { Ok(()) } else { Err(Error::NotLeading) }
    }
}

/// Runs until `stop` is done; `namespaces` empty means all of them.
pub async fn run(shared: Arc<Shared>, namespaces: &[String], stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let stop = futures::FutureExt::shared(Box::pin(stop));
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(|one| Some(one.as_str())).collect() };
    futures::future::join_all(scopes.into_iter().map(|scope| run_scope(shared.clone(), scope, stop.clone()))).await;
}

async fn run_scope(shared: Arc<Shared>, scope: Option<&str>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let client = shared.client.clone();
    let children = || watcher::Config::default().labels(LABEL_CLUSTER);
    let config = ControllerConfig::default().concurrency(CONCURRENCY).debounce(Duration::from_millis(50));
    Controller::new(api::<QuorateCluster>(&client, scope), watcher::Config::default())
        .with_config(config)
        .watches(api::<StatefulSet>(&client, scope), children(), of_label)
        .watches(api::<Pod>(&client, scope), children(), of_label)
        .watches(api::<PersistentVolumeClaim>(&client, scope), children(), of_label)
        .watches(api::<Service>(&client, scope), children(), of_label)
        .watches(api::<PodDisruptionBudget>(&client, scope), children(), of_label)
        .graceful_shutdown_on(stop)
        .run(reconcile, after_failure, shared)
        .for_each(|_| std::future::ready(()))
        .await;
}

fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Pods and claims belong to the StatefulSet; the label says which cluster they are of.
fn of_label<K: ResourceExt>(child: K) -> Option<ObjectRef<QuorateCluster>> {
    let name = child.labels().get(LABEL_CLUSTER)?;
    Some(ObjectRef::new(name).within(&child.namespace()?))
}

fn after_failure(object: Arc<QuorateCluster>, error: &Error, shared: Arc<Shared>) -> Next {
    shared.metrics.failure(error.kind());
    let uid = object.uid().unwrap_or_default();
    let mut failures = shared.failures.lock().expect("nothing panics while it holds this lock");
    let count = failures.entry(uid).or_insert(0);
    let delay = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(*count).min(64));
    *count += 1;
    tracing::warn!(cluster = %name_of(&object), %error, retry_milliseconds = delay.as_millis(), "round failed");
    Next::requeue(delay)
}

fn name_of(object: &QuorateCluster) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Rounds until there is nothing more to do right now.
async fn reconcile(object: Arc<QuorateCluster>, shared: Arc<Shared>) -> Result<Next, Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let clusters: Api<QuorateCluster> = Api::namespaced(shared.client.clone(), &namespace);
    for _ in 0..ROUNDS_MAX {
        let timer = shared.metrics.round(&namespace, &name);
        // The trigger's copy comes from a cache; decisions rest on live reads.
        let Some(live) = clusters.get_opt(&name).await.map_err(Error::Observe)? else {
            shared.metrics.forget(&namespace, &name, object.status.as_ref());
            let uid = object.uid().unwrap_or_default();
            shared.round_trips.lock().expect("nothing panics while it holds this lock").remove(&uid);
            return Ok(Next::await_change());
        };
        let next = round(&shared, &live).await?;
        drop(timer);
        if let Some(uid) = live.uid() {
            shared.failures.lock().expect("nothing panics while it holds this lock").remove(&uid);
        }
        if let Some(next) = next {
            return Ok(next);
        }
    }
    Ok(Next::requeue(WAITING))
}

/// One round; `None` asks for another at once.
async fn round(shared: &Shared, object: &QuorateCluster) -> Result<Option<Next>, Error> {
    let now = Timestamp::now();
    let parsed = Desired::parse(object).or_else(|error| match object.metadata.deletion_timestamp {
        Some(_) => Desired::parse_deleted(object),
        None => Err(error),
    });
    let desired = match parsed {
        Ok(desired) => desired,
        Err(error) => return invalid(shared, object, &error.to_string(), now).await.map(Some),
    };
    let mut observation =
        observe::observe(&shared.client, &desired, &shared.credentials).await.map_err(Error::Observe)?;
    observation.observed.finalizer = object.finalizers().iter().any(|one| one == crate::crd::FINALIZER);
    let shown = object.status.as_ref().and_then(|status| status.cluster_id.as_deref());
    observation.observed.status_cluster_id = shown.and_then(|id| id.parse().ok());
    let desired = shared.settle(desired, &observation.observed, now);
    let decision = plan::plan(&desired, &observation.observed, now, rand::random());
    let show = |step: &Step| {
        status::view(&View {
            desired: &desired,
            observed: &observation.observed,
            facts: &decision.facts,
            step,
            overdue: decision.overdue.as_ref(),
            certificates: observation.secrets.lives(&desired),
            previous: object.status.as_ref(),
            now,
        })
    };
    let refused = refusal::standing(object.status.as_ref(), desired.generation, &decision.step).map(Step::Stall);
    let status = show(refused.as_ref().unwrap_or(&decision.step));
    shared.metrics.show(&desired.namespace, &desired.name, &status);
    shared.check_tenure()?;
    status::write(&shared.client, object, object.status.as_ref(), &status).await.map_err(Error::Status)?;
    if let Some(stall) = decision.step.stalled().or(decision.overdue.as_ref()) {
        announce(shared, object, stall).await;
    }
    for told in events::of_turns(object.status.as_ref(), &status) {
        publish(shared, object, &told, "Observe").await;
    }
    match &decision.step {
        Step::Act { action, why } => {
            let hands = Hands { client: &shared.client, desired: &desired, observation: &observation };
            match perform(shared, object, &hands, action, why).await {
                Err(Error::Act { source, action }) => match refusal::stall(action, &source) {
                    Some(stall) => {
                        let refused = show(&Step::Stall(stall.clone()));
                        status::write(&shared.client, object, Some(&status), &refused).await.map_err(Error::Status)?;
                        announce(shared, object, &stall).await;
                        shared.metrics.stall(stall.reason);
                        Ok(Some(Next::requeue(STALLED)))
                    }
                    None => Err(Error::Act { source, action }),
                },
                result => result,
            }
        }
        Step::Wait { .. } => Ok(Some(Next::requeue(WAITING))),
        Step::Stall(stall) => {
            shared.metrics.stall(stall.reason);
            Ok(Some(Next::requeue(STALLED)))
        }
        Step::Paused | Step::Steady => Ok(Some(Next::requeue(STEADY))),
        Step::Gone => Ok(Some(Next::await_change())),
    }
}

async fn invalid(shared: &Shared, object: &QuorateCluster, message: &str, now: Timestamp) -> Result<Next, Error> {
    let generation = object.metadata.generation.unwrap_or(0);
    let status = status::invalid(object.status.as_ref(), generation, message, now);
    shared.check_tenure()?;
    status::write(&shared.client, object, object.status.as_ref(), &status).await.map_err(Error::Status)?;
    shared.metrics.stall("InvalidSpec");
    Ok(Next::requeue(STALLED))
}

async fn perform(
    shared: &Shared,
    object: &QuorateCluster,
    hands: &Hands<'_>,
    action: &Action,
    why: &str,
) -> Result<Option<Next>, Error> {
    let name = action.name();
    let cluster = name_of(object);
    shared.check_tenure()?;
    match act::act(hands, action).await {
        Ok(()) => {
            tracing::info!(%cluster, action = name, detail = ?Brief(action), why, "done");
            shared.metrics.action(name, "done");
            if let Some(told) = events::of_action(hands.desired, &hands.observation.observed.latch, action, why) {
                publish(shared, object, &told, name).await;
            }
            if matches!(action, Action::RemoveFinalizer) {
                return Ok(Some(Next::await_change()));
            }
            Ok(None)
        }
        Err(error) if error.is_stale() && !(error.is_refused() && asks_for_the_spec(action)) => {
            tracing::info!(%cluster, action = name, %error, "the world moved on; planning afresh");
            shared.metrics.action(name, "stale");
            Ok(Some(Next::requeue(WAITING)))
        }
        Err(source) => {
            shared.metrics.action(name, "failed");
            Err(Error::Act { action: name, source })
        }
    }
}

/// Refused as it is, such an action is refused again until the spec is another one.
fn asks_for_the_spec(action: &Action) -> bool {
    matches!(action, Action::Apply(_) | Action::ResizeVolume { .. })
}

/// A stall is an event when its reason is new; the condition has the rest.
async fn announce(shared: &Shared, object: &QuorateCluster, stall: &plan::Stall) {
    let known = object.status.iter().flat_map(|status| &status.conditions).any(|condition| {
        condition.type_ == status::type_::STALLED && condition.status == "True" && condition.reason == stall.reason
    });
    if !known {
        tracing::warn!(cluster = %name_of(object), reason = stall.reason, message = stall.message, "stalled");
        let told = Told { warning: true, reason: stall.reason, subject: String::new(), note: stall.message.clone() };
        publish(shared, object, &told, "Plan").await;
    }
}

async fn publish(shared: &Shared, object: &QuorateCluster, told: &Told, action: &str) {
    let event = Event {
        type_: if told.warning { EventType::Warning } else { EventType::Normal },
        reason: told.reason.to_owned(),
        note: Some(told.note.chars().take(NOTE_CHARS_MAX).collect()),
        action: format!("{action}:{}", told.subject).trim_end_matches(':').chars().take(ACTION_CHARS_MAX).collect(),
        secondary: None,
    };
    if let Err(error) = shared.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(cluster = %name_of(object), %error, "an event was not recorded");
    }
}

/// An action in the log: what it is about, without the whole latch.
struct Brief<'a>(&'a Action);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Action::CreateLatch(latch) => write!(f, "cluster {}", latch.cluster_id),
            Action::WriteLatch { what, .. } => write!(f, "{what}"),
            other => write!(f, "{other:?}"),
        }
    }
}
