//! Clients against three members: the Python client etcd3 and etcd's own Go client put, read, watch and lease, and our own
//! command line leases.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate_e2e::crash::cluster::Cluster;
use quorate_e2e::crash::{Fault, Plan};
use quorate_e2e::kubernetes::{cache_folder, workspace_program};

/// A program that `make setup` builds into the cache.
fn built(path: &str) -> PathBuf {
    let path = cache_folder().join("clients").join(path);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

/// Three members that answer.
async fn three_members() -> Cluster {
    let plan = Plan { members: 3, fault: Fault::Kill, rounds: 0, seed: 1, fsync: true };
    let mut cluster = Cluster::start(&plan).unwrap();
    cluster.ready().await.unwrap();
    cluster
}

/// `host:port` of each member.
fn endpoints(cluster: &Cluster) -> Vec<&str> {
    cluster.members.iter().map(|member| member.address.client_url.trim_start_matches("http://")).collect()
}

/// Runs the client against a cluster of its own; every step that it prints held.
async fn holds(command: &mut Command, steps: usize) {
    let cluster = three_members().await;
    let output = command.arg(endpoints(&cluster).join(",")).output().unwrap();
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

/// `quoratectl` at one member.
fn quoratectl(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(workspace_program("quoratectl").unwrap());
    command.env_clear().arg(format!("--endpoints={endpoint}")).args(arguments).stdin(Stdio::null());
    command
}

/// What a command printed that ended well.
fn said(endpoint: &str, arguments: &[&str]) -> String {
    let output = quoratectl(endpoint, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The first lines of a command that does not end by itself.
fn first_lines(endpoint: &str, arguments: &[&str], count: usize) -> Vec<String> {
    let mut child = quoratectl(endpoint, arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(count).collect::<Result<_, _>>().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_granted_at_one_member_is_kept_told_and_revoked_at_the_others_by_quoratectl() {
    let cluster = three_members().await;
    let &[one, two, three] = endpoints(&cluster).as_slice() else { panic!("three members") };

    let granted = said(one, &["lease", "grant", "600"]);
    let id = granted.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(600s)\n"));
    assert_eq!(said(two, &["put", "--lease", &id, "leased", "value"]), "OK\n");
    assert_eq!(said(three, &["lease", "keep-alive", "--once", &id]), format!("lease {id} keepalived with TTL(600)\n"));
    for endpoint in [one, two, three] {
        assert_eq!(said(endpoint, &["get", "leased"]), "leased\nvalue\n");
        let told = said(endpoint, &["lease", "timetolive", "--keys", &id]);
        let remaining = told.strip_prefix(&format!("lease {id} granted with TTL(600s), remaining("));
        let (seconds, keys) = remaining.and_then(|rest| rest.split_once("s), ")).unwrap_or_else(|| panic!("{told}"));
        assert!((500..=600).contains(&seconds.parse::<u32>().unwrap()), "{told}");
        assert_eq!(keys, "attached keys([leased])\n");
        assert_eq!(said(endpoint, &["lease", "list"]), format!("found 1 leases\n{id}\n"));
    }
    assert_eq!(said(three, &["lease", "revoke", &id]), format!("lease {id} revoked\n"));
    for endpoint in [one, two, three] {
        assert_eq!(said(endpoint, &["get", "leased"]), "");
        assert_eq!(said(endpoint, &["lease", "timetolive", &id]), format!("lease {id} already expired\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_lives_as_long_as_quoratectl_keeps_it_and_takes_its_keys_along() {
    let cluster = three_members().await;
    let &[one, two, three] = endpoints(&cluster).as_slice() else { panic!("three members") };
    let granted = said(one, &["lease", "grant", "3"]);
    let id = granted.split(' ').nth(1).unwrap().to_owned();
    said(two, &["put", "--lease", &id, "leased", "value"]);
    // A third of the time between two of them: the fifth comes when the lease would have ended.
    let kept = first_lines(three, &["lease", "keep-alive", &id], 5);
    assert_eq!(kept, vec![format!("lease {id} keepalived with TTL(3)"); 5]);
    assert_eq!(said(one, &["get", "leased"]), "leased\nvalue\n");
    // Nobody keeps it any more.
    let watched = first_lines(two, &["watch", "leased", "--rev", "1"], 5);
    assert_eq!(watched, ["PUT", "leased", "value", "DELETE", "leased"]);
    assert_eq!(said(three, &["lease", "timetolive", &id]), format!("lease {id} already expired\n"));
}
