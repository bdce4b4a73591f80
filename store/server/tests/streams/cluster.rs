//! Members as processes that can be killed, stopped and started again.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_api::etcdserverpb as pb;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use super::client::Client;
use super::ports;
use super::process::Port;

/// A start and an election take about a second; a machine that is busy with other tests may need longer.
const PATIENCE: Duration = Duration::from_secs(60);
const READY: &str = "ready to serve client requests";

pub struct Cluster {
    members: Vec<Member>,
    _folder: TempDir,
}

struct Member {
    client: Port,
    arguments: Vec<String>,
    child: Option<Child>,
    log: PathBuf,
}

impl Cluster {
    /// Founds a cluster of `count` members with these flags on each.
    pub fn start(count: usize, flags: &[&str]) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let peers: Vec<String> = (0..count).map(|_| format!("http://127.0.0.1:{}", ports::free_port())).collect();
        let all: Vec<String> = (0..count).map(|n| format!("m{n}={}", peers[n])).collect();
        let member = |n: usize| {
            let port = Port::reserve();
            let (client, peer) = (format!("http://{}", port.address()), &peers[n]);
            let data = folder.path().join(format!("m{n}"));
            let own = [
                format!("--name=m{n}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={}", all.join(",")),
                "--socket-reuse-port".to_owned(),
            ];
            let arguments = own.into_iter().chain(flags.iter().map(|flag| (*flag).to_owned())).collect();
            Member { client: port, arguments, child: None, log: data.with_extension("log") }
        };
        let mut members: Vec<Member> = (0..count).map(member).collect();
        let ready: Vec<mpsc::Receiver<()>> = members.iter_mut().map(Member::start).collect();
        let cluster = Cluster { members, _folder: folder };
        ready.iter().enumerate().for_each(|(n, ready)| cluster.await_ready(n, ready));
        cluster
    }

    fn await_ready(&self, n: usize, ready: &mpsc::Receiver<()>) {
        if ready.recv_timeout(PATIENCE).is_err() {
            let log = std::fs::read_to_string(&self.members[n].log).unwrap_or_default();
            panic!("member {n} is not ready:\n{log}");
        }
    }

    /// As `kill -9`.
    pub fn kill(&mut self, n: usize) {
        let mut child = self.members[n].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn restart(&mut self, n: usize) {
        let ready = self.members[n].start();
        self.await_ready(n, &ready);
    }

    /// Stops the process where it is; it does not notice.
    pub fn pause(&self, n: usize) {
        self.members[n].signal(Signal::SIGSTOP);
    }

    pub fn resume(&self, n: usize) {
        self.members[n].signal(Signal::SIGCONT);
    }

    pub async fn client(&self, n: usize) -> Client {
        Client::over(self.channel(n).await)
    }

    async fn channel(&self, n: usize) -> Channel {
        let endpoint = Endpoint::try_from(format!("http://{}", self.members[n].client.address())).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// The member that leads according to `by`, awaited; not `except`.
    pub async fn leader(&self, by: usize, except: Option<usize>) -> usize {
        let mut asked = MaintenanceClient::new(self.channel(by).await);
        let until = Instant::now() + PATIENCE;
        loop {
            let status = asked.status(pb::StatusRequest {}).await.unwrap().into_inner();
            for n in (0..self.members.len()).filter(|n| Some(*n) != except && self.members[*n].child.is_some()) {
                if status.leader != 0 && status.leader == self.id(n).await {
                    return n;
                }
            }
            assert!(Instant::now() < until, "no leader: {status:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn id(&self, n: usize) -> u64 {
        let mut asked = MaintenanceClient::new(self.channel(n).await);
        asked.status(pb::StatusRequest {}).await.unwrap().into_inner().header.unwrap().member_id
    }
}

impl Member {
    fn start(&mut self) -> mpsc::Receiver<()> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(&self.arguments)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, receiver) = mpsc::sync_channel(1);
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains(READY) {
                    let _ = sender.try_send(());
                }
                std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes()).unwrap();
            }
        });
        self.child = Some(child);
        receiver
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
