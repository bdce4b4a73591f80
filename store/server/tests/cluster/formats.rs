//! Data directories of released formats open, and hold what they held. `fixtures/v1/data.tar.gz` is that of a member which was stopped,
//! started again, written to and killed: part of it stands in the database, part in the log alone.
//!
//! A new format gets a directory of its own beside it; an old one is never written anew.

use std::path::Path;
use std::process::Command;

use quorate_api::etcdserverpb as pb;
use quorate_api::etcdserverpb::lease_client::LeaseClient;

use crate::member::Member;

/// What the member answered before it was killed: its rows are etcd's, and so is their hash.
const HASH: u32 = 2_139_110_694;
const REVISION: i64 = 14;
const COMPACTED: i64 = 6;
const LEASE: i64 = 0x5ea9_5400_746b_a332;

fn unpack(archive: &str, into: &Path) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(archive);
    std::fs::create_dir_all(into).unwrap();
    let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(into).status().unwrap();
    assert!(done.success(), "{} is unpacked", archive.display());
}

/// Keys and values at a revision, 0 = the newest.
async fn read(member: &Member, revision: i64) -> Vec<(String, String)> {
    let range = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..Default::default() };
    let kvs = member.kv().range(range).await.unwrap().into_inner().kvs;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_directory_of_format_1_opens_replays_its_log_and_holds_what_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    unpack("v1/data.tar.gz", &member.data_dir());
    member.start();
    let state = member.until(|state| state.revision == REVISION && state.leader_id != 0).await;
    assert_eq!((state.member_id, state.cluster_id), (7_616_583_982_444_832_909, 3_586_811_377_195_397_337));
    assert_eq!((state.compact_revision, state.feature_level), (COMPACTED, 1));
    let hashed = member.hash_kv(REVISION).await;
    assert_eq!((hashed.hash, hashed.compact_revision), (HASH, COMPACTED));
    let newest = [("k1", "v1c"), ("k3", "v3b"), ("k4", "v4b"), ("k6", "v6"), ("k7", "v7"), ("leased", "x")];
    assert_eq!(read(&member, 0).await, pairs(&newest));
    let oldest = [("k1", "v1"), ("k2", "v2"), ("k3", "v3"), ("k4", "v4"), ("k5", "v5")];
    assert_eq!(read(&member, COMPACTED).await, pairs(&oldest), "right at the watermark");
    let leases = LeaseClient::connect(format!("http://127.0.0.1:{}", member.client)).await.unwrap();
    let listed = leases.clone().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner().leases;
    assert_eq!(listed.iter().map(|lease| lease.id).collect::<Vec<_>>(), [LEASE]);
    let written = member.put("k8", "v8").await.header.unwrap().revision;
    assert_eq!(written, REVISION + 1, "and goes on from there");
}
