//! One real `quorate` process: its addresses, its disk, its log, started and killed at will.

use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_api::etcdserverpb::{DefragmentRequest, RangeRequest, RangeResponse};
use tonic::transport::{Channel, Endpoint};

use super::Error;
use super::disk::Disk;
use super::process::{Process, server_binary, tail};

/// Longer than an election under load on a busy machine; a client of the harness never waits longer for one answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a started member may take until it answers a linearizable read. Most of it is elections on a busy machine.
pub const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at a member that does not answer yet.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A member's name and URLs, fixed for its life.
#[derive(Debug, Clone)]
pub struct Address {
    pub name: String,
    pub client_url: String,
    pub peer_url: String,
}

impl Address {
    /// Takes two free ports of the loopback address given. Each run has an address of its own, so that nobody else takes
    /// the ports between this call and the member's start.
    pub fn take(name: String, host: IpAddr) -> Result<Address, Error> {
        let free = || -> std::io::Result<(TcpListener, String)> {
            let listener = TcpListener::bind((host, 0))?;
            let url = format!("http://{}", listener.local_addr()?);
            Ok((listener, url))
        };
        // Both are held until both are known, so that they differ.
        let (client, peer) =
            free().and_then(|client| Ok((client, free()?))).map_err(Error::io("bind a port of", host.to_string()))?;
        Ok(Address { name, client_url: client.1, peer_url: peer.1 })
    }
}

/// What a member is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// All members, as `--initial-cluster` takes them.
    pub initial_cluster: String,
    pub token: String,
    /// Off, the member runs with `--unsafe-no-fsync`.
    pub fsync: bool,
}

pub struct Member {
    pub address: Address,
    pub disk: Disk,
    settings: Settings,
    /// On the machine's own disk, so that it outlives power cuts.
    log: PathBuf,
    process: Option<Process>,
    channel: Channel,
}

impl Member {
    /// A member that does not run yet.
    pub fn new(address: Address, disk: Disk, settings: Settings, log: PathBuf) -> Member {
        let endpoint = Endpoint::from_shared(address.client_url.clone()).expect("the URL was made of a socket address");
        let channel = endpoint.connect_timeout(Duration::from_millis(500)).timeout(REQUEST_TIMEOUT).connect_lazy();
        Member { address, disk, settings, log, process: None, channel }
    }

    pub fn name(&self) -> &str {
        &self.address.name
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// Asks this member to flush and compact its database, so that crashes find it at any point of that. Nobody waits for the
    /// answer, which never comes when the member is killed in the middle.
    pub fn defragment(&self) {
        let mut client = self.maintenance();
        tokio::spawn(async move { client.defragment(DefragmentRequest {}).await });
    }

    pub fn start(&mut self) -> Result<(), Error> {
        assert!(self.process.is_none(), "member {} runs already", self.address.name);
        let binary = server_binary()?;
        let mut command = self.disk.command(&binary);
        command
            .arg(format!("--name={}", self.address.name))
            .arg(format!("--data-dir={}", self.disk.path().join("data").display()))
            .arg(format!("--listen-client-urls={}", self.address.client_url))
            .arg(format!("--advertise-client-urls={}", self.address.client_url))
            .arg(format!("--listen-peer-urls={}", self.address.peer_url))
            .arg(format!("--initial-advertise-peer-urls={}", self.address.peer_url))
            .arg(format!("--initial-cluster={}", self.settings.initial_cluster))
            .arg(format!("--initial-cluster-token={}", self.settings.token))
            // Few, so that a member which cuts its log keeps next to nothing for those that are away.
            .arg("--snapshot-catchup-entries=20")
            .arg("--wal-keep-bytes=1");
        if !self.settings.fsync {
            command.arg("--unsafe-no-fsync=true");
        }
        self.process = Some(Process::start(&self.address.name, command, &self.log)?);
        Ok(())
    }

    /// SIGKILL, and the process is gone when this returns.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops the process where it stands.
    pub async fn freeze(&self) -> Result<(), Error> {
        match &self.process {
            Some(process) => process.freeze().await,
            None => Ok(()),
        }
    }

    /// Waits until this member answers a linearizable read; an error says what its log ended with.
    pub async fn ready(&mut self) -> Result<(), Refusal> {
        let started = Instant::now();
        while started.elapsed() < READY_TIMEOUT {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                self.process = None;
                return Err(self.refusal(format!("the process ended with {status}")));
            }
            if self.kv().range(RangeRequest { key: "ready".into(), ..Default::default() }).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(self.refusal(format!("no linearizable read was answered within {READY_TIMEOUT:?}")))
    }

    /// Waits until the process ends for its disk, which failed; an error says that it does not, or does not say why.
    pub async fn ends_for_its_disk(&mut self) -> Result<(), Refusal> {
        let started = Instant::now();
        let status = loop {
            match self.process.as_mut().and_then(Process::ended) {
                Some(status) => break status,
                None if started.elapsed() > READY_TIMEOUT => {
                    return Err(self.refusal(format!("the process is still there after {READY_TIMEOUT:?}")));
                }
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        self.process = None;
        let log = tail(&self.log);
        let last = log.lines().rfind(|line| line.contains("the member ended")).unwrap_or_default();
        let disk = self.disk.path().display().to_string();
        // A sync that was under way when the file system gave up is told of another error than those after it.
        let says = |cause, remedy| last.contains(cause) && last.contains(remedy);
        let told = last.contains(&disk)
            && (says("ead-only file system", "ount it")
                || says("Input/output error", "recovers from what is on disk")
                || says("Input/output error", "see to the disk"));
        match status.code() {
            Some(1) if told => Ok(()),
            Some(1) => Err(self.refusal("it does not say for which file, what cause, or with what remedy".to_owned())),
            _ => Err(self.refusal(format!("the process ended with {status}"))),
        }
    }

    /// Asks again until the answer comes: an election may be under way.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let started = Instant::now();
        loop {
            match self.kv().range(request.clone()).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if started.elapsed() >= READY_TIMEOUT => {
                    return Err(Error::Rpc {
                        what: "range",
                        member: self.address.name.clone(),
                        waited: READY_TIMEOUT,
                        source: Box::new(status),
                    });
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    fn refusal(&self, reason: String) -> Refusal {
        Refusal { member: self.address.name.clone(), reason, log: tail(&self.log) }
    }
}

/// A member that does not serve after its restart.
#[derive(Debug)]
pub struct Refusal {
    pub member: String,
    pub reason: String,
    /// The end of its log.
    pub log: String,
}
