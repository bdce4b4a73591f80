//! The metric families of a real etcd: Quorate has them under the same names, types, labels and buckets, but for what is listed here
//! with its reason.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::etcdserverpb::alarm_request::AlarmAction;
use quorate_api::etcdserverpb::{self as pb, AlarmType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::process::Server;

/// Families (or, with `*`, all that begin so) that Quorate does not have, and why. A value that nothing measures is not shown.
const ABSENT: &[(&str, &str)] = &[
    ("go_*", "there is no Go runtime"),
    ("promhttp_*", "they are of Go's HTTP handler for metrics"),
    ("etcd_server_go_version", "there is no Go runtime"),
    ("etcd_grpc_proxy_*", "there is no proxy in this program"),
    ("etcd_debugging_store_*", "they are of etcd's v2 store, which never was here"),
    ("etcd_debugging_auth_revision", "there are no users and roles yet"),
    ("etcd_debugging_disk_backend_commit_*", "they are phases of a commit to bbolt; RocksDB writes a batch in one"),
    ("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "no index is kept in memory"),
    ("etcd_debugging_mvcc_keys_total", "nobody keeps the number of keys; a count walks them"),
    ("etcd_debugging_server_watch_send_loop_*", "one task serves many streams; there is no loop for each to measure"),
    ("etcd_debugging_snap_save_*", "raft's snapshot is the database itself, and is not saved beside it"),
    ("etcd_snap_fsync_duration_seconds", "raft's snapshot is the database itself, and is not saved beside it"),
    ("etcd_snap_db_fsync_duration_seconds", "a received snapshot's files are synced and verified in one go"),
    ("etcd_disk_backend_snapshot_duration_seconds", "the Snapshot call is not built yet"),
    ("etcd_mvcc_hash_duration_seconds", "the Hash call is about etcd's database file"),
    ("etcd_server_feature_enabled", "etcd's feature gates switch nothing here"),
    ("etcd_server_slow_read_indexes_total", "an answer to an older round of ReadIndex is dropped uncounted"),
];

/// Families that both have and that differ on purpose, and why.
const DIFFERENT: &[(&str, &str)] = &[(
    "etcd_server_apply_duration_seconds",
    "commands are applied in batches, so there is no time, operation and outcome of one",
)];

/// One family as the text shows it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    buckets: BTreeSet<String>,
}

/// The families of a page of metrics.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#')
            && let Some((name, labels)) = line.split_once('}').and_then(|(series, _)| series.split_once('{'))
        {
            let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
            let name = base.filter(|base| found.contains_key(*base)).unwrap_or(name);
            let family = found.entry(name.to_owned()).or_default();
            for (label, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
                match label {
                    // As numbers: Go writes large ones with an exponent.
                    "le" => {
                        let bound: f64 = value.trim_matches('"').parse().unwrap();
                        family.buckets.insert(bound.to_string());
                    }
                    label => {
                        family.labels.insert(label.to_owned());
                    }
                }
            }
        }
    }
    found
}

/// What a server shows after a little work.
async fn metrics(server: &Server) -> BTreeMap<String, Family> {
    let mut client = Client::connect(&server.address()).await;
    client.put("k", "v").await;
    client.get("k").await;
    client.kv.compact(pb::CompactionRequest { revision: 2, physical: true }).await.unwrap();
    let alarm = AlarmType::Nospace.into();
    let raise = pb::AlarmRequest { action: AlarmAction::Activate.into(), member_id: 1, alarm };
    client.maintenance.alarm(raise).await.unwrap();
    page(&server.address(), "/livez").await;
    families(&page(&server.address(), "/metrics").await)
}

/// A page in one piece: a server may send it to a client of HTTP/1.1 in chunks.
pub async fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn is_listed(name: &str, list: &[(&str, &str)]) -> bool {
    list.iter().any(|(listed, _)| match listed.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *listed,
    })
}

#[tokio::test]
async fn every_family_of_etcd_is_there_with_its_type_labels_and_buckets_or_listed_with_a_reason() {
    let (etcd, quorate) = (Server::etcd(&[]), Server::quorate(&[]));
    let (theirs, ours) = (metrics(&etcd).await, metrics(&quorate).await);
    assert!(theirs.len() > 100, "etcd shows {} families", theirs.len());
    let missing: Vec<_> = theirs.keys().filter(|name| !ours.contains_key(*name) && !is_listed(name, ABSENT)).collect();
    assert!(missing.is_empty(), "neither there nor listed: {missing:#?}");
    for (listed, _) in ABSENT.iter().chain(DIFFERENT) {
        let of_etcd: Vec<_> = theirs.keys().filter(|name| is_listed(name, &[(listed, "")])).collect();
        assert!(!of_etcd.is_empty(), "{listed} is listed, and etcd does not have it");
    }
    let built: Vec<_> = ours.keys().filter(|name| is_listed(name, ABSENT)).collect();
    assert!(built.is_empty(), "listed as absent, and there: {built:?}");
    for (name, family) in &theirs {
        if let Some(own) = ours.get(name)
            && !is_listed(name, DIFFERENT)
        {
            assert_eq!(own, family, "{name}");
        }
    }
}
