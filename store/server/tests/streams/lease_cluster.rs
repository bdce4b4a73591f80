//! Leases when members restart and leaders change.

use std::time::Instant;

use super::client::range;
use super::cluster::Cluster;

#[tokio::test]
async fn leases_get_their_whole_time_after_a_restart() {
    let mut cluster = Cluster::start(1, &[]);
    let mut client = cluster.client(0).await;
    client.grant(100, 5).await.unwrap();
    client.put_leased("k", "v", 5).await;
    cluster.kill(0);
    cluster.restart(0);
    let mut client = cluster.client(0).await;
    let left = client.time_to_live(5, true).await;
    assert!((99..=101).contains(&left.ttl), "{left:?}");
    assert_eq!(left.keys, ["k"]);
    assert_eq!(client.keep_alive(5).await.unwrap().ttl, 100);
}

#[tokio::test]
async fn every_member_answers_for_the_leader_and_a_new_leader_gives_leases_their_whole_time() {
    const TTL: i64 = 4;
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader(0, None).await;
    let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut client = cluster.client(other).await;
    client.grant(TTL, 5).await.unwrap();
    client.put_leased("k", "v", 5).await;
    for member in [leader, other, third] {
        let mut asked = cluster.client(member).await;
        let left = asked.time_to_live(5, true).await;
        assert_eq!((left.granted_ttl, &left.keys[..]), (TTL, &["k".into()][..]), "member {member}: {left:?}");
        assert_eq!(asked.keep_alive(5).await.unwrap().ttl, TTL, "member {member}");
        assert_eq!(asked.time_to_live(6, true).await.ttl, -1, "member {member}");
        assert_eq!(asked.keep_alive(6).await.unwrap().ttl, 0, "member {member}");
    }
    let mut watching = client.open_watch();
    watching.create(range("k", "l")).await;
    watching.next().await;
    let killed = Instant::now();
    cluster.kill(leader);
    cluster.leader(other, Some(leader)).await;
    assert_eq!(client.keep_alive(5).await.unwrap().ttl, TTL, "the new leader knows it");
    let renewed = Instant::now();
    let gone = watching.next().await;
    assert_eq!(&gone.events[0].kv.as_ref().unwrap().key[..], b"k");
    assert!(renewed.elapsed().as_secs() >= TTL as u64 - 1, "it lived {:?} after its renewal", renewed.elapsed());
    assert!(killed.elapsed().as_secs() < 30, "it went {:?} after its leader", killed.elapsed());
}

#[tokio::test]
async fn a_leader_that_was_stopped_does_not_renew_what_expired_without_it() {
    let cluster = Cluster::start(3, &[]);
    let leader = cluster.leader(0, None).await;
    let other = (leader + 1) % 3;
    let (mut old, mut client) = (cluster.client(leader).await, cluster.client(other).await);
    client.grant(2, 5).await.unwrap();
    client.put_leased("k", "v", 5).await;
    assert_eq!(old.keep_alive(5).await.unwrap().ttl, 2);
    let mut watching = client.open_watch();
    watching.create(range("k", "l")).await;
    watching.next().await;
    cluster.pause(leader);
    // The renewal waits in the socket of the stopped leader while the others elect one and expire the lease.
    let renewal = tokio::spawn(async move { old.keep_alive(5).await });
    let gone = watching.next().await;
    assert_eq!(gone.events[0].r#type, 1, "{gone:?}");
    cluster.resume(leader);
    match renewal.await.unwrap() {
        Ok(answer) => assert_eq!(answer.ttl, 0, "the lease is gone: {answer:?}"),
        Err(status) => panic!("the member is back, so it can ask the leader: {status:?}"),
    }
}
