//! Real listeners on ports that the system chooses, real clients of HTTP/1 and gRPC.

use super::*;

use std::net::SocketAddr;

use quorate_api::health::health_check_response::ServingStatus;
use quorate_api::health::health_client::HealthClient;
use quorate_api::health::{HealthCheckRequest, health_server::HealthServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::tests::healthy;
use crate::http::{Pages, Surface};
use crate::rpc::{Health, Router};

struct Running {
    server: Server,
    metrics: Arc<Metrics>,
    /// Of no meaning for a socket file.
    address: SocketAddr,
}

async fn start(url: &str, make: impl FnOnce(Arc<Router>, Arc<Pages>) -> Service) -> Running {
    serve(&url.parse().unwrap(), HEADER_TIMEOUT, make).await
}

/// One whose clients have to speak by then.
async fn start_with(url: &str, header_timeout: Duration) -> Running {
    serve(&url.parse().unwrap(), header_timeout, Service::both).await
}

async fn serve(url: &Url, header_timeout: Duration, make: impl FnOnce(Arc<Router>, Arc<Pages>) -> Service) -> Running {
    let metrics = Arc::new(Metrics::new(false));
    let router = Router::new(metrics.clone(), Box::new(|_| Ok(())), Duration::ZERO)
        .with(HealthServer::new(Health::new(CancellationToken::new())).max_decoding_message_size(1024));
    let pages = Pages::new(Arc::new(healthy()), metrics.clone());
    let keepalive = Keepalive { interval: None, timeout: Duration::from_secs(20) };
    let server = Server::new(Settings { keepalive, streams_max: 100, header_timeout }, metrics.clone());
    let listener = Listener::bind(url, None, false).await.unwrap();
    let address = listener.address().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
    server.serve(listener, make(Arc::new(router), Arc::new(pages)));
    Running { server, metrics, address }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn client(address: SocketAddr) -> HealthClient<tonic::transport::Channel> {
    HealthClient::connect(format!("http://{address}")).await.unwrap()
}

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn grpc_and_pages_share_a_port() {
    let running = start("http://localhost:0", Service::both).await;
    assert!(running.address.is_ipv4());
    let text = get(running.address, "/health").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(r#"{"health":"true","reason":""}"#), "{text}");
    let mut client = client(running.address).await;
    let answer = client.check(ask("")).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let unknown = client.check(ask("x")).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (tonic::Code::NotFound, "unknown service"));
    let large = client.check(ask(&"x".repeat(2000))).await.unwrap_err();
    assert_eq!(
        (large.code(), large.message()),
        (tonic::Code::ResourceExhausted, "grpc: received message larger than max (2003 vs. 1024)")
    );
    let text = get(running.address, "/metrics").await;
    for line in [
        r#"grpc_server_started_total{grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 3"#,
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1"#,
        r#"grpc_server_handled_total{grpc_code="NotFound",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1"#,
        r#"grpc_server_handled_total{grpc_code="ResourceExhausted",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(running.metrics.network.client_received_bytes.get() > 2000);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let running = start("http://127.0.0.1:0", |rpc, _| Service::rpc(rpc)).await;
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", running.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let error = quorate_api::etcdserverpb::kv_client::KvClient::new(channel)
        .range(quorate_api::etcdserverpb::RangeRequest::default())
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.message()), (tonic::Code::Unimplemented, "unknown service etcdserverpb.KV"));
    assert!(get(running.address, "/health").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_metrics_listener_has_no_grpc() {
    let running = start("http://127.0.0.1:0", |_, pages| Service::pages(pages, Surface::Metrics)).await;
    assert!(get(running.address, "/metrics").await.contains("etcd_server_has_leader 1"));
    assert!(client(running.address).await.check(ask("")).await.is_err());
}

#[tokio::test]
async fn draining_ends_idle_connections_at_once_and_new_ones_after_their_first_requests() {
    let running = start("http://127.0.0.1:0", Service::both).await;
    let drain = running.server.drain.clone();
    let mut buffer = vec![0; 4096];
    let mut idle = asked(running.address).await;
    assert_eq!(drain.connections(), 1);
    drain.set(true);
    assert_eq!(idle.read(&mut buffer).await.unwrap(), 0, "it ends");
    // Everything is still served.
    let mut late = asked(running.address).await;
    assert_eq!(late.read(&mut buffer).await.unwrap(), 0, "it ends as well");
    let mut client = client(running.address).await;
    client.check(ask("")).await.unwrap();
    drain.set(false);
    let mut kept = asked(running.address).await;
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut buffer).await.unwrap() > 0);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_hung_up_on_and_one_that_spoke_is_kept() {
    let running = start_with("http://127.0.0.1:0", Duration::from_secs(1)).await;
    let mut client = client(running.address).await;
    client.check(ask("")).await.unwrap();
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut halting = TcpStream::connect(running.address).await.unwrap();
    halting.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let mut byte = [0];
    assert_eq!(silent.read(&mut byte).await.unwrap(), 0, "it ends");
    assert_eq!(halting.read(&mut byte).await.unwrap(), 0, "it ends as well");
    assert_eq!(running.metrics.network.client_connections.get(), 1, "the other's is as old and stays");
    client.check(ask("")).await.unwrap();
}

/// A connection that was served once.
async fn asked(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut bytes = vec![0; 4096];
    assert!(stream.read(&mut bytes).await.unwrap() > 0);
    stream
}

#[tokio::test]
async fn stopping_closes_idle_connections_at_once_and_refuses_new_ones() {
    let running = start("http://127.0.0.1:0", Service::both).await;
    let mut client = client(running.address).await;
    client.check(ask("")).await.unwrap();
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    // One request shows that the connection is served.
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut bytes = vec![0; 4096];
    assert!(idle.read(&mut bytes).await.unwrap() > 0);
    running.server.stop(Duration::from_secs(60)).await;
    assert_eq!(idle.read(&mut bytes).await.unwrap(), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_after_the_grace_period() {
    let running = start("http://127.0.0.1:0", Service::both).await;
    let mut client = client(running.address).await;
    let mut stream = client.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    running.server.stop(Duration::from_millis(20)).await;
    assert!(stream.message().await.is_err());
}

#[tokio::test]
async fn a_socket_file_is_served_taken_over_from_the_dead_and_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.sock");
    let url: Url = format!("unix://{}", path.display()).parse().unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead process leaves its file");
    let running = serve(&url, HEADER_TIMEOUT, Service::both).await;
    assert!(Listener::bind(&url, None, false).await.is_err());
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("ok\n"), "{text}");
    running.server.stop(Duration::from_secs(60)).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_taken_port_and_a_missing_certificate_are_explained() {
    let running = start("http://127.0.0.1:0", Service::both).await;
    let url: Url = format!("http://{}", running.address).parse().unwrap();
    let Err(error) = Listener::bind(&url, None, false).await else { panic!("bound twice") };
    assert!(error.to_string().contains("another process has it"), "{error}");
    let Err(error) = Listener::bind(&"https://127.0.0.1:0".parse().unwrap(), None, false).await else {
        panic!("bound without certificate")
    };
    assert_eq!(error.to_string(), "https://127.0.0.1:0 wants TLS but no certificate was given");
}
