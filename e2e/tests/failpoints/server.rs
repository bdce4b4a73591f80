//! One server process of these tests: on a plain folder, started with points at which it fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_api::admin::admin_client::AdminClient;
use quorate_api::admin::{MemberStateRequest, MemberStateResponse};
use quorate_api::etcdserverpb::cluster_client::ClusterClient;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_api::etcdserverpb::{MemberPromoteRequest, RangeRequest};
use quorate_e2e::crash::member::Address;
use quorate_e2e::crash::process::{Process, server_binary, tail};
use quorate_e2e::crash::workspace::Workspace;
use tonic::transport::{Channel, Endpoint};

/// How long a start, an end or a catch-up may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);
const TOKEN: &str = "secret";

/// A request of the operator's.
pub fn authorized<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", TOKEN.parse().unwrap());
    request
}

/// Which binary is started.
pub enum Build {
    WithPoints,
    Released,
}

pub struct Server {
    address: Address,
    admin_url: String,
    token_file: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// As `--initial-cluster` takes it; a joiner names the first member too.
    initial_cluster: String,
    joins: bool,
    process: Option<Process>,
    channel: Channel,
    point: String,
    starts: u32,
}

impl Server {
    /// One that does not run yet; it joins `first` if there is one.
    pub fn new(folder: &Workspace, name: &str, first: Option<&Server>) -> Server {
        let address = Address::take(name.to_owned(), folder.host()).unwrap();
        let own = format!("{name}={}", address.peer_url);
        let initial_cluster = first.map_or_else(|| own.clone(), |first| format!("{},{own}", first.initial_cluster));
        let admin_url = Address::take(name.to_owned(), folder.host()).unwrap().client_url;
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        let endpoint = Endpoint::from_shared(address.client_url.clone()).unwrap();
        let channel = endpoint.connect_timeout(Duration::from_millis(500)).timeout(PATIENCE).connect_lazy();
        Server {
            admin_url,
            token_file: folder.path().join("token"),
            data: folder.path().join(name),
            log: folder.path().join(format!("{name}.log")),
            address,
            initial_cluster,
            joins: first.is_some(),
            process: None,
            channel,
            point: String::new(),
            starts: 0,
        }
    }

    /// Starts it with these points (as the variable FAILPOINTS takes them; none when empty).
    pub fn start(&mut self, build: Build, points: &str) {
        assert!(self.process.is_none(), "{} runs already", self.address.name);
        let released = server_binary().unwrap();
        let binary = match build {
            Build::Released => released,
            Build::WithPoints => released.with_file_name("quorate-failpoints"),
        };
        assert!(binary.is_file(), "{} is missing: scripts/failpoints.sh builds it", binary.display());
        let Address { name, client_url, peer_url } = &self.address;
        let mut command = Command::new(binary);
        command
            .arg(format!("--name={name}"))
            .arg(format!("--data-dir={}", self.data.display()))
            .arg(format!("--listen-client-urls={client_url}"))
            .arg(format!("--advertise-client-urls={client_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster={}", self.initial_cluster))
            .arg(format!("--initial-cluster-state={}", if self.joins { "existing" } else { "new" }))
            .arg(format!("--listen-admin-urls={}", self.admin_url))
            .arg(format!("--admin-token-file={}", self.token_file.display()))
            .arg("--snapshot-catchup-entries=5")
            .arg("--wal-keep-bytes=1")
            .env("FAILPOINTS", points);
        self.process = Some(Process::start(name, command, &self.log).unwrap());
        self.point = points.to_owned();
        self.starts += 1;
    }

    pub fn point(&self) -> &str {
        &self.point
    }

    pub fn starts(&self) -> u32 {
        self.starts
    }

    pub fn peer_url(&self) -> &str {
        &self.address.peer_url
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    pub fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(Endpoint::from_shared(self.admin_url.clone()).unwrap().connect_lazy())
    }

    /// What it says of itself, once that is as wanted.
    pub async fn state(&self, wanted: impl Fn(&MemberStateResponse) -> bool) -> MemberStateResponse {
        let since = Instant::now();
        loop {
            let answer = self.admin().member_state(authorized(MemberStateRequest {})).await;
            match answer.map(tonic::Response::into_inner) {
                Ok(state) if wanted(&state) => return state,
                other => assert!(since.elapsed() < PATIENCE, "{other:?}: {}", self.log()),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its data directory, of a server that does not run.
    pub fn data(&self) -> &Path {
        assert!(self.process.is_none(), "{} runs", self.address.name);
        &self.data
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        tail(&self.log)
    }

    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Waits until it answers a linearizable read.
    pub async fn ready(&mut self) {
        assert!(self.ready_or_gone().await, "{} ended: {}", self.address.name, self.log());
    }

    /// The same, but the point may strike first; returns whether it serves.
    pub async fn ready_or_gone(&mut self) -> bool {
        let since = Instant::now();
        loop {
            if self.process.as_mut().is_none_or(|process| process.ended().is_some()) {
                return false;
            }
            if self.kv().range(RangeRequest { key: "ready".into(), ..Default::default() }).await.is_ok() {
                return true;
            }
            assert!(since.elapsed() < PATIENCE, "{} does not serve: {}", self.address.name, self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the process has ended by itself.
    pub async fn gone(&mut self) {
        let since = Instant::now();
        while self.process.as_mut().is_some_and(|process| process.ended().is_none()) {
            assert!(since.elapsed() < PATIENCE, "{} did not end: {}", self.address.name, self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.process = None;
    }

    /// Asks this leader to promote a learner, until it has heard how far the learner is.
    pub async fn promote(&self, id: u64) {
        let since = Instant::now();
        while let Err(status) = self.cluster().member_promote(MemberPromoteRequest { id }).await {
            let waits = status.message().contains("in sync with leader") && since.elapsed() < PATIENCE;
            assert!(waits, "{id:x} is not promoted: {status}: {}", self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it holds this revision itself.
    pub async fn caught_up(&mut self, revision: i64) {
        let since = Instant::now();
        let look = RangeRequest { key: "ready".into(), serializable: true, ..Default::default() };
        loop {
            let answer = self.kv().range(look.clone()).await;
            if answer.is_ok_and(|answer| answer.into_inner().header.unwrap().revision >= revision) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{} does not catch up: {}", self.address.name, self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
