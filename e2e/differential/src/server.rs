//! Servers as processes: one etcd, and one or three `quorate`, each on ports and a folder of its own, ended with the value, and with the
//! thread that blocks on the judge, which starts them.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_harness::tie;
use rand::RngExt;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::Error;

/// A start takes well under a second; a machine that is busy with other tests may need longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY: &str = "ready to serve client requests";
/// The lines of a log that an error shows.
const LOG_TAIL_LINES: usize = 30;

/// The two programs that are compared.
#[derive(Debug, Clone)]
pub struct Programs {
    pub quorate: PathBuf,
    pub etcd: PathBuf,
}

impl Programs {
    /// `quorate` beside the program that runs now (or `$QUORATE_BIN`), etcd from the cache of `make setup`.
    ///
    /// # Errors
    /// Either is missing.
    pub fn find() -> Result<Programs, Error> {
        let current = std::env::current_exe().map_err(Error::io("find", "the running program"))?;
        // target/PROFILE/NAME, or target/PROFILE/deps/NAME-HASH for a test
        let beside = current.ancestors().skip(1).map(|folder| folder.join("quorate")).find(|path| path.is_file());
        let quorate = std::env::var_os("QUORATE_BIN").map(PathBuf::from).or(beside).unwrap_or_else(|| "quorate".into());
        let etcd = cache().join("tools/bin/etcd");
        for (path, remedy) in [
            (&quorate, "build it with `scripts/cargo build -p quorate --bins`, or set QUORATE_BIN"),
            (&etcd, "run `make setup`"),
        ] {
            if !path.is_file() {
                return Err(Error::NoProgram(path.clone(), remedy));
            }
        }
        Ok(Programs { quorate, etcd })
    }
}

fn cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("QUORATE_CACHE").unwrap_or_else(|| {
        let home = || variable("HOME").unwrap_or_default().join(".cache");
        variable("XDG_CACHE_HOME").unwrap_or_else(home).join("quorate")
    })
}

/// A port that is kept from everybody but servers started with `--socket-reuse-port`.
struct Port {
    number: u16,
    _reserved: TcpSocket,
}

impl Port {
    fn reserve() -> Result<Port, Error> {
        let reserve = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseport(true)?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            Ok(Port { number: socket.local_addr()?.port(), _reserved: socket })
        };
        reserve().map_err(Error::io("reserve a port of", "127.0.0.1"))
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.number)
    }
}

/// Where a member speaks to the others.
struct Peer {
    listening: String,
    advertised: String,
}

impl Peer {
    /// Nobody speaks to a single member: a fixed URL gives both programs the same ids.
    fn lonely() -> Peer {
        Peer { listening: "http://127.0.0.1:0".to_owned(), advertised: "http://127.0.0.1:1".to_owned() }
    }

    /// Free ports of a loopback address that is drawn, so that nobody else takes them before the members do.
    fn free(count: usize) -> Result<Vec<Peer>, Error> {
        let mut rng = rand::rng();
        let host = Ipv4Addr::new(127, rng.random_range(64..128), rng.random_range(1..255), rng.random_range(1..255));
        let take =
            || -> std::io::Result<Vec<TcpListener>> { (0..count).map(|_| TcpListener::bind((host, 0))).collect() };
        let urls = take().and_then(|listeners| {
            listeners.iter().map(|listener| Ok(format!("http://{}", listener.local_addr()?))).collect()
        });
        let urls: Vec<String> = urls.map_err(Error::io("take ports of", host.to_string()))?;
        Ok(urls.into_iter().map(|url| Peer { listening: url.clone(), advertised: url }).collect())
    }
}

/// One process.
pub struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    port: Port,
    child: Child,
    log: Log,
}

type Log = Arc<Mutex<VecDeque<String>>>;

impl Server {
    /// Starts the members of a cluster with these flags on each; a single one has the same ids whatever its program is.
    ///
    /// # Errors
    /// A program that does not start or is not ready in time.
    pub async fn start_all(
        program: &Path,
        members: usize,
        flags: &[String],
        folder: &TempDir,
    ) -> Result<Vec<Server>, Error> {
        let peers = if members == 1 { vec![Peer::lonely()] } else { Peer::free(members)? };
        let all: Vec<String> = peers.iter().enumerate().map(|(n, peer)| format!("m{n}={}", peer.advertised)).collect();
        let mut started = Vec::new();
        for (n, peer) in peers.iter().enumerate() {
            let port = Port::reserve()?;
            let mut arguments = vec![
                format!("--name=m{n}"),
                format!("--data-dir={}", folder.path().join(format!("m{n}")).display()),
                format!("--listen-client-urls={}", port.url()),
                format!("--advertise-client-urls={}", port.url()),
                format!("--listen-peer-urls={}", peer.listening),
                format!("--initial-advertise-peer-urls={}", peer.advertised),
                format!("--initial-cluster={}", all.join(",")),
                "--socket-reuse-port=true".to_owned(),
                "--unsafe-no-fsync=true".to_owned(),
            ];
            arguments.extend(flags.iter().cloned());
            let (child, log, ready) = spawn(program, &arguments)?;
            let server = Server { program: program.to_owned(), arguments, port, child, log };
            started.push((server, ready));
        }
        let mut servers = Vec::new();
        for (server, ready) in started {
            server.await_ready(ready).await?;
            servers.push(server);
        }
        Ok(servers)
    }

    async fn await_ready(&self, mut ready: watch::Receiver<bool>) -> Result<(), Error> {
        let seen = tokio::time::timeout(READY_TIMEOUT, ready.wait_for(|ready| *ready)).await;
        match seen {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::NotReady { program: self.program.clone(), waited: READY_TIMEOUT, log: self.log_tail() }),
        }
    }

    pub fn url(&self) -> String {
        self.port.url()
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Kills the process and starts it again on the same folder and ports.
    ///
    /// # Errors
    /// It does not come back in time.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(Error::io("stop", &self.program))?;
        let (child, log, ready) = spawn(&self.program, &self.arguments)?;
        (self.child, self.log) = (child, log);
        self.await_ready(ready).await
    }
}

fn spawn(program: &Path, arguments: &[String]) -> Result<(Child, Log, watch::Receiver<bool>), Error> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    tie(command.as_std_mut());
    let mut child = command.spawn().map_err(Error::io("start", program))?;
    let log = Log::default();
    let (sender, ready) = watch::channel(false);
    let errors = child.stderr.take().expect("the child's stderr was asked for just above");
    tokio::spawn(read(errors, Arc::clone(&log), sender));
    Ok((child, log, ready))
}

/// Reads a log to its end, so that the process never waits for us, and keeps its tail.
async fn read(from: impl AsyncRead + Unpin, log: Log, ready: watch::Sender<bool>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains(READY) {
            ready.send_replace(true);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_TAIL_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}
