//! Listeners and services of a member: what serves in every phase (`Early`: metrics, health, the operator), and what serves clients
//! and peers while raft runs (`Running`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use quorate_api::Error as ApiError;
use quorate_api::admin::admin_server::AdminServer;
use quorate_core::log::Index;
use quorate_core::replica::Role;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::open::Opened;
use super::{Admission, Error, ready};
use crate::config::{Config, Url};
use crate::driver::{Driver, Ended, Fatal, Flusher, LogReads, LogRole, load_unreclaimed};
use crate::http::{Facts, Pages, Probe, Surface};
use crate::inbox::{Inbox, Input};
use crate::lessor::Lessor;
use crate::listen::{HEADER_TIMEOUT, Listener, Server, Service, Settings};
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::peer::{self, Call, IncomingCall, Local, Peers, Reply, Schedule, Snapshots};
use crate::rpc::{self, AdminService, Router};
use crate::store::{Inner, Limits, Status, Store};
use crate::watch_hub::{Settings as WatchSettings, WatchHub};

/// How long running requests may take when the member stops; streams are told to end at once.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Calls of other members that wait to be answered.
const CALLS_MAX: usize = 1_024;
/// Snapshots that other members want to send; one is taken at a time.
const SNAPSHOTS_MAX: usize = 4;

/// What serves whether or not raft runs.
pub struct Early {
    server: Server,
    metrics: Arc<Metrics>,
}

/// The pages before raft runs answer that there is no cluster; afterwards they ask the store.
struct Life(Arc<Admission>);

impl Life {
    /// Why nothing can be read.
    fn idle(&self) -> ApiError {
        ApiError::Unmapped(match self.0.refusal() {
            Some(refusal) => format!("raft does not run, the data directory is refused: {refusal}"),
            None => format!("raft does not run: {:?}", self.0.phase()),
        })
    }
}

impl Probe for Life {
    fn facts(&self) -> Facts {
        self.0.store().map_or_else(Facts::default, |store| store.facts())
    }

    fn serializable_read(&self) -> Result<(), ApiError> {
        match self.0.store() {
            Some(store) => store.serializable_read(),
            // Alive: the process serves, and waits for its cluster.
            None => Ok(()),
        }
    }

    fn linearizable_read(&self) -> BoxFuture<'_, Result<(), ApiError>> {
        async {
            match self.0.store() {
                Some(store) => store.linearizable_read().await,
                None => Err(self.idle()),
            }
        }
        .boxed()
    }

    fn lag(&self, patience: Duration) -> BoxFuture<'_, Result<Option<u64>, ApiError>> {
        async move {
            match self.0.store() {
                Some(store) => store.lag(patience).await,
                None if self.0.refusal().is_some() => Err(self.idle()),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn observe(&self, metrics: &Metrics) {
        if let Some(store) = self.0.store() {
            store.observe(metrics);
        }
    }
}

fn settings(config: &Config) -> Settings {
    Settings { keepalive: config.keepalive, streams_max: config.max_concurrent_streams, header_timeout: HEADER_TIMEOUT }
}

impl Early {
    /// # Errors
    /// An address that cannot be had, or TLS files that cannot be used.
    pub async fn start(config: &Config, admission: &Arc<Admission>) -> Result<Early, Error> {
        let metrics = Arc::new(Metrics::new(config.metrics_extensive));
        let server = Server::new(settings(config), metrics.clone());
        let pages = Arc::new(Pages::new(Arc::new(Life(admission.clone())), metrics.clone()));
        let client = admission.planes().client.as_ref();
        for url in &config.listen_metrics_urls {
            let listener = Listener::bind(url, client, config.socket_reuse_port).await?;
            server.serve(listener, Service::pages(pages.clone(), Surface::Metrics));
        }
        if let Some(admin) = &config.admin {
            let open = Box::new(|_: &http::request::Parts| Ok(()));
            let service = AdminServer::new(AdminService::new(admission.clone()));
            let router = Arc::new(Router::new(metrics.clone(), open, config.warning_unary).with(service));
            for url in &admin.urls {
                let listener = Listener::bind(url, admission.planes().admin.as_ref(), false).await?;
                server.serve(listener, Service::rpc(router.clone()));
            }
        }
        Ok(Early { server, metrics })
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub async fn stop(self) {
        self.server.stop(STOP_GRACE).await;
    }
}

/// A member whose raft runs.
pub struct Running {
    store: Store,
    server: Arc<Server>,
    /// Tells gRPC's health service and streams that the end is near.
    stopping: CancellationToken,
    ended: watch::Receiver<bool>,
    driver: tokio::task::JoinHandle<Ended>,
    peers: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    /// Starts raft, then serves clients once this member has caught up with what it may have answered before.
    ///
    /// # Errors
    /// An address that cannot be had, or no thread.
    pub async fn start(
        config: &Config,
        opened: Opened,
        admission: &Arc<Admission>,
        metrics: Arc<Metrics>,
    ) -> Result<Running, Error> {
        let client = admission.planes().client.as_ref();
        let mut listeners = Vec::new();
        for url in &config.listen_client_urls {
            listeners.push(Listener::bind(url, client, config.socket_reuse_port).await?);
        }
        let mut http = Vec::new();
        for url in &config.listen_client_http_urls {
            http.push(Listener::bind(url, client, config.socket_reuse_port).await?);
        }
        let serve_from = opened.serve_from;
        let (store, driver) = build(config, opened, admission, metrics.clone())?;
        let peers = listen_for_peers(config, &store, &driver.snapshots).await?;
        let (ended_sender, ended) = watch::channel(false);
        let thread = driver.spawn().map_err(Error::Thread)?;
        let driver = tokio::task::spawn_blocking(move || {
            let ended = thread.join().unwrap_or(Ended::Failed(Fatal::Role("the driver's thread panicked".into())));
            let _ = ended_sender.send(true);
            ended
        });
        tokio::spawn(store.lessor().clone().run(store.clone()));
        tokio::spawn(crate::integrity::watch(store.clone()));
        tokio::spawn(crate::integrity::confess(store.clone()));
        if let Some(rest) = config.scrub_interval {
            tokio::spawn(crate::scrub::run(store.clone(), rest));
        }
        admission.set_store(store.clone());
        let stopping = CancellationToken::new();
        let server = Server::new(settings(config), metrics.clone()).drained_by(admission.drain().clone());
        let server = Arc::new(server);
        let running = Running { store: store.clone(), server, stopping, ended, driver, peers };
        running.serve_clients(config, listeners, http, serve_from, metrics);
        Ok(running)
    }

    /// Clients are served from the moment on at which this member is where it was; until then their connections wait.
    fn serve_clients(
        &self,
        config: &Config,
        listeners: Vec<Listener>,
        http: Vec<Listener>,
        serve_from: Index,
        metrics: Arc<Metrics>,
    ) {
        let store = self.store.clone();
        let health = rpc::Health::new(self.stopping.clone());
        let router = Arc::new(rpc::client_router(&store, &metrics, health, config));
        let pages = Arc::new(Pages::new(Arc::new(store.clone()), metrics));
        let both = http.is_empty();
        let server = self.server.clone();
        let advertised: Vec<String> = config.advertise_client_urls.iter().map(Url::to_string).collect();
        tokio::spawn(async move {
            tokio::select! {
                () = ready::caught_up(&store, serve_from) => store.set_caught_up(),
                // A fenced member does not catch up; whoever comes is told why.
                () = store.fenced() => {}
                // Nor does one whose rows are damaged, and it must be reachable to be rebuilt.
                () = store.quarantined() => {}
            }
            for listener in listeners {
                let service = match both {
                    true => Service::both(router.clone(), pages.clone()),
                    false => Service::rpc(router.clone()),
                };
                server.serve(listener, service);
            }
            for listener in http {
                server.serve(listener, Service::pages(pages.clone(), Surface::Client));
            }
            ready::caught_up(&store, serve_from).await;
            store.set_caught_up();
            ready::publish(&store, advertised).await;
            tracing::info!(cluster = format!("{:x}", store.identity().cluster_id), "ready to serve client requests");
        });
    }

    /// Completes when the driver has ended by itself.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the task is gone, which is an end, too.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Stops in order: leadership goes to another, streams end, requests finish, the state is made durable.
    ///
    /// # Errors
    /// The driver's thread cannot be joined.
    pub async fn stop(self) -> Result<Ended, Error> {
        if self.store.status().role == Role::Leader
            && let Ok(successor) = self.store.successor().await
        {
            tracing::info!(to = format!("{successor:x}"), "handing leadership over before stopping");
            if tokio::time::timeout(STOP_GRACE, self.store.move_leader(successor)).await.is_err() {
                tracing::warn!("leadership was not taken over in time");
            }
        }
        self.stopping.cancel();
        self.store.watch_hub().stop();
        self.store.lessor().stop();
        self.server.stop(STOP_GRACE).await;
        self.store.0.inbox.push(Input::Stop);
        let ended = self.driver.await.map_err(|_| Error::Panicked("the driver's thread could not be joined"))?;
        self.peers.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(ended)
    }
}

/// Wires everything that the driver and the handle share.
fn build(
    config: &Config,
    opened: Opened,
    admission: &Arc<Admission>,
    metrics: Arc<Metrics>,
) -> Result<(Store, Driver), Error> {
    let Opened { directory, identity, backend, wal, machine, node, membership, serve_from: _, timers } = opened;
    let member = directory.member();
    let inbox = Arc::new(Inbox::default());
    let budget = Budget::new(config.memory_budget_bytes);
    let local = Arc::new(Local {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        boot: identity.boot,
        disk_id: own_disk_id(&membership, identity.member_id),
        tls: admission.planes().peer.clone(),
        inbox: inbox.clone(),
        metrics: metrics.clone(),
        budget: budget.clone(),
        membership: ArcSwap::from_pointee(membership.clone()),
        feature_level: AtomicU64::new(u64::from(machine.feature_level())),
        removed: watch::Sender::new(false),
    });
    let peers = Peers::new(local, Handle::current());
    peers.update(&membership);
    metrics.server.identify(identity.member_id);
    let limits = match &member.limits {
        Some(pushed) => rpc::parse_limits(&pushed.value),
        None => Limits {
            quota_bytes: config.quota_bytes,
            request_bytes_max: config.max_request_bytes as usize,
            txn_ops_max: config.max_txn_ops as usize,
        },
    };
    let leases = machine.leases().iter().map(|(id, lease)| (*id, lease.ttl_seconds, lease.grant_index));
    let watch_settings =
        WatchSettings::new(config.watch_progress_interval, limits.request_bytes_max, budget.bytes_max());
    let unreclaimed = load_unreclaimed(&backend)?;
    let log_reads =
        LogReads::spawn(wal.reader(), inbox.clone(), config.catch_up_bytes_per_second).map_err(Error::Thread)?;
    let schedule = Schedule {
        bytes_per_second: config.catch_up_bytes_per_second,
        log: wal.reader(),
        keep_wanted_bytes: wal.keep_wanted_bytes(),
    };
    let log = LogRole::spawn(wal, inbox.clone(), metrics.clone()).map_err(Error::Thread)?;
    let flusher = Flusher::spawn(inbox.clone()).map_err(Error::Thread)?;
    let inner = Arc::new(Inner {
        inbox: inbox.clone(),
        proposals: Default::default(),
        reads: Default::default(),
        status: ArcSwap::from_pointee(Status::initial(&machine)),
        changed: watch::Sender::new(0),
        membership: ArcSwap::from_pointee(machine.membership().clone()),
        backend: ArcSwap::new(backend.clone()),
        limits: ArcSwap::from_pointee(limits),
        timers: ArcSwap::from_pointee(timers),
        fenced: AtomicBool::new(member.is_fenced()),
        damaged: AtomicBool::new(false),
        caught_up: AtomicBool::new(false),
        strict_reconfig: config.strict_reconfig_check,
        learners_max: config.max_learners,
        watch_hub: WatchHub::start(machine.revision(), machine.compact_revision(), watch_settings, budget.clone()),
        lessor: Lessor::new(leases, timers.election),
        peers: peers.clone(),
        counter: AtomicU64::new(0),
        unreclaimed: AtomicU64::new(unreclaimed),
        budget,
        metrics,
        runtime: Handle::current(),
        identity,
    });
    let snapshots = Snapshots::new(directory.clone(), peers, inbox, Handle::current(), schedule);
    let driver = Driver {
        inner: inner.clone(),
        node,
        machine,
        backend,
        log,
        log_reads,
        flusher,
        snapshots,
        directory,
        heartbeat: timers.heartbeat,
        warning_apply: config.warning_apply,
        catch_up_entries: config.snapshot_catchup_entries,
    };
    Ok((Store(inner), driver))
}

/// The disk id that this member was added with; empty for one that was founded by flags.
fn own_disk_id(membership: &quorate_core::membership::Membership, member_id: u64) -> String {
    membership.get(member_id).map(|member| member.disk_id.clone()).unwrap_or_default()
}

async fn listen_for_peers(
    config: &Config,
    store: &Store,
    snapshots: &Snapshots,
) -> Result<Vec<tokio::task::JoinHandle<()>>, Error> {
    let (calls, incoming_calls) = mpsc::channel(CALLS_MAX);
    let (snapshot_sender, incoming_snapshots) = mpsc::channel(SNAPSHOTS_MAX);
    let mut tasks = vec![
        tokio::spawn(answer_calls(store.clone(), incoming_calls)),
        tokio::spawn(snapshots.clone().receive_all(incoming_snapshots)),
    ];
    for url in &config.listen_peer_urls {
        let failed = |source| Error::PeerListen { url: url.to_string(), source };
        let (host, port) = url.host_port().ok_or_else(|| failed(std::io::ErrorKind::Unsupported.into()))?;
        let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
        tracing::info!(%url, "listening for peers");
        tasks.push(tokio::spawn(peer::serve(
            listener,
            url.is_tls(),
            store.peers().clone(),
            calls.clone(),
            snapshot_sender.clone(),
        )));
    }
    Ok(tasks)
}

/// Answers what other members ask of a leader.
async fn answer_calls(store: Store, mut calls: mpsc::Receiver<IncomingCall>) {
    while let Some(IncomingCall { from: _, call, reply }) = calls.recv().await {
        let store = store.clone();
        tokio::spawn(async move {
            let answer = match call {
                Call::IsCaughtUp { member } if store.status().is_leader() => {
                    store.is_caught_up(member).await.map_or_else(Reply::Failed, Reply::CaughtUp)
                }
                Call::IsCaughtUp { .. } => Reply::Failed(ApiError::NotLeader),
                call @ (Call::KeepAlive { .. } | Call::TimeToLive { .. } | Call::Integrity) => {
                    store.lessor().handle(&store, call).await
                }
            };
            // The connection may have gone meanwhile.
            let _ = reply.send(answer);
        });
    }
}

impl Status {
    /// Before raft has said anything.
    fn initial(machine: &quorate_core::apply::Machine) -> Status {
        Status {
            role: Role::Follower,
            leader: 0,
            term: machine.applied().term,
            committed: machine.applied().index,
            applied: machine.applied().index,
            is_learner: false,
            revision: machine.revision(),
            compact_revision: machine.compact_revision(),
            feature_level: machine.feature_level(),
            alarms: machine.alarms().iter().collect(),
            db_size_in_use: machine.size_in_use_bytes(),
            db_size: machine.size_in_use_bytes(),
            leader_lost: None,
            removed: false,
            disk_full: None,
        }
    }
}
