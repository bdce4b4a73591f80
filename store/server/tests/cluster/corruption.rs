//! A member whose data became others than the cluster's: found by the comparison of hashes, named, kept from serving, and rebuilt from
//! the others by one call.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use prost::Message;
use quorate::backend::{Backend, Options};
use quorate_api::admin::recovery_client::RecoveryClient;
use quorate_api::admin::{RebuildRequest, RebuildResponse};
use quorate_api::etcdserverpb::watch_client::WatchClient;
use quorate_api::etcdserverpb::{self as pb, AlarmType};
use quorate_api::mvccpb::KeyValue;
use quorate_core::backend::{Family, View, WriteBatch};
use quorate_core::integrity::{INTERVAL, NOBODY};
use tonic::Code;

use crate::member::Member;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// etcd's text for what a corrupt member is asked.
const CORRUPT: &str = "etcdserver: corrupt cluster";

/// Three members that run with this flag.
fn three(folder: &Path, flag: &str) -> Vec<Member> {
    let members = Member::static_cluster(folder, 3).into_iter();
    let mut members: Vec<Member> = members.map(|member| member.with_flag(flag)).collect();
    members.iter_mut().for_each(Member::start);
    members
}

/// Whose CORRUPT alarm is raised; `None` when the member does not answer.
async fn corrupt(member: &Member) -> Option<Vec<u64>> {
    let alarms = member.maintenance().alarm(pb::AlarmRequest::default()).await.ok()?.into_inner().alarms;
    let corrupt = |alarm: &&pb::AlarmMember| alarm.alarm == i32::from(AlarmType::Corrupt);
    Some(alarms.iter().filter(corrupt).map(|alarm| alarm.member_id).collect())
}

async fn until_corrupt(member: &Member, wanted: &[u64]) {
    let deadline = Instant::now() + PATIENCE;
    while corrupt(member).await.as_deref() != Some(wanted) {
        assert!(Instant::now() < deadline, "{:?}\n{}", corrupt(member).await, member.log());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn value(member: &Member, key: &str) -> Result<Vec<u8>, tonic::Status> {
    let request = pb::RangeRequest { key: key.to_owned().into(), serializable: true, ..Default::default() };
    let kvs = member.kv().range(request).await?.into_inner().kvs;
    Ok(kvs.first().map(|kv| kv.value.to_vec()).unwrap_or_default())
}

async fn rebuild(member: &Member) -> Result<RebuildResponse, tonic::Status> {
    let address = format!("http://127.0.0.1:{}", member.client);
    let mut recovery = RecoveryClient::connect(address).await.unwrap();
    Ok(recovery.rebuild(RebuildRequest {}).await?.into_inner())
}

/// Gives one key another value, so that every checksum of RocksDB's holds, and the rolling hash what applying that would have given.
fn damage(member: &Member, key: &str) {
    let backend = Backend::open(&member.data_dir().join("db/0000000000000001"), Options::default()).unwrap();
    let view = backend.live();
    let mut batch = WriteBatch::default();
    let mut cursor = view.cursor(Family::Values, &[1], None).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        let kv = KeyValue::decode(row.value).unwrap();
        if kv.key == key.as_bytes() {
            let damaged = KeyValue { value: "damaged".into(), ..kv };
            batch.put(Family::Values, row.key.to_vec(), damaged.encode_to_vec());
        }
    }
    drop(cursor);
    let mut chain = view.get(Family::Meta, b"integrity").unwrap().unwrap().to_vec();
    assert!(chain.len() > 25, "a hash was kept at revision {INTERVAL}");
    // The last byte of the newest kept hash, and one of the rolling hash.
    *chain.last_mut().unwrap() ^= 1;
    chain[24] ^= 1;
    batch.put(Family::Meta, &b"integrity"[..], chain);
    backend.write(&batch).unwrap();
    backend.flush().unwrap();
}

/// One key "key" and what it takes to have a hash kept; returns the last revision.
async fn put_an_interval(member: &Member) -> i64 {
    let mut revision = member.put("key", "sound").await.header.unwrap().revision;
    let kv = member.kv();
    while revision <= INTERVAL {
        let put = |i| {
            let mut kv = kv.clone();
            let request = pb::PutRequest { key: format!("k{i}").into(), value: "v".into(), ..Default::default() };
            async move { kv.put(request).await.unwrap().into_inner().header.unwrap().revision }
        };
        let revisions = futures::future::join_all((0..50).map(put)).await;
        revision = revisions.into_iter().max().unwrap();
    }
    revision
}

#[tokio::test]
async fn a_member_with_other_data_is_named_serves_nobody_and_is_rebuilt_by_one_call() {
    let folder = tempfile::tempdir().unwrap();
    // The scrub would find it too.
    let mut members = three(folder.path(), "--scrub-interval=0");
    let revision = put_an_interval(&members[0]).await;
    let mut kv = members[0].kv();
    let id = members[2].until(|state| state.revision >= revision).await.member_id;
    assert_eq!(members[2].terminate(), Some(0), "{}", members[2].log());
    damage(&members[2], "key");
    members[2].start();

    until_corrupt(&members[0], &[id]).await;
    until_corrupt(&members[2], &[id]).await;
    let leader = members.iter().find(|member| member.log().contains("rebuild it: quoratectl member rebuild"));
    assert!(leader.is_some_and(|leader| leader.log().contains(&format!("{id:x}"))), "nobody named it");
    let refused = value(&members[2], "key").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::DataLoss, CORRUPT));
    assert_eq!(value(&members[1], "key").await.unwrap(), b"sound", "the others still serve reads");
    let refused = kv.put(pb::PutRequest { key: "more".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::DataLoss, CORRUPT), "writes wait, as with etcd");
    let (status, body) = members[2].get("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("[-]data_corruption failed: alarm activated: CORRUPT"), "{body}");

    let rebuilt = rebuild(&members[2]).await.unwrap();
    assert_eq!((rebuilt.member_id, rebuilt.revision), (id, revision));
    until_corrupt(&members[0], &[]).await;
    until_corrupt(&members[2], &[]).await;
    assert_eq!(value(&members[2], "key").await.unwrap(), b"sound", "{}", members[2].log());
    let revision = members[2].put("after", "v").await.header.unwrap().revision;
    let mut hashes = Vec::new();
    for member in &members {
        member.until(|state| state.revision >= revision).await;
        hashes.push(member.hash_kv(revision).await.hash);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    // It is the same member, and starts on what was installed.
    members[2].kill();
    members[2].start();
    assert_eq!(members[2].until(|state| state.revision >= revision).await.member_id, id);
}

#[tokio::test]
async fn while_nobody_knows_who_is_right_nobody_serves_and_the_third_member_decides() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = three(folder.path(), "--scrub-interval=0");
    let revision = put_an_interval(&members[0]).await;
    let wrong = members[1].until(|state| state.revision >= revision).await.member_id;
    members[2].until(|state| state.revision >= revision).await;
    // With two voters left the first two are the quorum.
    for stopped in [2, 1] {
        assert_eq!(members[stopped].terminate(), Some(0), "{}", members[stopped].log());
    }
    damage(&members[1], "key");
    members[1].start();

    for member in &members[..2] {
        until_corrupt(member, &[NOBODY]).await;
        let refused = value(member, "key").await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::DataLoss, CORRUPT), "either may be the wrong one");
    }
    members[2].start();
    until_corrupt(&members[0], &[wrong]).await;
    until_corrupt(&members[2], &[wrong]).await;
    assert_eq!(value(&members[0], "key").await.unwrap(), b"sound", "{}", members[0].log());
    assert_eq!(value(&members[2], "key").await.unwrap(), b"sound", "{}", members[2].log());

    assert_eq!(rebuild(&members[1]).await.unwrap().member_id, wrong);
    until_corrupt(&members[1], &[]).await;
    assert_eq!(value(&members[1], "key").await.unwrap(), b"sound");
    members[1].put("after", "v").await;
}

/// Flips one bit in the middle of the largest file of the database, as a disk that forgets.
fn rot(member: &Member) {
    let files =
        std::fs::read_dir(member.data_dir().join("db/0000000000000001")).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let largest = tables.max_by_key(|path| path.metadata().unwrap().len()).expect("the database was flushed");
    let file = std::fs::File::options().read(true).write(true).open(&largest).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
}

/// 200 keys whose values do not compress, so that most of the files are values; returns the last revision.
async fn put_noise(member: &Member) -> i64 {
    let mut revision = 0;
    for i in 0..200_u32 {
        let noise =
            (0..64_u32).map(|word| format!("{:08x}", (i * 64 + word).wrapping_mul(2_654_435_761))).collect::<String>();
        revision = member.put(&format!("k{i:03}"), &noise).await.header.unwrap().revision;
    }
    revision
}

#[tokio::test]
async fn a_bit_that_flips_in_a_file_is_found_by_the_scrub_and_nothing_is_served_until_the_member_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let members = three(folder.path(), "--scrub-interval=200ms");
    let revision = put_noise(&members[0]).await;
    let id = members[2].until(|state| state.revision >= revision).await.member_id;
    members[2].maintenance().defragment(pb::DefragmentRequest {}).await.unwrap();
    let mut watch = WatchClient::connect(format!("http://127.0.0.1:{}", members[2].client)).await.unwrap();
    let create = pb::WatchCreateRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let requests = futures::stream::iter([create]).chain(futures::stream::pending());
    let mut responses = watch.watch(requests).await.unwrap().into_inner();
    assert!(responses.message().await.unwrap().is_some_and(|response| response.created));

    rot(&members[2]);
    let ended = responses.message().await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::DataLoss, CORRUPT));
    until_corrupt(&members[0], &[id]).await;
    let refused = value(&members[2], "k000").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::DataLoss, CORRUPT));
    let log = members[2].log();
    assert!(
        log.contains("rebuild it from the others: quoratectl member rebuild") && log.contains("Corruption"),
        "{log}"
    );
    assert_eq!(value(&members[1], "k000").await.unwrap().len(), 512, "the others still serve reads");

    let rebuilt = rebuild(&members[2]).await.unwrap();
    assert_eq!((rebuilt.member_id, rebuilt.revision), (id, revision));
    until_corrupt(&members[2], &[]).await;
    let hash = members[2].hash_kv(revision).await.hash;
    assert_eq!((hash, value(&members[2], "k199").await.unwrap().len()), (members[1].hash_kv(revision).await.hash, 512));
    members[2].put("after", "v").await;
}

#[tokio::test]
async fn a_member_whose_damage_is_met_by_a_committed_command_stays_and_is_rebuilt_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = three(folder.path(), "--scrub-interval=0");
    let revision = put_noise(&members[0]).await;
    let id = members[2].until(|state| state.revision >= revision).await.member_id;
    members[2].maintenance().defragment(pb::DefragmentRequest {}).await.unwrap();
    assert_eq!(members[2].terminate(), Some(0), "{}", members[2].log());
    rot(&members[2]);
    members[2].start();
    members[2].until(|state| state.revision >= revision).await;

    // It reads all keys where it is applied: on every member.
    let range = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let put = pb::PutRequest { key: "after".into(), value: "v".into(), ..Default::default() };
    let operations = [pb::request_op::Request::RequestRange(range), pb::request_op::Request::RequestPut(put)];
    let success = operations.map(|request| pb::RequestOp { request: Some(request) }).to_vec();
    let request = pb::TxnRequest { success, ..Default::default() };
    let asked = tokio::spawn({
        let (mut kv, request) = (members[2].kv(), request.clone());
        async move { kv.txn(request).await }
    });
    until_corrupt(&members[0], &[id]).await;
    assert_eq!(value(&members[1], "after").await.unwrap(), b"v", "it was committed, and the others applied it");
    for again in [false, true] {
        if again {
            members[2].kill();
            members[2].start();
        }
        let deadline = Instant::now() + PATIENCE;
        let refused = loop {
            match value(&members[2], "after").await {
                Err(status) if status.code() == Code::DataLoss => break status,
                other => assert!(Instant::now() < deadline, "{other:?}\n{}", members[2].log()),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        assert_eq!(refused.message(), CORRUPT);
        let log = members[2].log();
        assert!(log.contains("nothing more is applied before this member is rebuilt"), "{log}");
    }
    asked.abort();

    let rebuilt = rebuild(&members[2]).await.unwrap();
    assert_eq!((rebuilt.member_id, rebuilt.revision), (id, revision + 1));
    until_corrupt(&members[2], &[]).await;
    assert_eq!(value(&members[2], "after").await.unwrap(), b"v");
    let hash = members[2].hash_kv(revision + 1).await.hash;
    assert_eq!(hash, members[1].hash_kv(revision + 1).await.hash);
    members[2].put("more", "v").await;
}

#[tokio::test]
async fn the_only_voter_cannot_be_rebuilt_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    member.start();
    member.put("key", "v").await;
    let refused = rebuild(&member).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("only voter") && refused.message().contains("backup"), "{refused}");
}
