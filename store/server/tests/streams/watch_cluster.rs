//! Watches when leaders change and members are cut off.

use quorate_api::etcdserverpb as pb;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use super::client::{key, range};
use super::cluster::Cluster;

#[tokio::test]
async fn a_watch_of_a_follower_misses_nothing_when_the_leader_is_killed() {
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader(0, None).await;
    let other = (leader + 1) % 3;
    let mut client = cluster.client(other).await;
    let mut watching = client.open_watch();
    watching.create(range("k", "l")).await;
    watching.next().await;
    let mut writer = client.clone();
    // A write may fail while there is no leader; then its outcome is unknown and the watch tells.
    let writing = tokio::spawn(async move {
        let mut written = Vec::new();
        for n in 0..200 {
            let put = pb::PutRequest { key: format!("k{n}").into(), ..Default::default() };
            if writer.kv.put(put).await.is_ok() {
                written.push(n);
            }
        }
        writer.put("kend", "").await;
        written
    });
    watching.events(20).await;
    cluster.kill(leader);
    let mut seen: Vec<(i64, String)> = Vec::new();
    while seen.last().is_none_or(|(_, key)| key != "kend") {
        for event in watching.next().await.events {
            let kv = event.kv.unwrap();
            seen.push((kv.mod_revision, String::from_utf8(kv.key.to_vec()).unwrap()));
        }
    }
    let revisions: Vec<i64> = seen.iter().map(|(revision, _)| *revision).collect();
    let first = revisions[0];
    let expected: Vec<i64> = (first..first + revisions.len() as i64).collect();
    assert_eq!(revisions, expected, "every revision once, in order");
    for n in writing.await.unwrap().into_iter().filter(|n| *n >= 20) {
        assert!(seen.iter().any(|(_, key)| *key == format!("k{n}")), "k{n} was acknowledged");
    }
}

#[tokio::test]
async fn a_stream_that_requires_a_leader_ends_without_one_and_another_stays_open() {
    let mut cluster = Cluster::start(3, &[]);
    let mut client = cluster.client(0).await;
    let create = |key: pb::WatchCreateRequest| pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(key)),
    };
    let requests = || tokio_stream::once(create(key("k"))).chain(tokio_stream::pending());
    let mut required = Request::new(requests());
    required.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let mut required = client.watch.watch(required).await.unwrap().into_inner();
    assert!(required.message().await.unwrap().unwrap().created);
    let mut other = client.watch.watch(requests()).await.unwrap().into_inner();
    assert!(other.message().await.unwrap().unwrap().created);
    cluster.kill(1);
    cluster.kill(2);
    let status = required.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    cluster.restart(1);
    client.put("k", "back").await;
    assert_eq!(other.message().await.unwrap().unwrap().events.len(), 1);
}
