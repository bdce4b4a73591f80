//! Servers as processes of their own, stopped with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A start takes well under a second; a machine that is busy with other tests may need longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of log that wait to be read; more than any test makes a server write.
const LINES_MAX: usize = 1_000_000;
const READY: &str = "ready to serve client requests";

/// A single member with a folder of its own.
pub struct Server {
    child: Child,
    folder: TempDir,
    port: Port,
    lines: mpsc::Receiver<String>,
    log: Vec<String>,
}

/// A port that is kept from everybody but servers started with `--socket-reuse-port`.
pub struct Port {
    number: u16,
    _reserved: TcpSocket,
}

impl Port {
    pub fn reserve() -> Port {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Port { number: socket.local_addr().unwrap().port(), _reserved: socket }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

impl Server {
    pub fn quorate(flags: &[&str]) -> Server {
        Server::start(&quorate_path(), "http", flags)
    }

    pub fn quorate_tls(flags: &[&str]) -> Server {
        Server::start(&quorate_path(), "https", flags)
    }

    /// The etcd that `make setup` builds.
    pub fn etcd(flags: &[&str]) -> Server {
        Server::start(&etcd_path(), "http", flags)
    }

    fn start(program: &Path, scheme: &str, flags: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let port = Port::reserve();
        let client = format!("{scheme}://{}", port.address());
        // Nobody else joins: whatever port the system chooses will do.
        let (listen_peer, peer) = ("http://127.0.0.1:0", "http://127.0.0.1:1");
        let mut child = Command::new(program)
            .args(["--name=a", "--data-dir"])
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", listen_peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("a={peer}"), "--socket-reuse-port"])
            .args(flags)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::sync_channel(LINES_MAX);
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut server = Server { child, folder, port, lines, log: Vec::new() };
        server.wait_for(READY);
        server
    }

    fn wait_for(&mut self, text: &str) {
        loop {
            match self.lines.recv_timeout(READY_TIMEOUT) {
                Ok(line) => self.log.push(line),
                Err(error) => panic!("no line with {text:?}: {error}\n{}", self.log.join("\n")),
            }
            if self.log.last().is_some_and(|line| line.contains(text)) {
                return;
            }
        }
    }

    pub fn address(&self) -> String {
        self.port.address()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to stop, and gives back its exit code and all it logged.
    pub fn stop(mut self) -> (Option<i32>, String) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        let mut log = std::mem::take(&mut self.log);
        log.extend(self.lines.iter());
        (status.code(), log.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn quorate_path() -> PathBuf {
    env!("CARGO_BIN_EXE_quorate").into()
}

/// The etcd that `make setup` builds.
pub fn etcd_path() -> PathBuf {
    let cache = std::env::var_os("QUORATE_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("quorate")
    });
    let path = cache.join("tools/bin/etcd");
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}
