//! One server process with data of its own: etcd or Quorate, started with the same flags.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_api::etcdserverpb::RangeRequest;
use quorate_harness::tie;
use serde::Serialize;

use crate::arguments::Run;
use crate::error::{Error, Result};
use crate::grpc::{Channel, frame};
use crate::workload::Workload;

/// A server that was never seen to need more than 2 s gets this long on a busy machine.
const START_SECONDS: u64 = 30;
const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// How much of a log is shown when a server fails.
const LAST_WORDS: usize = 2000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The peer.
    Etcd,
    /// Ours.
    Quorate,
}

impl Kind {
    /// In the order in which they run.
    pub const BOTH: [Self; 2] = [Self::Etcd, Self::Quorate];

    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Quorate => "quorate",
        }
    }

    /// Its program: what the arguments say, else where the project builds it.
    pub fn program(self, arguments: &Run) -> Result<PathBuf> {
        let (given, usual, remedy) = match self {
            Self::Etcd => {
                (&arguments.etcd, cache_folder().join("tools/bin/etcd"), "run `make setup` or pass --etcd PATH")
            }
            Self::Quorate => {
                let remedy = "run `scripts/cargo build --release -p quorate` or pass --quorate PATH";
                (&arguments.quorate, target_folder().join("release/quorate"), remedy)
            }
        };
        let path = given.clone().unwrap_or(usual);
        if path.is_file() { Ok(path) } else { Err(Error::ProgramMissing { server: self.name(), path, remedy }) }
    }
}

/// `$QUORATE_CACHE`, else what scripts/env.sh makes of the user's cache folder.
pub fn cache_folder() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    let usual = || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("quorate");
    std::env::var_os("QUORATE_CACHE").map_or_else(usual, PathBuf::from)
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache_folder().join("target"), PathBuf::from)
}

/// What `PROGRAM --version` says of itself.
pub fn version(kind: Kind, program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output().map_err(Error::file(program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(format!("{} {}", kind.name(), stated_version(kind, &text).unwrap_or("of an unknown version")))
}

/// Quorate states etcd's version, too, whose surface it has.
fn stated_version(kind: Kind, text: &str) -> Option<&str> {
    let label = match kind {
        Kind::Etcd => "etcd Version:",
        Kind::Quorate => "Quorate Version:",
    };
    text.lines().find_map(|line| line.strip_prefix(label)).map(str::trim)
}

/// The flags that both get, but for the folder and the ports.
pub fn flags(data: &str, client: &str, peer: &str) -> Vec<String> {
    let pairs = [
        ("name", "bench".to_owned()),
        ("data-dir", data.to_owned()),
        ("listen-client-urls", client.to_owned()),
        ("advertise-client-urls", client.to_owned()),
        ("listen-peer-urls", peer.to_owned()),
        ("initial-advertise-peer-urls", peer.to_owned()),
        ("initial-cluster", format!("bench={peer}")),
        ("log-level", "warn".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// A running server. Dropping it kills it and removes its data; it also ends with the thread that started it, which is the loader's only one.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    child: Child,
    folder: PathBuf,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl Server {
    /// Starts one on an empty folder and waits until it answers a linearizable read.
    pub async fn start(kind: Kind, program: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::file(folder))?;
        let (client, peer) = two_free_addresses()?;
        let log = File::create(folder.join("log")).map_err(Error::file(folder))?;
        let data = folder.join("data").display().to_string();
        let child = tie(&mut Command::new(program))
            .args(flags(&data, &format!("http://{client}"), &format!("http://{peer}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Error::file(folder))?)
            .stderr(log)
            .spawn()
            .map_err(Error::file(program))?;
        let mut server = Self { kind, child, folder: folder.into(), address: client };
        server.wait_until_serving().await?;
        Ok(server)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an init system would, and removes its data.
    pub async fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).expect("a process id is a positive 32-bit number");
        // It may have ended by itself; then there is nothing to signal.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn wait_until_serving(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS);
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                break;
            }
            if answers(self.address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::NotServing { server: self.kind.name(), seconds: START_SECONDS, log: self.last_words() })
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.get(log.len().saturating_sub(LAST_WORDS)..).unwrap_or(&log).to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already after `stop`; nothing is left to do about what cannot be killed or removed.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

async fn answers(address: SocketAddr) -> Result<()> {
    let mut channel = Channel::open(address).await?;
    let method = channel.method(Workload::Get.path());
    channel.call(&method, frame(&RangeRequest { key: "any".into(), ..Default::default() })).await.map(drop)
}

/// Two ports of loopback that nobody uses; both are held until both are known.
fn two_free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let two = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((one.local_addr()?, two.local_addr()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_shown_with_its_own_version() {
        let text = "etcd Version: 3.7.3\nQuorate Version: 0.1.0\nRust Version: 1.95\n";
        assert_eq!(stated_version(Kind::Quorate, text), Some("0.1.0"));
        assert_eq!(stated_version(Kind::Etcd, text), Some("3.7.3"));
        assert_eq!(stated_version(Kind::Quorate, "etcd Version: 3.7.3\n"), None);
    }
}
