//! Real members as processes of the built binary, on free ports of the loopback, each in a folder of its own; ended with the test.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_api::admin::admin_client::AdminClient;
use quorate_api::admin::{self, Phase};
use quorate_api::etcdserverpb as pb;
use quorate_api::etcdserverpb::cluster_client::ClusterClient;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::lease_client::LeaseClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::{Channel, Endpoint};

use crate::ports;

/// Starting, electing and replaying together stay far below this on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that has no event to await.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub struct Member {
    pub name: String,
    pub client: u16,
    pub peer: u16,
    pub admin: u16,
    flags: Vec<String>,
    peer_scheme: &'static str,
    folder: PathBuf,
    process: Option<Child>,
}

impl Member {
    /// A member that waits for Found or Admit; not started yet.
    pub fn awaiting(folder: &Path, name: &str) -> Member {
        Member::new(folder, name, &["--initial-cluster-state=await".to_owned()])
    }

    /// The members of a static cluster; not started yet.
    pub fn static_cluster(folder: &Path, count: usize) -> Vec<Member> {
        Member::listed((1..=count).map(|i| Member::new(folder, &format!("m{i}"), &[])).collect())
    }

    /// As `static_cluster`, with TLS between the members by certificates that they make themselves.
    pub fn static_cluster_with_peer_auto_tls(folder: &Path, count: usize) -> Vec<Member> {
        Member::static_cluster_with_peer_tls(folder, count, &["--peer-auto-tls".to_owned()])
    }

    /// As `static_cluster`, with TLS between the members as these flags say.
    pub fn static_cluster_with_peer_tls(folder: &Path, count: usize, flags: &[String]) -> Vec<Member> {
        let secure = |i| {
            let mut member = Member::new(folder, &format!("m{i}"), flags);
            member.peer_scheme = "https";
            member
        };
        Member::listed((1..=count).map(secure).collect())
    }

    fn listed(mut members: Vec<Member>) -> Vec<Member> {
        let list: Vec<String> = members.iter().map(|m| format!("{}={}", m.name, m.peer_url())).collect();
        for member in &mut members {
            member.flags.push(format!("--initial-cluster={}", list.join(",")));
        }
        members
    }

    /// A member that joins these, as etcd's users start it after `member add`; not started yet.
    pub fn existing(folder: &Path, name: &str, others: &[&Member]) -> Member {
        let mut member = Member::new(folder, name, &["--initial-cluster-state=existing".to_owned()]);
        let mut list = vec![format!("{name}={}", member.peer_url())];
        list.extend(others.iter().map(|other| format!("{}={}", other.name, other.peer_url())));
        member.flags.push(format!("--initial-cluster={}", list.join(",")));
        member
    }

    fn new(folder: &Path, name: &str, flags: &[String]) -> Member {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("token"), "secret\n").unwrap();
        Member {
            name: name.to_owned(),
            client: ports::free_port(),
            peer: ports::free_port(),
            admin: ports::free_port(),
            flags: flags.to_vec(),
            peer_scheme: "http",
            folder,
            process: None,
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    pub fn with_flag(mut self, flag: &str) -> Member {
        self.flags.push(flag.to_owned());
        self
    }

    pub fn without_flag(mut self, flag: &str) -> Member {
        self.flags.retain(|given| given != flag);
        self
    }

    pub fn peer_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.peer_scheme, self.peer)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let client = format!("http://127.0.0.1:{}", self.client);
        let process = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .env_clear()
            .arg(format!("--name={}", self.name))
            .arg(format!("--data-dir={}", self.data_dir().display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={}", self.peer_url()))
            .arg(format!("--initial-advertise-peer-urls={}", self.peer_url()))
            .arg(format!("--listen-admin-urls=http://127.0.0.1:{}", self.admin))
            .arg(format!("--admin-token-file={}", self.folder.join("token").display()))
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGTERM; returns the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut process = self.process.take()?;
        let id = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        process.wait().unwrap().code()
    }

    /// As [`Member::wait`], without holding the test's thread up.
    pub async fn until_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let mut process = self.process.take()?;
        while Instant::now() < deadline {
            if let Some(status) = process.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        panic!("{} does not end:\n{}", self.name, self.log());
    }

    /// Waits for the process to end by itself; returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.process.take()?.wait().unwrap().code()
    }

    fn channel(port: u16) -> Channel {
        Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy()
    }

    /// A page of the client listener: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        Member::page(self.client, path)
    }

    /// A page of the listener on this port: status and body.
    pub fn page(port: u16, path: &str) -> (u16, String) {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(Member::channel(self.client))
    }

    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(Member::channel(self.client))
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(Member::channel(self.client))
    }

    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(Member::channel(self.client))
    }

    pub fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(Member::channel(self.admin))
    }

    /// Waits until the member answers and its state is as wanted; returns the state.
    pub async fn until(&self, wanted: impl Fn(&admin::MemberStateResponse) -> bool) -> admin::MemberStateResponse {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            if let Ok(state) = self.admin().member_state(authorized(admin::MemberStateRequest {})).await {
                let state = state.into_inner();
                if wanted(&state) {
                    return state;
                }
                last = Some(state);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        panic!("{} is {last:#?}\n{}", self.name, self.log());
    }

    pub async fn until_phase(&self, phase: Phase) -> admin::MemberStateResponse {
        self.until(|state| state.phase() == phase).await
    }

    /// Puts once the member serves; connection errors before that are waited out.
    pub async fn put(&self, key: &str, value: &str) -> pb::PutResponse {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = pb::PutRequest {
                key: key.as_bytes().to_vec().into(),
                value: value.as_bytes().to_vec().into(),
                ..Default::default()
            };
            match self.kv().put(request).await {
                Ok(response) => return response.into_inner(),
                Err(status) if Instant::now() > deadline => panic!("{}: {status}\n{}", self.name, self.log()),
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// A linearizable count of all keys and the newest revision.
    pub async fn count(&self) -> (i64, i64) {
        let request =
            pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), count_only: true, ..Default::default() };
        let response = self.kv().range(request).await.unwrap().into_inner();
        (response.count, response.header.unwrap().revision)
    }

    pub async fn hash_kv(&self, revision: i64) -> pb::HashKvResponse {
        self.maintenance().hash_kv(pb::HashKvRequest { revision }).await.unwrap().into_inner()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A request with the admin token.
pub fn authorized<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
    request
}
