//! What the operator changes on running members: raft's timers, and the fence that keeps one out of raft.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quorate_api::admin::{self, Phase, Role};
use quorate_api::etcdserverpb as pb;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::watch_client::WatchClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::member::{Member, authorized};

const FENCED: &str =
    "etcdserver: this member is fenced: its operator keeps it out of the cluster; use another endpoint";

async fn set_timers(member: &Member, generation: u64, heartbeat: u64, election: u64) -> Result<(), Status> {
    let timers = admin::Timers { heartbeat_milliseconds: heartbeat, election_milliseconds: election };
    let request = admin::SetTimersRequest { generation, timers: Some(timers) };
    member.admin().set_timers(authorized(request)).await.map(|_| ())
}

async fn timers(member: &Member) -> (u64, u64) {
    let timers = member.until(|state| state.timers.is_some()).await.timers.unwrap();
    (timers.heartbeat_milliseconds, timers.election_milliseconds)
}

async fn fence(member: &Member, generation: u64, fenced: bool) -> Result<(), Status> {
    member.admin().fence(authorized(admin::FenceRequest { generation, fenced })).await.map(|_| ())
}

async fn put_once(mut kv: KvClient<Channel>, key: &str) -> Result<pb::PutResponse, Status> {
    let request = pb::PutRequest { key: key.as_bytes().to_vec().into(), value: "v".into(), ..Default::default() };
    kv.put(request).await.map(tonic::Response::into_inner)
}

/// Puts through one member until it is stopped; every failure is kept.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<Status>>,
}

impl Writer {
    fn start(member: &Member) -> Writer {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let kv = member.kv();
        let (stopped, count) = (stop.clone(), written.clone());
        let task = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match put_once(kv.clone(), "written").await {
                    Ok(_) => {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => failures.push(status),
                }
            }
            failures
        });
        Writer { stop, written, task }
    }

    /// Waits for so many more writes.
    async fn goes_on(&self, more: u64) {
        let from = self.written.load(Ordering::Relaxed);
        while self.written.load(Ordering::Relaxed) < from + more && !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.task.await.unwrap();
        assert!(failures.is_empty(), "{failures:?}");
    }
}

async fn split_off_leader(members: &mut Vec<Member>) -> Member {
    let leader = members[0].until(|state| state.leader_id != 0).await.leader_id;
    for at in 0..members.len() {
        if members[at].until(|_| true).await.member_id == leader {
            return members.remove(at);
        }
    }
    panic!("none of the members is {leader:x}");
}

#[tokio::test]
async fn timers_change_on_running_members_under_writes_and_no_write_fails() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 3);
    members.iter_mut().for_each(Member::start);
    for member in &members {
        member.put("k", "v").await;
        assert_eq!(timers(member).await, (100, 1_000));
    }
    let term = members[0].until(|state| state.leader_id != 0).await.term;
    let writers: Vec<Writer> = members.iter().map(Writer::start).collect();
    // The operator's order: election timeouts rise everywhere first, then the heartbeats change, then election timeouts fall.
    let steps = [(1, 100, 20_000), (2, 20, 20_000), (3, 20, 400), (5, 20, 50_000), (6, 10_000, 50_000)];
    for (generation, heartbeat, election) in steps {
        for member in &members {
            set_timers(member, generation, heartbeat, election).await.unwrap();
            assert_eq!(timers(member).await, (heartbeat, election));
            writers[0].goes_on(20).await;
        }
    }
    for writer in writers {
        writer.end().await;
    }
    let now = members[0].until(|state| state.leader_id != 0).await.term;
    assert_eq!(now, term, "no change of timers costs an election");

    // With these timers nobody replaces a dead leader for 50 s; with the old ones it would take two.
    let mut leader = split_off_leader(&mut members).await;
    leader.kill();
    let patience = Duration::from_secs(3);
    let unanswered = tokio::time::timeout(patience, put_once(members[0].kv(), "nobody leads")).await;
    assert!(!matches!(unanswered, Ok(Ok(_))), "{unanswered:?}");
    // And with short ones it happens at once, long before the next tick of the long ones.
    for member in &members {
        set_timers(member, 7, 50, 500).await.unwrap();
    }
    members[0].put("somebody leads", "v").await;
    assert!(members[0].until(|state| state.leader_id != 0).await.term > term);
}

#[tokio::test]
async fn timers_that_were_pushed_outlive_a_restart_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0).with_flag("--heartbeat-interval=50");
    member.start();
    member.put("k", "v").await;
    set_timers(&member, 4, 30, 300).await.unwrap();
    set_timers(&member, 4, 30, 300).await.unwrap();
    for (generation, heartbeat, election, code, text) in [
        (4, 40, 300, Code::FailedPrecondition, "generation 4"),
        (3, 30, 300, Code::FailedPrecondition, "generation 3"),
        (5, 0, 300, Code::InvalidArgument, "must be >0"),
        (5, 100, 300, Code::InvalidArgument, "should be at least as 5 times"),
        (5, 100, 60_000, Code::InvalidArgument, "is too long"),
    ] {
        let status = set_timers(&member, generation, heartbeat, election).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?}");
    }
    member.kill();
    member.start();
    member.put("k", "w").await;
    assert_eq!(timers(&member).await, (30, 300));
    assert_eq!(member.until(|_| true).await.timers_generation, 4);

    let mut empty = Member::awaiting(folder.path(), "empty");
    empty.start();
    empty.until_phase(Phase::AwaitingAdmission).await;
    set_timers(&empty, 1, 20, 200).await.unwrap();
}

/// A status line and a body.
async fn page(member: &Member, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", member.client)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer:?}")), answer)
}

#[tokio::test]
async fn a_member_that_asks_its_clients_to_go_fails_none_of_their_requests() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 1);
    members.iter_mut().for_each(Member::start);
    let member = &members[0];
    member.put("k", "v").await;
    let drain = async |draining| member.admin().drain(authorized(admin::DrainRequest { draining })).await.unwrap();
    let mut idle = member.kv();
    put_once(idle.clone(), "idle").await.unwrap();
    assert!(member.until(|_| true).await.client_connections > 0);

    drain(true).await;
    let state = member.until(|state| state.client_connections == 0).await;
    assert!(state.draining);
    // Whoever knows no other member is served over one connection after the other.
    idle.range(pb::RangeRequest { key: "idle".into(), ..Default::default() }).await.unwrap();
    drain(false).await;
    assert!(!member.until(|_| true).await.draining);
    put_once(idle, "stays").await.unwrap();
}

#[tokio::test]
async fn a_fenced_leader_hands_over_serves_nobody_and_comes_back_when_the_fence_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 3);
    members.iter_mut().for_each(Member::start);
    for member in &members {
        member.put("k", "v").await;
    }
    let mut fenced = split_off_leader(&mut members).await;
    let before = fenced.until(|_| true).await;
    let channel = Channel::from_shared(format!("http://127.0.0.1:{}", fenced.client)).unwrap().connect_lazy();
    let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let requests = futures::StreamExt::chain(futures::stream::iter([create]), futures::stream::pending());
    let mut watch = WatchClient::new(channel).watch(requests).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().created);
    let writer = Writer::start(&members[0]);
    writer.goes_on(20).await;

    fence(&fenced, 7, true).await.unwrap();
    let state = fenced.until(|_| true).await;
    assert_eq!((state.phase(), state.leader_id, state.member_id), (Phase::Fenced, 0, before.member_id));
    assert_ne!(state.role(), Role::Leader);
    writer.goes_on(50).await;
    let status = put_once(fenced.kv(), "k").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, FENCED));
    let (code, ready) = page(&fenced, "/readyz").await;
    assert_eq!(code, 503, "{ready}");
    assert!(ready.contains(&format!("[-]linearizable_read failed: {FENCED}")), "{ready}");
    assert_eq!(page(&fenced, "/livez").await.0, 200, "it lives");
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, FENCED));
    for (generation, fenced_again) in [(6, false), (7, false)] {
        let status = fence(&fenced, generation, fenced_again).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    }

    fenced.kill();
    fenced.start();
    let restarted = fenced.until_phase(Phase::Fenced).await;
    let later = fenced.until(|state| state.revision >= before.revision).await;
    assert_eq!((restarted.leader_id, later.term), (0, state.term), "it neither hears nor asks anybody");
    let revision = members[1].put("after", "v").await.header.unwrap().revision;
    writer.goes_on(20).await;
    assert!(fenced.until(|_| true).await.revision < revision);
    let status = loop {
        // Until the listener is there.
        match put_once(fenced.kv(), "k").await {
            Err(status) if status.message() != FENCED => tokio::time::sleep(Duration::from_millis(20)).await,
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(status.code(), Code::Unavailable);

    fence(&fenced, 8, false).await.unwrap();
    fenced.until(|state| state.phase() == Phase::Running && state.revision >= revision).await;
    fenced.put("back", "v").await;
    writer.goes_on(20).await;
    writer.end().await;
}

#[tokio::test]
async fn a_fenced_sole_member_neither_leads_nor_serves_until_the_fence_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    member.start();
    let revision = member.put("k", "v").await.header.unwrap().revision;
    fence(&member, 1, true).await.unwrap();
    assert_eq!(put_once(member.kv(), "k").await.unwrap_err().message(), FENCED);
    member.kill();
    member.start();
    let state = member.until_phase(Phase::Fenced).await;
    assert_eq!(state.leader_id, 0);
    fence(&member, 2, false).await.unwrap();
    let after = member.put("k", "w").await.header.unwrap().revision;
    assert_eq!(after, revision + 1, "nothing happened while it was fenced");
}

#[tokio::test]
async fn a_log_level_that_was_pushed_holds_after_a_restart() {
    const INFORMED: &str = "listening for peers";
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    member.start();
    member.put("k", "v").await;
    assert!(member.log().contains(INFORMED));
    let request = admin::SetLogLevelRequest { generation: 1, level: "error".to_owned() };
    member.admin().set_log_level(authorized(request.clone())).await.unwrap();
    member.kill();
    let before = member.log().len();
    member.start();
    member.put("k", "w").await;
    assert!(!member.log()[before..].contains(INFORMED), "{}", &member.log()[before..]);
    // An older generation does not undo it.
    let older = admin::SetLogLevelRequest { level: "info".to_owned(), ..request };
    assert!(member.admin().set_log_level(authorized(older)).await.is_err());
}

#[tokio::test]
async fn limits_that_are_pushed_hold_for_the_next_request_whether_they_rise_or_fall() {
    const MIB: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    member.start();
    member.put("k", "v").await;
    let mut kv = member.kv();
    let mut put = async |bytes: usize| {
        let value = vec![b'x'; bytes].into();
        kv.put(pb::PutRequest { key: "large".into(), value, ..Default::default() }).await.map_err(|error| error.code())
    };
    let push = async |generation: u64, bytes: usize| {
        let limits =
            admin::Limits { quota_bytes: 0, request_bytes_max: u64::try_from(bytes).unwrap(), txn_ops_max: 128 };
        let request = admin::SetLimitsRequest { generation, limits: Some(limits) };
        member.admin().set_limits(authorized(request)).await.unwrap();
    };
    assert!(put(3 * MIB).await.is_err(), "the default is 1.5 MiB");
    push(1, 4 * MIB).await;
    assert!(put(3 * MIB).await.is_ok(), "{}", member.log());
    push(2, MIB).await;
    assert!(put(3 * MIB).await.is_err());
    assert!(put(MIB / 2).await.is_ok());
}
