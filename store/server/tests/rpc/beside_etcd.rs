//! The same calls to Quorate and to etcd, one after the other; every answer and every error must be the same.

use futures::StreamExt;
use quorate_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_api::etcdserverpb::{self as pb};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Blank, Client, Op, bytes, show, show_error};
use crate::process::Server;

/// One call; requests are plain messages, so a failing one prints itself.
#[derive(Debug, Clone)]
enum Call {
    Range(pb::RangeRequest),
    RangeStream(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    HashKv(i64),
    Alarm(pb::AlarmRequest),
    MoveLeader(u64),
    MemberAdd(&'static [&'static str]),
    MemberRemove(u64),
    MemberUpdate(u64, &'static [&'static str]),
    MemberPromote(u64),
    RemoveSelf,
    AuthStatus,
    Authenticate,
    Defragment,
}

async fn answer(client: &mut Client, call: Call) -> String {
    let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
    match call {
        Call::Range(request) => show(client.kv.range(request).await),
        Call::RangeStream(request) => stream(client, request).await,
        Call::Put(request) => show(client.kv.put(request).await),
        Call::Delete(request) => show(client.kv.delete_range(request).await),
        Call::Txn(request) => show(client.kv.txn(request).await),
        Call::Compact(request) => show(client.kv.compact(request).await),
        Call::HashKv(revision) => show(client.maintenance.hash_kv(pb::HashKvRequest { revision }).await),
        Call::Alarm(request) => show(client.maintenance.alarm(request).await),
        Call::MoveLeader(target_id) => show(client.maintenance.move_leader(pb::MoveLeaderRequest { target_id }).await),
        Call::Defragment => show(client.maintenance.defragment(pb::DefragmentRequest {}).await),
        Call::AuthStatus => show(client.auth.auth_status(pb::AuthStatusRequest {}).await),
        Call::Authenticate => show(client.auth.authenticate(pb::AuthenticateRequest::default()).await),
        // Those below are meant to fail: members differ between the servers.
        Call::MemberAdd(peers) => {
            let request = pb::MemberAddRequest { peer_ur_ls: urls(peers), is_learner: false };
            show_error(&client.cluster.member_add(request).await.unwrap_err())
        }
        Call::MemberUpdate(id, peers) => {
            let request = pb::MemberUpdateRequest { id, peer_ur_ls: urls(peers) };
            show_error(&client.cluster.member_update(request).await.unwrap_err())
        }
        Call::MemberRemove(id) => {
            show_error(&client.cluster.member_remove(pb::MemberRemoveRequest { id }).await.unwrap_err())
        }
        Call::MemberPromote(id) => {
            show_error(&client.cluster.member_promote(pb::MemberPromoteRequest { id }).await.unwrap_err())
        }
        Call::RemoveSelf => {
            let members = client.cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap();
            let id = members.into_inner().members[0].id;
            show_error(&client.cluster.member_remove(pb::MemberRemoveRequest { id }).await.unwrap_err())
        }
    }
}

async fn stream(client: &mut Client, request: pb::RangeRequest) -> String {
    let messages = match client.kv.range_stream(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return show_error(&status),
    };
    let texts: Vec<String> = messages
        .map(|message| match message {
            Ok(mut message) => {
                message.blank();
                format!("{message:?}")
            }
            Err(status) => show_error(&status),
        })
        .collect()
        .await;
    texts.join("\n")
}

/// Makes all calls on fresh servers of both kinds and compares each answer.
async fn check(flags: &[&str], calls: Vec<Call>) {
    let (quorate, etcd) = (Server::quorate(flags), Server::etcd(flags));
    let mut ours = Client::connect(&quorate.address()).await;
    let mut theirs = Client::connect(&etcd.address()).await;
    for (number, call) in calls.into_iter().enumerate() {
        let expected = answer(&mut theirs, call.clone()).await;
        let found = answer(&mut ours, call.clone()).await;
        assert_eq!(found, expected, "call {number}, {call:?}: ours is left, etcd's right");
    }
}

fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

fn delete(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn compare(target: CompareTarget, result: CompareResult, key: &str, union: Option<TargetUnion>) -> pb::Compare {
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(key),
        range_end: bytes::Bytes::new(),
        target_union: union,
    }
}

fn txn(compare: Vec<pb::Compare>, success: Vec<Op>, failure: Vec<Op>) -> pb::TxnRequest {
    let ops = |requests: Vec<Op>| requests.into_iter().map(op).collect();
    pb::TxnRequest { compare, success: ops(success), failure: ops(failure) }
}

/// Keys with different versions, creations and values, and a deleted one.
fn load() -> Vec<Call> {
    let mut calls: Vec<Call> =
        [("a", "4"), ("b", "3"), ("c", "2"), ("d", "1"), ("b", "5"), ("c", "0"), ("c", "9"), ("ab", "7")]
            .map(|(key, value)| Call::Put(put(key, value)))
            .into();
    calls.push(Call::Delete(delete("d", "")));
    calls.push(Call::Put(put("d", "6")));
    calls
}

#[tokio::test]
async fn puts_and_deletes_answer_as_etcd() {
    let mut calls = vec![
        Call::Put(put("", "v")),
        Call::Put(put("k", "")),
        Call::Put(pb::PutRequest { prev_kv: true, ..put("k", "2") }),
        Call::Put(pb::PutRequest { prev_kv: true, ..put("new", "2") }),
        Call::Put(pb::PutRequest { ignore_value: true, ..put("k", "x") }),
        Call::Put(pb::PutRequest { ignore_value: true, prev_kv: true, ..put("k", "") }),
        Call::Put(pb::PutRequest { ignore_value: true, ..put("absent", "") }),
        Call::Put(pb::PutRequest { ignore_lease: true, lease: 5, ..put("k", "x") }),
        Call::Put(pb::PutRequest { ignore_lease: true, ..put("k", "x") }),
        Call::Put(pb::PutRequest { lease: 5, ..put("k", "x") }),
        Call::Range(range("k", "")),
        Call::Delete(delete("", "")),
        Call::Delete(delete("absent", "")),
        Call::Delete(pb::DeleteRangeRequest { prev_kv: true, ..delete("k", "") }),
        Call::Delete(delete("z", "a")),
    ];
    calls.extend(load());
    calls.extend([
        Call::Delete(pb::DeleteRangeRequest { prev_kv: true, ..delete("a", "c") }),
        Call::Delete(delete("c", "\0")),
        Call::Range(range("\0", "\0")),
    ]);
    check(&[], calls).await;
}

#[tokio::test]
async fn ranges_answer_as_etcd_with_every_option() {
    let mut calls = load();
    for (key, end) in [("a", ""), ("a", "c"), ("b", "\0"), ("\0", "\0"), ("c", "a"), ("zz", ""), ("", ""), ("", "z")] {
        for revision in [0, 3, 7, -1, 1_000] {
            calls.push(Call::Range(pb::RangeRequest { revision, ..range(key, end) }));
        }
    }
    for order in [SortOrder::None, SortOrder::Ascend, SortOrder::Descend] {
        for target in [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value] {
            for limit in [0, 2] {
                calls.push(Call::Range(pb::RangeRequest {
                    sort_order: order.into(),
                    sort_target: target.into(),
                    limit,
                    ..range("\0", "\0")
                }));
            }
        }
    }
    for request in [
        pb::RangeRequest { limit: 2, ..range("a", "z") },
        pb::RangeRequest { limit: -1, ..range("a", "z") },
        pb::RangeRequest { keys_only: true, ..range("a", "z") },
        pb::RangeRequest { keys_only: true, limit: 1, revision: 5, ..range("a", "z") },
        pb::RangeRequest { count_only: true, ..range("a", "z") },
        pb::RangeRequest { count_only: true, limit: 1, revision: 4, ..range("a", "z") },
        pb::RangeRequest { min_mod_revision: 5, max_mod_revision: 8, ..range("a", "z") },
        pb::RangeRequest { min_create_revision: 4, limit: 1, ..range("a", "z") },
        pb::RangeRequest { max_create_revision: 3, ..range("a", "z") },
        pb::RangeRequest { serializable: true, ..range("a", "z") },
        pb::RangeRequest { sort_order: 7, ..range("a", "z") },
        pb::RangeRequest { sort_target: 9, ..range("a", "z") },
    ] {
        calls.push(Call::Range(request));
    }
    check(&[], calls).await;
}

#[tokio::test]
async fn range_streams_answer_as_etcd() {
    let mut calls = load();
    for number in 0..40 {
        calls.push(Call::Put(put(&format!("k{number:03}"), &"x".repeat(number))));
    }
    for request in [
        range("", ""),
        range("a", ""),
        range("absent", ""),
        range("k", "l"),
        pb::RangeRequest { limit: 5, ..range("k", "l") },
        pb::RangeRequest { limit: 10, ..range("k", "l") },
        pb::RangeRequest { limit: 25, ..range("k", "l") },
        pb::RangeRequest { limit: 40, ..range("k", "l") },
        pb::RangeRequest { revision: 20, ..range("\0", "\0") },
        pb::RangeRequest { revision: 2_000, ..range("\0", "\0") },
        pb::RangeRequest { keys_only: true, ..range("k", "l") },
        pb::RangeRequest { count_only: true, ..range("k", "l") },
        pb::RangeRequest { sort_order: SortOrder::Descend.into(), ..range("k", "l") },
        pb::RangeRequest { min_mod_revision: 3, ..range("k", "l") },
    ] {
        calls.push(Call::RangeStream(request));
    }
    check(&[], calls).await;
}

#[tokio::test]
async fn transactions_answer_as_etcd() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    let mut calls = load();
    let unions = [
        (Version, TargetUnion::Version(2)),
        (Create, TargetUnion::CreateRevision(3)),
        (Mod, TargetUnion::ModRevision(6)),
        (Value, TargetUnion::Value(bytes("5"))),
        (Lease, TargetUnion::Lease(0)),
    ];
    for (target, union) in &unions {
        for result in [Equal, Greater, Less, NotEqual] {
            for key in ["b", "absent"] {
                for union in [Some(union.clone()), None] {
                    let compares = vec![compare(*target, result, key, union)];
                    calls.push(Call::Txn(txn(compares, vec![Op::RequestRange(range("a", ""))], vec![])));
                }
            }
        }
    }
    let all =
        |target, result, union| pb::Compare { range_end: bytes("z"), ..compare(target, result, "a", Some(union)) };
    let nested = txn(
        vec![compare(Version, Greater, "a", Some(TargetUnion::Version(0)))],
        vec![Op::RequestPut(put("n", "1")), Op::RequestRange(range("n", ""))],
        vec![],
    );
    for request in [
        txn(vec![], vec![], vec![]),
        txn(vec![all(Version, Greater, TargetUnion::Version(0))], vec![Op::RequestPut(put("t", "1"))], vec![]),
        txn(vec![all(Mod, Less, TargetUnion::ModRevision(3))], vec![], vec![Op::RequestPut(put("t", "2"))]),
        txn(vec![compare(Version, Equal, "", None)], vec![], vec![]),
        txn(vec![], vec![Op::RequestPut(put("", "2"))], vec![]),
        txn(vec![], vec![], vec![Op::RequestRange(range("", ""))]),
        txn(vec![], vec![Op::RequestPut(put("x", "1")), Op::RequestPut(put("x", "2"))], vec![]),
        txn(vec![], vec![Op::RequestPut(put("x", "1")), Op::RequestDeleteRange(delete("a", "z"))], vec![]),
        txn(vec![], vec![Op::RequestDeleteRange(delete("a", "c")), Op::RequestDeleteRange(delete("a", "z"))], vec![]),
        txn(vec![], vec![Op::RequestTxn(nested.clone()), Op::RequestPut(put("n", "2"))], vec![]),
        txn(vec![], vec![Op::RequestTxn(nested)], vec![]),
        txn(
            vec![],
            vec![Op::RequestPut(put("s", "1")), Op::RequestRange(range("s", "")), Op::RequestPut(put("r", "1"))],
            vec![],
        ),
        txn(vec![], vec![Op::RequestRange(pb::RangeRequest { revision: 999, ..range("a", "") })], vec![]),
        txn(vec![], vec![Op::RequestPut(pb::PutRequest { lease: 77, ..put("s", "1") })], vec![]),
        txn(vec![], vec![Op::RequestPut(pb::PutRequest { ignore_value: true, ..put("absent", "") })], vec![]),
        txn(vec![], vec![Op::RequestDeleteRange(delete("absent", ""))], vec![]),
        txn(vec![], vec![Op::RequestRange(range("a", "b")); 129], vec![]),
        txn(vec![], vec![Op::RequestRange(range("a", "b")); 128], vec![]),
        pb::TxnRequest { success: vec![pb::RequestOp { request: None }], ..Default::default() },
    ] {
        calls.push(Call::Txn(request));
    }
    calls.push(Call::Range(range("\0", "\0")));
    check(&[], calls).await;
}

#[tokio::test]
async fn compactions_and_hashes_answer_as_etcd() {
    let mut calls = vec![Call::HashKv(0)];
    calls.extend(load());
    let compact = |revision| Call::Compact(pb::CompactionRequest { revision, physical: true });
    calls.extend([
        Call::HashKv(0),
        Call::HashKv(5),
        Call::HashKv(900),
        compact(900),
        compact(5),
        compact(5),
        compact(2),
    ]);
    for revision in [0, 4, 5, 6, 11] {
        // At the compacted revision itself etcd answers from a list of hashes that it took while it compacted.
        if revision != 5 {
            calls.push(Call::HashKv(revision));
        }
        calls.push(Call::Range(pb::RangeRequest { revision, ..range("\0", "\0") }));
        let read = Op::RequestRange(pb::RangeRequest { revision, ..range("a", "z") });
        calls.push(Call::Txn(txn(vec![], vec![read], vec![])));
    }
    calls.extend([Call::Delete(delete("a", "")), Call::HashKv(0), compact(13), Call::HashKv(0), Call::Defragment]);
    check(&[], calls).await;
}

#[tokio::test]
async fn a_compaction_at_zero_is_taken_once_as_by_etcd() {
    let compact = || Call::Compact(pb::CompactionRequest { revision: 0, physical: false });
    check(&[], vec![compact(), compact(), Call::Range(range("a", "")), Call::Put(put("a", "1")), compact()]).await;
}

#[tokio::test]
async fn alarms_answer_as_etcd_and_refuse_what_etcd_refuses() {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    let alarm = |action: pb::alarm_request::AlarmAction, alarm: pb::AlarmType, member_id| {
        Call::Alarm(pb::AlarmRequest { action: action.into(), member_id, alarm: alarm.into() })
    };
    let writes = || {
        let deletes = txn(vec![], vec![Op::RequestDeleteRange(delete("y", ""))], vec![]);
        let puts = txn(vec![], vec![], vec![Op::RequestPut(put("y", "1"))]);
        vec![
            Call::Put(put("x", "1")),
            Call::Delete(delete("x", "")),
            Call::Txn(deletes),
            Call::Txn(puts),
            Call::Range(range("x", "")),
            Call::Compact(pb::CompactionRequest { revision: 900, physical: false }),
        ]
    };
    let mut calls = vec![alarm(Get, pb::AlarmType::None, 0), alarm(Activate, pb::AlarmType::None, 1)];
    for kind in [pb::AlarmType::Nospace, pb::AlarmType::Corrupt] {
        calls.push(alarm(Activate, kind, 7));
        calls.push(alarm(Activate, kind, 7));
        calls.push(alarm(Get, pb::AlarmType::None, 0));
        calls.push(alarm(Get, pb::AlarmType::Nospace, 9));
        calls.extend(writes());
        calls.push(alarm(Deactivate, kind, 8));
        calls.push(alarm(Deactivate, kind, 7));
    }
    calls.extend(writes());
    check(&[], calls).await;
}

#[tokio::test]
async fn errors_of_the_other_services_are_etcds() {
    check(
        &[],
        vec![
            Call::MemberAdd(&[]),
            Call::MemberAdd(&["localhost:1"]),
            Call::MemberAdd(&["http://localhost:1/path"]),
            Call::MemberRemove(1),
            Call::RemoveSelf,
            Call::MemberUpdate(1, &["http://localhost:1"]),
            Call::MemberUpdate(1, &[]),
            Call::MemberPromote(1),
            Call::MoveLeader(1),
            Call::AuthStatus,
            Call::Authenticate,
        ],
    )
    .await;
}

#[tokio::test]
async fn limits_are_etcds() {
    let flags = ["--max-request-bytes=1000", "--max-txn-ops=2"];
    let ops = |count: usize| (0..count).map(|n| Op::RequestPut(put(&format!("k{n}"), "v"))).collect();
    let value = |bytes: usize| Call::Put(put("k", &"x".repeat(bytes)));
    check(
        &flags,
        vec![
            value(500),
            value(1100),
            value(100_000),
            value(600_000),
            Call::Txn(txn(vec![], ops(2), vec![])),
            Call::Txn(txn(vec![], ops(3), vec![])),
            Call::Txn(txn(vec![], vec![Op::RequestTxn(txn(vec![], ops(1), vec![]))], vec![])),
            Call::Txn(txn(vec![], vec![Op::RequestTxn(txn(vec![], ops(2), vec![]))], vec![])),
        ],
    )
    .await;
}

/// Status, headers that matter and body of a page; the order of checks is unspecified in etcd.
async fn page(address: &str, method: &str, path: &str) -> (String, Vec<String>, Vec<String>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().map(str::to_ascii_lowercase);
    let status = lines.next().unwrap();
    let wanted = ["content-type:", "allow:", "x-content-type-options:", "access-control-", "content-length:"];
    let mut headers: Vec<String> = lines.filter(|line| wanted.iter().any(|name| line.starts_with(name))).collect();
    headers.sort();
    let mut body: Vec<String> = body.lines().map(str::to_owned).collect();
    body.sort();
    (status, headers, body)
}

#[tokio::test]
async fn pages_are_etcds_to_the_header() {
    let (quorate, etcd) = (Server::quorate(&[]), Server::etcd(&[]));
    let mut clients = [Client::connect(&quorate.address()).await, Client::connect(&etcd.address()).await];
    // etcd raises the version of its storage a moment after it serves.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !format!("{:?}", page(&etcd.address(), "GET", "/version").await).contains("3.7.0\\\"}") {
        assert!(std::time::Instant::now() < deadline, "etcd's storage is not at 3.7.0");
        tokio::task::yield_now().await;
    }
    // One alarm at a time: which of several /health names is unspecified in etcd.
    for alarm in [pb::AlarmType::None, pb::AlarmType::Nospace, pb::AlarmType::Corrupt] {
        set_alarm(&mut clients, pb::alarm_request::AlarmAction::Activate, alarm).await;
        for path in [
            "/health",
            "/health?exclude=NOSPACE",
            "/health?exclude=NOSPACE&exclude=CORRUPT",
            "/health?serializable=true",
            "/livez",
            "/livez?verbose",
            "/livez/serializable_read",
            "/livez/linearizable_read",
            "/readyz",
            "/readyz?verbose",
            "/readyz?exclude=data_corruption&verbose=1",
            "/readyz/data_corruption",
            "/readyz/non_learner?verbose",
            "/readyz/",
            "/version",
            "/absent",
        ] {
            for method in ["GET", "POST", "OPTIONS"] {
                let found = page(&quorate.address(), method, path).await;
                let expected = page(&etcd.address(), method, path).await;
                assert_eq!(found, expected, "{method} {path} with alarm {alarm:?}: ours is left, etcd's right");
            }
        }
        set_alarm(&mut clients, pb::alarm_request::AlarmAction::Deactivate, alarm).await;
    }
}

async fn set_alarm(clients: &mut [Client], action: pb::alarm_request::AlarmAction, alarm: pb::AlarmType) {
    for client in clients {
        let request = pb::AlarmRequest { action: action.into(), member_id: 1, alarm: alarm.into() };
        client.maintenance.alarm(request).await.unwrap();
    }
}
