//! Foreign clients against three members: the Python client etcd3 and etcd's own Go client put, read, watch and lease.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_e2e::crash::cluster::Cluster;
use quorate_e2e::crash::{Fault, Plan};

/// A program that `make setup` builds into the cache.
fn built(path: &str) -> PathBuf {
    let cache = std::env::var_os("QUORATE_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("quorate")
    });
    let path = cache.join("clients").join(path);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

/// Runs the client against a cluster of its own; every step that it prints held.
async fn holds(command: &mut Command, steps: usize) {
    let plan = Plan { members: 3, fault: Fault::Kill, rounds: 0, seed: 1, fsync: true };
    let mut cluster = Cluster::start(&plan).unwrap();
    cluster.ready().await.unwrap();
    let endpoints: Vec<&str> =
        cluster.members.iter().map(|member| member.address.client_url.trim_start_matches("http://")).collect();
    let output = command.arg(endpoints.join(",")).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), steps, "{stdout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_puts_reads_watches_and_leases() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/scenario.py");
    // The generated code of this client is older than protobuf's fast implementation.
    let mut command = Command::new(built("python/bin/python"));
    holds(command.env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python").arg(script), 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcds_go_client_puts_reads_watches_leases_and_locks() {
    holds(&mut Command::new(built("go/clients")), 22).await;
}
