//! Leases of one member beside etcd's.

use std::time::Instant;

use quorate_api::etcdserverpb as pb;
use tonic::Status;

use super::client::{Client, range};
use super::process::Server;

/// What a lease answer says, who answers left out.
fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    let header = header.expect("an answer has a header");
    assert!(header.cluster_id != 0 && header.member_id != 0);
    header.revision
}

fn error(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn granted(result: Result<pb::LeaseGrantResponse, Status>) -> String {
    match result {
        Ok(pb::LeaseGrantResponse { header, id, ttl, error }) => {
            format!("granted {id} for {ttl} s at {} {error:?}", revision(header))
        }
        Err(status) => error(&status),
    }
}

async fn life(client: &mut Client, id: i64, keys: bool) -> String {
    let pb::LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, mut keys } = client.time_to_live(id, keys).await;
    keys.sort();
    format!("{id} has {ttl} of {granted_ttl} s and {keys:?} at {}", revision(header))
}

async fn renewed(client: &mut Client, id: i64) -> String {
    let pb::LeaseKeepAliveResponse { header, id, ttl } = client.keep_alive(id).await.unwrap();
    format!("{id} renewed for {ttl} s at {}", revision(header))
}

async fn listed(client: &mut Client) -> String {
    let pb::LeaseLeasesResponse { header, leases } =
        client.lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    let ids: Vec<i64> = leases.iter().map(|lease| lease.id).collect();
    format!("leases {ids:?} at {}", revision(header))
}

async fn script(server: &Server) -> Vec<String> {
    let mut client = Client::connect(&server.address()).await;
    let mut said = Vec::new();
    for (ttl, id) in [(60, 7), (60, 7), (0, 8), (-5, 9), (1, -3), (9_000_000_000, 10), (9_000_000_001, 11)] {
        said.push(granted(client.grant(ttl, id).await));
    }
    said.push(listed(&mut client).await);
    client.put_leased("b", "1", 7).await;
    client.put_leased("a", "1", 7).await;
    client.put_leased("c", "1", 7).await;
    client.put("c", "detached").await;
    for id in [7, 10, -3, 99, 0] {
        let life = life(&mut client, id, true).await;
        // A second may end between a grant and the question.
        said.push(
            life.replace("has 59", "has 60").replace("has 8999999999", "has 9000000000").replace("has 1", "has 2"),
        );
        said.push(renewed(&mut client, id).await);
    }
    let unknown = pb::PutRequest { key: "k".into(), lease: 99, ..Default::default() };
    said.push(error(&client.kv.put(unknown).await.unwrap_err()));
    for id in [7, 7, 0] {
        said.push(match client.revoke(id).await {
            Ok(pb::LeaseRevokeResponse { header }) => format!("revoked {id} at {}", revision(header)),
            Err(status) => error(&status),
        });
    }
    said.push(format!(
        "{} of 3 keys are left",
        client.count("a").await + client.count("b").await + client.count("c").await
    ));
    said.push(life(&mut client, 7, true).await);
    said.push(renewed(&mut client, 7).await);
    said
}

#[tokio::test]
async fn leases_are_granted_renewed_and_revoked_as_by_etcd() {
    let (quorate, etcd) = (Server::quorate(&[]), Server::etcd(&[]));
    let (ours, theirs) = (script(&quorate).await, script(&etcd).await);
    assert_eq!(ours, theirs, "quorate, then etcd");
}

#[tokio::test]
async fn an_id_that_the_server_picks_is_positive_and_new() {
    let server = Server::quorate(&[]);
    let mut client = Client::connect(&server.address()).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(client.grant(60, 0).await.unwrap().id);
    }
    assert!(ids.iter().all(|id| *id > 0));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_goes_with_its_keys_within_a_second_and_a_renewed_one_stays() {
    let server = Server::quorate(&[]);
    let mut client = Client::connect(&server.address()).await;
    let mut watching = client.open_watch();
    watching.create(range("k", "l")).await;
    watching.next().await;
    client.grant(2, 1).await.unwrap();
    client.grant(2, 2).await.unwrap();
    client.put_leased("k1", "", 1).await;
    client.put_leased("k2", "", 2).await;
    watching.events(2).await;
    let mut renewed = Instant::now();
    let gone = loop {
        tokio::select! {
            gone = watching.next() => break gone,
            answer = client.keep_alive(2) => assert_eq!(answer.unwrap().ttl, 2),
        }
        renewed = Instant::now();
    };
    assert_eq!(&gone.events[0].kv.as_ref().unwrap().key[..], b"k1");
    let gone = watching.next().await;
    let late = renewed.elapsed().as_millis();
    assert_eq!(&gone.events[0].kv.as_ref().unwrap().key[..], b"k2");
    assert!((1900..3000).contains(&late), "it went {late} ms after its renewal");
    assert_eq!(client.keep_alive(1).await.unwrap().ttl, 0);
    assert_eq!(client.time_to_live(2, false).await.ttl, -1);
}

#[tokio::test]
async fn a_burst_of_renewals_on_one_stream_is_answered_in_order() {
    let server = Server::quorate(&[]);
    let mut client = Client::connect(&server.address()).await;
    for id in 1..=10 {
        client.grant(100 + id, id).await.unwrap();
    }
    let ids = || (0..5000).map(|n| n % 11);
    let requests = tokio_stream::iter(ids().map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut answers = client.lease.lease_keep_alive(requests).await.unwrap().into_inner();
    for id in ids() {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), (id, if id == 0 { 0 } else { 100 + id }));
    }
    assert!(answers.message().await.unwrap().is_none(), "the stream ends after the client's side of it");
}

#[tokio::test]
async fn many_leases_that_expire_together_go_together() {
    const LEASES: i64 = 2000;
    let server = Server::quorate(&[]);
    let client = Client::connect(&server.address()).await;
    let mut grants = tokio::task::JoinSet::new();
    for id in 1..=LEASES {
        let mut client = client.clone();
        grants.spawn(async move {
            client.grant(4, id).await.unwrap();
            client.put_leased(&format!("k{id}"), "", id).await;
        });
    }
    grants.join_all().await;
    let mut client = client;
    let mut watching = client.open_watch();
    watching.create(pb::WatchCreateRequest { start_revision: 2, filters: vec![0], ..range("k", "l") }).await;
    let first = watching.events(1).await.len();
    let began = Instant::now();
    watching.events(usize::try_from(LEASES).unwrap() - first).await;
    let took = began.elapsed();
    assert!(took.as_secs() < 5, "from first to last {took:?}");
    assert_eq!(client.count("k").await, 0);
}
