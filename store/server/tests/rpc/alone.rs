//! What is asked of Quorate alone: its pages, its metadata rules, and what must never reach the log.

use std::time::Duration;

use quorate_api::admin;
use quorate_api::admin::admin_client::AdminClient;
use quorate_api::etcdserverpb::{self as pb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::client::{Client, Op, bytes};
use crate::ports;
use crate::process::Server;

async fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn status_tells_who_and_where_the_member_is() {
    let server = Server::quorate(&["--quota-backend-bytes=100000000"]);
    let mut client = Client::connect(&server.address()).await;
    client.put("k", "v").await;
    let status = client.maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.7.3", "3.7.0"));
    assert_eq!((status.leader, header.revision), (header.member_id, 2));
    assert_eq!(status.raft_applied_index, status.raft_index);
    assert_eq!((status.raft_term, status.db_size_quota), (header.raft_term, 100_000_000));
    assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use > 0);
    assert!(status.errors.is_empty() && !status.is_learner && status.downgrade_info.is_some());
}

#[tokio::test]
async fn the_only_member_lists_itself() {
    let server = Server::quorate(&[]);
    let mut client = Client::connect(&server.address()).await;
    for linearizable in [true, false] {
        let list = client.cluster.member_list(pb::MemberListRequest { linearizable }).await.unwrap().into_inner();
        let header = list.header.unwrap();
        assert_eq!(header.revision, 0);
        assert_eq!(list.members.len(), 1);
        assert_eq!((list.members[0].id, list.members[0].name.as_str()), (header.member_id, "a"));
        assert_eq!(list.members[0].client_ur_ls, [format!("http://{}", server.address())]);
    }
}

#[tokio::test]
async fn no_thread_waits_for_the_kernel_to_zero_a_huge_page() {
    let server = Server::quorate(&[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.lines().any(|line| line == "THP_enabled:\t0"), "{status}");
}

#[tokio::test]
async fn threads_take_turns_sooner_than_the_kernel_has_them() {
    let server = Server::quorate(&[]);
    // Before Linux 6.12 there is no such thing.
    let usual = quorate::slices::of(std::process::id()).unwrap();
    let expected = if usual.is_zero() { usual } else { quorate::slices::SLICE };
    assert_eq!(quorate::slices::of(server.pid()).unwrap(), expected);
}

#[tokio::test]
async fn pages_show_a_healthy_member_and_what_it_did() {
    let server = Server::quorate(&["--metrics=extensive"]);
    let mut client = Client::connect(&server.address()).await;
    client.put("k", "v").await;
    client.get("k").await;
    for (path, end) in [
        ("/health", r#"{"health":"true","reason":""}"#),
        ("/readyz", "\r\nok\n"),
        ("/livez", "\r\nok\n"),
        ("/version", r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#),
    ] {
        let text = page(&server.address(), path).await;
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with(end), "{path}: {text}");
    }
    let text = page(&server.address(), "/metrics").await;
    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_mvcc_put_total 1",
        "etcd_mvcc_range_total 1",
        "etcd_debugging_mvcc_current_revision 2",
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
        r#"grpc_server_handling_seconds_count{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let positive = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{name} {value:?}");
    };
    for name in [
        "etcd_disk_wal_fsync_duration_seconds_count ",
        "etcd_disk_backend_commit_duration_seconds_count ",
        "etcd_server_apply_duration_seconds_count ",
        "etcd_server_proposals_applied_total ",
        "etcd_server_leader_changes_seen_total ",
        "etcd_mvcc_db_total_size_in_bytes ",
        "etcd_network_client_grpc_received_bytes_total ",
        "etcd_network_client_grpc_sent_bytes_total ",
        "process_resident_memory_bytes ",
    ] {
        positive(name);
    }
}

#[tokio::test]
async fn metadata_is_checked_before_the_call() {
    let server = Server::quorate(&[]);
    let mut client = Client::connect(&server.address()).await;
    let mut request = Request::new(pb::RangeRequest { key: bytes("k"), ..Default::default() });
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    request.metadata_mut().insert("client-api-version", "3.7".parse().unwrap());
    client.kv.range(request).await.unwrap();
}

#[tokio::test]
async fn what_is_not_supported_yet_says_so() {
    let server = Server::quorate(&[]);
    let mut client = Client::connect(&server.address()).await;
    for error in [
        client.maintenance.hash(pb::HashRequest {}).await.unwrap_err(),
        client.maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap_err(),
        client.maintenance.downgrade(pb::DowngradeRequest::default()).await.unwrap_err(),
        client.auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap_err(),
        client.auth.user_list(pb::AuthUserListRequest {}).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Unimplemented);
        assert!(error.message().contains("not supported"), "{error}");
    }
}

/// Neither a key's value, nor a password, nor a token of the operator, nor what a client sends in requests that fail may stand in the
/// log, at its most talkative.
#[tokio::test]
async fn no_value_reaches_the_log() {
    const SECRET: &str = "hunter2-hunter2";
    const TOKEN: &str = "admin-token-0d4c9e";
    const WRONG_TOKEN: &str = "wrong-token-7b1f20";
    let (folder, admin_port) = (tempfile::tempdir().unwrap(), ports::free_port());
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    let admin_url = format!("http://127.0.0.1:{admin_port}");
    let server = Server::quorate(&[
        "--log-level=debug",
        "--warning-unary-request-duration=1ns",
        "--listen-admin-urls",
        &admin_url,
        "--admin-token-file",
        token_file.to_str().unwrap(),
    ]);
    // The operator's token, the right one and another, in calls that succeed, that fail, and that are not known.
    let channel = Endpoint::from_shared(admin_url).unwrap().connect().await.unwrap();
    for (token, is_right) in [(TOKEN, true), (WRONG_TOKEN, false)] {
        let mut operator = AdminClient::with_interceptor(channel.clone(), move |mut request: tonic::Request<()>| {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            Ok(request)
        });
        assert_eq!(operator.member_state(admin::MemberStateRequest {}).await.is_ok(), is_right);
        operator.set_log_level(admin::SetLogLevelRequest { generation: 1, level: "loud".into() }).await.unwrap_err();
        operator.found(admin::FoundRequest { owner_uid: "other".into(), ..Default::default() }).await.unwrap_err();
    }
    let mut client = Client::connect(&server.address()).await;
    client.put("k", SECRET).await;
    client.get("k").await;
    let refused = pb::PutRequest { key: bytes("k"), value: bytes(SECRET), ignore_value: true, ..Default::default() };
    client.kv.put(refused).await.unwrap_err();
    let login = pb::AuthenticateRequest { name: "root".to_owned(), password: SECRET.to_owned() };
    client.auth.authenticate(login).await.unwrap_err();
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("request took too long"), "slow requests are logged\n{log}");
    for secret in [SECRET, TOKEN, WRONG_TOKEN] {
        assert!(!log.contains(secret), "{secret}\n{log}");
    }
}

/// A long list does not hold up single reads on the same connection.
#[tokio::test]
async fn many_calls_run_at_once_on_one_connection() {
    let server = Server::quorate(&[]);
    let client = Client::connect(&server.address()).await;
    let calls = (0..500).map(|number| {
        let mut client = client.clone();
        async move {
            let key = format!("k{number}");
            let put = client.put(&key, "v").await.header.unwrap().revision;
            let got = client.get(&key).await;
            assert_eq!(got.kvs[0].mod_revision, put);
        }
    });
    tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(calls)).await.unwrap();
}

/// The value of a metric without labels.
async fn metric(server: &Server, name: &str) -> i64 {
    let text = page(&server.address(), "/metrics").await;
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test]
async fn a_physical_compaction_answers_when_its_rows_are_gone() {
    const SWEPT: &str = "quorate_mvcc_swept_revision";
    let server = Server::quorate(&[]);
    let mut client = Client::connect(&server.address()).await;
    let put = |i: usize| pb::RequestOp {
        request: Some(Op::RequestPut(pb::PutRequest { key: bytes(&i.to_string()), ..Default::default() })),
    };
    let txn = pb::TxnRequest { success: (0..128).map(put).collect(), ..Default::default() };
    // 51 200 rows: the paced sweep of half of them takes a second, the other half is swept while its caller waits.
    let mut last = 0;
    for _ in 0..400 {
        last = client.kv.txn(txn.clone()).await.unwrap().into_inner().header.unwrap().revision;
    }
    let half = last - 200;
    let compact = |revision, physical| pb::CompactionRequest { revision, physical };
    client.kv.compact(compact(half, false)).await.unwrap();
    assert!(metric(&server, SWEPT).await < half, "a logical compaction does not wait");
    let answered = client.kv.compact(compact(last, true)).await.unwrap().into_inner();
    assert_eq!(metric(&server, SWEPT).await, last);
    assert_eq!(answered.header.unwrap().revision, last);
    let status = client.kv.compact(compact(last, true)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn with_a_full_memory_budget_new_requests_are_refused_until_there_is_room() {
    const ANSWERS: &str = "quorate_memory_charged_bytes{part=\"answers\"}";
    let server = Server::quorate(&["--memory-budget-bytes=300000"]);
    // A client that takes no more than this of an answer before it reads on.
    let endpoint = Endpoint::try_from(format!("http://{}", server.address())).unwrap();
    let slow = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let mut client = Client::connect(&server.address()).await;
    let value = "x".repeat(100_000);
    for i in 0..10 {
        client.put(&format!("k{i}"), &value).await;
    }
    let all = pb::RangeRequest { key: bytes("k"), range_end: bytes("l"), ..Default::default() };
    let held = Client::over(slow).kv.range_stream(all.clone()).await.unwrap();
    while metric(&server, ANSWERS).await < 300_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = client.kv.range(all.clone()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, "etcdserver: too many requests"));
    let refused = client.kv.put(pb::PutRequest { key: bytes("k"), ..Default::default() }).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: too many requests");
    assert_eq!(metric(&server, "quorate_memory_refused_total").await, 2);
    assert_eq!(metric(&server, "quorate_memory_budget_bytes").await, 300_000);
    drop(held);
    while metric(&server, ANSWERS).await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.put("k", "v").await;
    assert_eq!(client.kv.range(all).await.unwrap().into_inner().count, 11, "one answer may be larger than the budget");
}
