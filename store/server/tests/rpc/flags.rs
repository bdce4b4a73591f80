//! Wrong command lines to both programs: the same exit code and the same words.

use std::process::{Command, Output};

use serde_json::Value;

use crate::process::{Port, Server, etcd_path, quorate_path};

fn run(program: &std::path::Path, flags: &[&str]) -> Output {
    // A folder that is gone afterwards: neither program may leave a data directory behind.
    let folder = tempfile::tempdir().unwrap();
    Command::new(program).args(flags).env_clear().current_dir(folder.path()).output().unwrap()
}

/// etcd's own words: the first line before its usage, or the error of its last line of log.
fn etcds_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let plain = text.lines().next().unwrap_or_default().to_owned();
    let error = |line: &str| serde_json::from_str::<Value>(line).ok()?["error"].as_str().map(str::to_owned);
    text.lines().rev().find_map(error).unwrap_or(plain)
}

#[test]
fn wrong_flags_are_refused_as_by_etcd() {
    for flags in [
        &["--foo"][..],
        &["---x"],
        &["-=x"],
        &["--name"],
        &["stray"],
        &["--heartbeat-interval=x"],
        &["--max-txn-ops=-1"],
        &["--quota-backend-bytes=1g"],
        &["--strict-reconfig-check=foo"],
        &["--grpc-keepalive-interval=5"],
        &["--listen-client-urls=foo"],
        &["--listen-client-urls=http://127.0.0.1"],
        &["--listen-peer-urls=http://127.0.0.1:1/path"],
        &["--feature-gates=foo=true"],
        &["--listen-client-urls=http://example.com:1"],
        &["--listen-metrics-urls=http://example.com:1"],
        &["--listen-client-urls=http://127.0.0.1:1"],
        &["--advertise-client-urls=http://:1"],
        &["--initial-advertise-peer-urls=http://:1"],
        &["--heartbeat-interval=0"],
        &["--election-timeout=0"],
        &["--election-timeout=100"],
        &["--election-timeout=60000"],
        &["--peer-auto-tls", "--self-signed-cert-validity=0"],
        &["--log-format=foo"],
        &["--logger=foo"],
        &["--log-outputs=default,stdout"],
    ] {
        let (found, expected) = (run(&quorate_path(), flags), run(&etcd_path(), flags));
        let text = String::from_utf8_lossy(&found.stderr).into_owned();
        assert_eq!(found.status.code(), expected.status.code(), "{flags:?}: {text}");
        assert_eq!(text.lines().next(), Some(etcds_words(&expected).as_str()), "{flags:?}");
        assert_eq!(text.contains("Usage:"), found.status.code() == Some(2), "{flags:?}: {text}");
    }
}

#[test]
fn version_and_help_print_and_succeed() {
    let version = run(&quorate_path(), &["--version"]);
    assert!(version.status.success());
    let etcd = run(&etcd_path(), &["--version"]);
    let first = |output: &Output| String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned);
    assert_eq!(first(&version), first(&etcd), "tools look for the version of etcd");
    let help = run(&quorate_path(), &["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--listen-client-urls"));
}

/// HTTP leaves the client listener when it has one of its own, and metrics have theirs.
#[test]
fn listeners_serve_what_their_flags_say() {
    let (http, metrics) = (Port::reserve(), Port::reserve());
    let http_url = format!("--listen-client-http-urls=http://{}", http.address());
    let metrics_url = format!("--listen-metrics-urls=http://{}", metrics.address());
    let server = Server::quorate(&[&http_url, &metrics_url]);
    let status = |address: &str, path: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    };
    for (address, path, expected) in [
        (server.address(), "/health", "404"),
        (http.address(), "/health", "200"),
        (http.address(), "/version", "200"),
        (metrics.address(), "/metrics", "200"),
        (metrics.address(), "/readyz", "200"),
        (metrics.address(), "/version", "404"),
    ] {
        assert_eq!(status(&address, path), expected, "{address}{path}");
    }
}
