//! `etcd_network_server_stream_failures_total`: streams that fail while their client is there.

use std::time::{Duration, Instant};

use crate::metrics::page;
use crate::process::Server;
use crate::raw::{CANCEL, Call, INTERNAL_ERROR};

/// What is awaited longer will not come.
const PATIENCE: Duration = Duration::from_secs(15);
/// Metrics have no event to await.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

const FAILURES: &str = "etcd_network_server_stream_failures_total";
const METHODS: [(&str, &str); 2] = [("etcdserverpb.Watch", "Watch"), ("etcdserverpb.Lease", "LeaseKeepAlive")];

/// What a client does with a stream that it has opened.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// Sends this and awaits the end.
    Sends(&'static [u8]),
    /// Sends this as its last, and awaits the end.
    EndsWith(&'static [u8]),
    HalfClosesAndLeaves,
    /// In the middle of a message.
    Resets(u32),
    /// In the middle of a message.
    Disconnects,
}

/// Ten bytes are announced.
const PART_OF_A_MESSAGE: &[u8] = b"\0\0\0\0\x0aabc";
/// Field 31 has no such wire type.
const NOT_PROTOBUF: &[u8] = b"\0\0\0\0\x03\xff\xff\xff";
const COMPRESSED_BY_NOTHING: &[u8] = b"\x01\0\0\0\0";
const FOUR_GIGABYTES: &[u8] = b"\0\xff\xff\xff\xffabc";

const UNREADABLE: [Client; 4] = [
    Client::Sends(NOT_PROTOBUF),
    Client::Sends(COMPRESSED_BY_NOTHING),
    Client::Sends(FOUR_GIGABYTES),
    Client::EndsWith(PART_OF_A_MESSAGE),
];

const ENDED_BY_THE_CLIENT: [Client; 4] =
    [Client::HalfClosesAndLeaves, Client::Resets(CANCEL), Client::Resets(INTERNAL_ERROR), Client::Disconnects];

/// The sum of a family's samples of this method.
async fn count(server: &Server, family: &str, (service, method): (&str, &str)) -> u64 {
    let labels = [format!("grpc_service=\"{service}\""), format!("grpc_method=\"{method}\"")];
    let page = page(&server.address(), "/metrics").await;
    let of_method = |line: &&str| line.starts_with(family) && labels.iter().all(|label| line.contains(label.as_str()));
    page.lines().filter(of_method).map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

async fn until_count(server: &Server, family: &str, method: (&str, &str), wanted: u64) {
    let deadline = Instant::now() + PATIENCE;
    while count(server, family, method).await < wanted {
        assert!(Instant::now() < deadline, "{family} of {method:?} does not come to {wanted}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Has such a client on a stream of each kind, one after the other; returns when the server is done with them.
async fn serve(server: &Server, clients: &[Client]) {
    for method in METHODS {
        let before = count(server, "grpc_server_started_total", method).await;
        for (client, number) in clients.iter().zip(before + 1..) {
            let (service, name) = method;
            let mut call = Call::open(&server.address(), &format!("/{service}/{name}")).await;
            until_count(server, "grpc_server_started_total", method, number).await;
            match *client {
                Client::Sends(data) => call.send(data).await,
                Client::EndsWith(data) => call.send_last(data).await,
                Client::HalfClosesAndLeaves => call.send_last(&[]).await,
                Client::Resets(_) | Client::Disconnects => call.send(PART_OF_A_MESSAGE).await,
            }
            if let Client::Resets(code) = *client {
                call.reset(code).await;
            }
            let leaves = matches!(client, Client::HalfClosesAndLeaves | Client::Disconnects);
            // One that stays keeps its connection until the server is done with the stream.
            let stays = (!leaves).then_some(call);
            until_count(server, "grpc_server_handled_total", method, number).await;
            drop(stays);
        }
    }
}

/// The samples that are not 0.
async fn failures(server: &Server) -> Vec<String> {
    let page = page(&server.address(), "/metrics").await;
    let mut found: Vec<String> =
        page.lines().filter_map(|line| line.strip_prefix(FAILURES)).map(str::to_owned).collect();
    found.retain(|sample| !sample.ends_with(" 0"));
    found.sort_unstable();
    found
}

fn receive(count: usize) -> Vec<String> {
    ["lease-keepalive", "watch"].map(|api| format!("{{API=\"{api}\",Type=\"receive\"}} {count}")).to_vec()
}

/// A real etcd counts none of these, nor any other: it means to leave out what fails after the stream's context has ended, and Go's gRPC
/// ends that context before it hands over the error of a request that it cannot read (or of an answer that it cannot send).
#[tokio::test]
async fn requests_that_cannot_be_read_are_failures_of_their_stream_which_etcd_never_counts() {
    let (quorate, etcd) = (Server::quorate(&[]), Server::etcd(&[]));
    assert_eq!(failures(&quorate).await, [""; 0]);
    tokio::join!(serve(&quorate, &UNREADABLE), serve(&etcd, &UNREADABLE));
    assert_eq!(failures(&quorate).await, receive(UNREADABLE.len()));
    assert_eq!(failures(&etcd).await, [""; 0]);
}

#[tokio::test]
async fn a_stream_that_its_client_ends_is_no_failure_however_it_does_that() {
    let server = Server::quorate(&[]);
    serve(&server, &ENDED_BY_THE_CLIENT).await;
    assert_eq!(failures(&server).await, [""; 0]);
    serve(&server, &[Client::Sends(NOT_PROTOBUF)]).await;
    assert_eq!(failures(&server).await, receive(1));
}
