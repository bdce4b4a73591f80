//! One real `quorate` process: its addresses, its disk, its log, started and killed at will.

use std::fs::{self, File};
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_api::etcdserverpb::{DefragmentRequest, RangeRequest, RangeResponse};
use tonic::transport::{Channel, Endpoint};

use super::Error;
use super::disk::Disk;

/// Longer than an election under load on a busy machine; a client of the harness never waits longer for one answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a started member may take until it answers a linearizable read. Most of it is elections on a busy machine.
pub const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at a member that does not answer yet.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Stopping a process takes microseconds; this only bounds the wait.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// The lines of a member's log that an error shows.
const LOG_TAIL_LINES: usize = 25;

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
    process: Option<Child>,
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
        let log = File::options().create(true).append(true).open(&self.log).map_err(Error::io("open", &self.log))?;
        let errors = log.try_clone().map_err(Error::io("open", &self.log))?;
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
            .arg("--snapshot-catchup-entries=20");
        // Its flags alone say how it runs.
        for (name, _) in std::env::vars_os() {
            if ["QUORATE_", "ETCD_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        if !self.settings.fsync {
            command.arg("--unsafe-no-fsync=true");
        }
        let child =
            command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().map_err(Error::io("start", binary))?;
        self.process = Some(child);
        Ok(())
    }

    /// SIGKILL, and the process is gone when this returns.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // The process may have ended by itself (a disk without power), which leaves nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process where it stands: from here no thread of it runs a further instruction, so no answer leaves it.
    /// A thread inside a system call stays there, and whatever the call comes to is never seen.
    pub async fn freeze(&self) -> Result<(), Error> {
        let Some(child) = &self.process else { return Ok(()) };
        let pid = i32::try_from(child.id()).expect("a process id of Linux is below 2^22");
        // A process that has ended by itself cannot be stopped, and need not be.
        if kill(Pid::from_raw(pid), Signal::SIGSTOP).is_err() {
            return Ok(());
        }
        let started = Instant::now();
        while !stands_still(pid) {
            if started.elapsed() > FREEZE_TIMEOUT {
                return Err(Error::NotFrozen { member: self.address.name.clone(), waited: FREEZE_TIMEOUT });
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Waits until this member answers a linearizable read; an error says what its log ended with.
    pub async fn ready(&mut self) -> Result<(), Refusal> {
        let started = Instant::now();
        while started.elapsed() < READY_TIMEOUT {
            if let Some(status) = self.process.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
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

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
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

/// Whether every thread of a process is stopped, dead or inside an uninterruptible system call (states T, Z, X and D).
fn stands_still(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(status) = fs::read_to_string(thread.path().join("stat")) else { return true };
        // "PID (NAME) STATE …", and the name may hold anything.
        let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| "TtZXD".contains(state))
    })
}

/// The binary under test: `$QUORATE_BIN`, or `quorate` of the same build as the test.
fn server_binary() -> Result<PathBuf, Error> {
    let path = match std::env::var_os("QUORATE_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().map_err(Error::io("find", "the test's own binary"))?;
            // target/debug/deps/NAME-HASH
            let profile = test.parent().and_then(Path::parent).expect("a test binary stands in target/PROFILE/deps");
            profile.join("quorate")
        }
    };
    if path.is_file() { Ok(path) } else { Err(Error::NoBinary(path)) }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
