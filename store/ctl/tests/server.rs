//! Every command against a running server: `quoratectl` on Quorate says what etcd's own `etcdctl` says on etcd, in the same words, on the
//! same streams, with the same exit codes.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A start takes well under a second; a machine that is busy with other tests may need longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What `make setup` builds.
fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("QUORATE_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("quorate")
    });
    found(cache.join("tools/bin").join(name), "run `make setup`")
}

fn found(path: PathBuf, remedy: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: {remedy}", path.display());
    path
}

/// A server and the client that goes with it.
struct Side {
    server: Child,
    folder: PathBuf,
    client: PathBuf,
    address: String,
    /// The lease that the last `lease grant` made.
    lease: String,
}

impl Side {
    fn quorate() -> Side {
        let client = Path::new(env!("CARGO_BIN_EXE_quoratectl"));
        let server = found(client.with_file_name("quorate"), "build it first: `scripts/cargo build -p quorate`");
        Side::start("quorate", &server, client)
    }

    fn etcd() -> Side {
        Side::start("etcd", &tool("etcd"), &tool("etcdctl"))
    }

    fn start(name: &str, program: &Path, client: &Path) -> Side {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let url = format!("http://{address}");
        // The same peer URL on both sides gives both the same ids; nobody else joins.
        let peer = "http://127.0.0.1:1";
        let server = Command::new(program)
            .args(["--name=a", "--data-dir"])
            .arg(&folder)
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", "http://127.0.0.1:0", "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("a={peer}")])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let side = Side { server, folder, client: client.to_owned(), address, lease: String::new() };
        let deadline = Instant::now() + READY_TIMEOUT;
        while !side.command(&["endpoint", "health"]).output().unwrap().status.success() {
            assert!(Instant::now() < deadline, "{name} is not ready");
        }
        side
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        let endpoints = format!("--endpoints={}", self.address);
        command
            .env_clear()
            .arg(endpoints)
            .args(arguments.iter().map(|argument| argument.replace("LEASE", &self.lease)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command with this input; what it said, blanked so that two sides can be compared.
    fn run(&mut self, arguments: &[&str], input: &str) -> String {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let stdout = String::from_utf8(stdout).unwrap();
        if arguments.starts_with(&["lease", "grant"])
            && let Some(id) = stdout.split_whitespace().nth(1)
        {
            self.lease = id.to_owned();
        }
        let stderr = String::from_utf8(stderr).unwrap();
        let said: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("{\"level\"")).collect();
        format!("exit code {:?}\n{}--\n{}", status.code(), self.blank(&stdout), self.blank(&said.join("\n")))
    }

    /// The first lines of a watch.
    fn watched(&self, arguments: &[&str], lines: usize) -> Vec<String> {
        let mut child = self.command(arguments).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let read = out.lines().take(lines).map(|line| self.blank(&line.unwrap())).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        read
    }

    /// Without what differs by nature: the address, the program's name, ids that are drawn, and durations.
    fn blank(&self, text: &str) -> String {
        let text = text.replace(&self.address, "ADDRESS").replace("quoratectl", "etcdctl");
        let is_word = |c: char| c.is_alphanumeric() || c == '.' || c == 'µ';
        let mut blanked = String::new();
        let mut word = String::new();
        for c in text.chars().chain(['\0']) {
            if is_word(c) {
                word.push(c);
                continue;
            }
            blanked.push_str(blank_word(&word));
            word.clear();
            blanked.push(c);
        }
        blanked.trim_end_matches('\0').to_owned()
    }
}

fn blank_word(word: &str) -> &str {
    let number = word.trim_end_matches('.').trim_end_matches(['m', 'µ', 'n']).trim_end_matches('s');
    let number = number.trim_end_matches(['m', 'µ', 'n']);
    let is_duration = number.len() < word.len() && number.contains('.') && number.parse::<f64>().is_ok();
    let is_id = word.len() >= 15 && word.chars().all(|c| c.is_ascii_hexdigit());
    match (is_duration, is_id) {
        (true, _) => "TIME",
        (_, true) => "ID",
        _ => word,
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const TXN: &str = "mod(\"a\") > \"0\"\n\nput b yes\nget b\n\nput b no\n\n";

/// Commands in their order, with their input.
const CASES: &[(&[&str], &str)] = &[
    (&["put", "a", "1"], ""),
    (&["put", "a", "2", "--prev-kv"], ""),
    (&["put", "a", "3", "-w", "json"], ""),
    (&["put", "b"], "from the input"),
    (&["put", "none", "--ignore-value"], ""),
    (&["put", "", "x"], ""),
    (&["get", "a"], ""),
    (&["get", "none"], ""),
    (&["get", "a", "-w", "json"], ""),
    (&["get", "a", "-w", "fields"], ""),
    (&["get", "", "--prefix", "--keys-only"], ""),
    (&["get", "a", "c", "--limit", "1", "-w", "json"], ""),
    (&["get", "", "--prefix", "--sort-by", "MODIFY", "--order", "DESCEND", "--print-value-only"], ""),
    (&["get", "a", "--rev", "3"], ""),
    (&["get", "a", "--rev", "99"], ""),
    (&["get", "a", "--consistency", "s"], ""),
    (&["get", "a", "--count-only", "-w", "fields"], ""),
    (&["txn"], TXN),
    (&["txn", "-w", "json"], TXN),
    (&["txn"], "value(\"a\") = \"other\"\n\nput b yes\n\ndel b --prev-kv\n\n"),
    (&["del", "none"], ""),
    (&["del", "a", "--prev-kv"], ""),
    (&["del", "", "--prefix", "-w", "json"], ""),
    (&["put", "c", "1"], ""),
    (&["compaction", "5"], ""),
    (&["compaction", "5"], ""),
    (&["compaction", "99"], ""),
    (&["compaction", "8", "--physical"], ""),
    (&["get", "c", "--rev", "3"], ""),
    (&["watch", "c", "--rev", "3"], ""),
    (&["endpoint", "hashkv"], ""),
    (&["endpoint", "hashkv", "-w", "json"], ""),
    (&["lease", "grant", "100"], ""),
    (&["put", "leased", "v", "--lease=LEASE"], ""),
    (&["lease", "timetolive", "LEASE", "--keys"], ""),
    (&["lease", "keep-alive", "LEASE", "--once"], ""),
    (&["lease", "list"], ""),
    (&["lease", "revoke", "LEASE"], ""),
    (&["lease", "revoke", "LEASE"], ""),
    (&["lease", "timetolive", "LEASE"], ""),
    (&["get", "leased"], ""),
    (&["member", "list"], ""),
    (&["member", "list", "-w", "json"], ""),
    (&["member", "add", "b", "--peer-urls=http://127.0.0.1:1"], ""),
    (&["member", "remove", "1"], ""),
    (&["member", "promote", "1"], ""),
    (&["endpoint", "health"], ""),
    (&["alarm", "list"], ""),
    (&["alarm", "disarm"], ""),
    (&["defrag"], ""),
];

#[test]
fn quoratectl_on_quorate_says_what_etcdctl_says_on_etcd() {
    let (mut ours, mut theirs) = (Side::quorate(), Side::etcd());
    for (arguments, input) in CASES {
        let (said, expected) = (ours.run(arguments, input), theirs.run(arguments, input));
        assert_eq!(said, expected, "{arguments:?}");
    }
    for (arguments, lines) in [
        (&["watch", "", "--prefix", "--rev=9"][..], 12),
        (&["watch", "", "--prefix", "--rev=9", "--prev-kv"], 8),
        (&["watch", "c", "--rev=10", "-w", "json"], 1),
    ] {
        let (seen, expected) = (ours.watched(arguments, lines), theirs.watched(arguments, lines));
        assert_eq!(seen, expected, "{arguments:?}");
        assert_eq!(seen.len(), lines, "{arguments:?}");
    }
}

#[test]
fn the_state_of_an_endpoint_has_etcdctls_columns() {
    let (mut ours, mut theirs) = (Side::quorate(), Side::etcd());
    let columns = |text: &str| text.lines().nth(1).unwrap().split(", ").map(str::to_owned).collect::<Vec<_>>();
    let (said, expected) = (ours.run(&["endpoint", "status"], ""), theirs.run(&["endpoint", "status"], ""));
    let (said, expected) = (columns(&said), columns(&expected));
    assert_eq!(said.len(), expected.len(), "{said:?} and {expected:?}");
    // Address, id and version, and from the state of leader and learner on; between them stand sizes.
    assert_eq!(said[..3], expected[..3]);
    let state = |columns: &[String]| columns.iter().filter(|text| ["true", "false"].contains(&text.as_str())).count();
    assert_eq!(state(&said), state(&expected), "{said:?} and {expected:?}");
    for side in [&mut ours, &mut theirs] {
        let version = side.run(&["version"], "");
        assert!(version.contains("API version: 3.7"), "{version}");
    }
}
