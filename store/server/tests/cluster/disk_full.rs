//! Members whose disk fills up under load: what they refuse, what they still serve, and that they go on by themselves when there is
//! room again, with everything that they acknowledged.

use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use quorate_api::etcdserverpb::{self as pb, AlarmType};
use tonic::Code;

use crate::member::Member;
use crate::small_disk::SmallDisk;

/// Room for the segments that a log has after some MiB of entries (4, 8, 16, 32 and 64 MiB), and for the database.
const DISK_MEBIBYTES: u64 = 224;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Puts numbered values until one is refused for lack of space; returns how many were acknowledged.
async fn put_until_refused(member: &Member, prefix: &str) -> usize {
    let mut kv = member.kv();
    let deadline = Instant::now() + PATIENCE;
    for i in 0.. {
        let key = format!("{prefix}{i:06}");
        let request = pb::PutRequest { key: key.into(), value: vec![b'x'; 32 << 10].into(), ..Default::default() };
        match kv.put(request).await {
            Ok(_) => assert!(Instant::now() < deadline, "nothing was refused in time\n{}", member.log()),
            Err(status) => {
                assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, NO_SPACE), "{}", member.log());
                return i;
            }
        }
    }
    unreachable!("the loop ends by itself")
}

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

/// Whose NOSPACE alarm is raised; `None` when the member does not answer.
async fn no_space_alarms(member: &Member) -> Option<Vec<u64>> {
    let alarms = member.maintenance().alarm(pb::AlarmRequest::default()).await.ok()?.into_inner().alarms;
    let no_space = |alarm: &pb::AlarmMember| alarm.alarm == i32::from(AlarmType::Nospace);
    Some(alarms.into_iter().filter(no_space).map(|alarm| alarm.member_id).collect())
}

async fn until_alarms(member: &Member, wanted: &[u64]) {
    let deadline = Instant::now() + PATIENCE;
    while no_space_alarms(member).await.as_deref() != Some(wanted) {
        assert!(Instant::now() < deadline, "{:?}\n{}", no_space_alarms(member).await, member.log());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn count(member: &Member, prefix: &str, serializable: bool) -> Result<usize, tonic::Status> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    let request = pb::RangeRequest {
        key: prefix.as_bytes().to_vec().into(),
        range_end: end.into(),
        count_only: true,
        serializable,
        ..Default::default()
    };
    Ok(usize::try_from(member.kv().range(request).await?.into_inner().count).unwrap())
}

#[tokio::test]
async fn a_single_member_refuses_writes_while_its_disk_is_full_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    let disk = SmallDisk::mount(&member.data_dir(), DISK_MEBIBYTES);
    member.start();
    member.put("first", "v").await;
    let id = member.until(|_| true).await.member_id;
    disk.fill(1 << 20);
    let acknowledged = put_until_refused(&member, "full-").await;
    assert!(acknowledged > 10, "only {acknowledged} puts were taken by the segments that are preallocated");

    until_alarms(&member, &[id]).await;
    let (status, body) = member.get("/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("[-]disk_space failed: no space for another WAL segment"), "{body}");
    assert!(member.get("/metrics").1.contains("\nquorate_disk_full 1"), "no metric says it");
    assert!(member.log().contains("the disk is full"), "{}", member.log());
    // Reads and what frees space go on.
    assert_eq!(count(&member, "full-", true).await.unwrap(), acknowledged);
    assert_eq!(count(&member, "full-", false).await.unwrap(), acknowledged);
    let delete = pb::DeleteRangeRequest { key: "first".into(), ..Default::default() };
    assert_eq!(member.kv().delete_range(delete).await.unwrap().into_inner().deleted, 1);

    disk.free();
    until_alarms(&member, &[]).await;
    member.put("after", "v").await;
    let (status, body) = member.get("/readyz");
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert_eq!(count(&member, "full-", false).await.unwrap(), acknowledged);
    member.kill();
    member.start();
    member.put("restarted", "v").await;
    assert_eq!(count(&member, "full-", false).await.unwrap(), acknowledged, "{}", member.log());
}

#[tokio::test]
async fn an_alarm_for_a_full_disk_goes_although_the_member_was_killed_before_there_was_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    let disk = SmallDisk::mount(&member.data_dir(), DISK_MEBIBYTES);
    member.start();
    let id = member.until(|state| state.leader_id != 0).await.member_id;
    disk.fill(1 << 20);
    put_until_refused(&member, "full-").await;
    until_alarms(&member, &[id]).await;
    member.kill();
    disk.free();
    member.start();
    until_alarms(&member, &[]).await;
    member.put("after", "v").await;
}

#[tokio::test]
async fn a_member_that_is_started_while_its_disk_is_full_waits_for_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    let disk = SmallDisk::mount(&member.data_dir(), DISK_MEBIBYTES);
    member.start();
    member.put("first", "v").await;
    let database = format!("database {}", member.data_dir().join("db").display());
    let directory = format!("{}", member.data_dir().join("member.json.tmp").display());
    // Without a page the directory's own file cannot be written; with one page RocksDB cannot write its manifest.
    for (left, what) in [(0, &directory), (4 << 10, &database)] {
        member.kill();
        disk.fill(left);
        let before = member.log().len();
        member.start();
        until_log(&member, before, "so this member cannot start").await;
        let log = member.log();
        let line = log[before..].lines().find(|line| line.contains("cannot start")).unwrap_or_default();
        assert!(line.contains(what) && line.contains("free space or grow the volume"), "{line}");
        assert!(!line.contains("rebuild"), "{line}");
        disk.free();
        until_log(&member, before, "the disk has room again; starting").await;
        member.put("after", "v").await;
        assert_eq!(count(&member, "first", false).await.unwrap(), 1);
    }
    // Told to end while it waits, it ends as told.
    member.kill();
    disk.fill(0);
    let before = member.log().len();
    member.start();
    until_log(&member, before, "so this member cannot start").await;
    assert_eq!(member.terminate(), Some(0), "{}", member.log());
}

async fn until_log(member: &Member, from: usize, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !member.log()[from..].contains(wanted) {
        assert!(Instant::now() < deadline, "no {wanted:?} in\n{}", &member.log()[from..]);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_hands_over_and_catches_up_when_it_has_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 3);
    let disk = SmallDisk::mount(&members[0].data_dir(), DISK_MEBIBYTES);
    members.iter_mut().for_each(Member::start);
    members[0].put("first", "v").await;
    let state = members[0].until(|state| state.leader_id != 0).await;
    let id = state.member_id;
    if state.leader_id != id {
        let mut ids = Vec::new();
        for member in &members {
            ids.push(member.until(|_| true).await.member_id);
        }
        let leading = &members[ids.iter().position(|id| *id == state.leader_id).unwrap()];
        leading.maintenance().move_leader(pb::MoveLeaderRequest { target_id: id }).await.unwrap();
    }
    members[1].until(|state| state.leader_id == id).await;
    disk.fill(1 << 20);
    let acknowledged = put_until_refused(&members[1], "full-").await;
    until_alarms(&members[1], &[id]).await;
    members[1].until(|state| state.leader_id != 0 && state.leader_id != id).await;
    assert!(members[0].log().contains("the disk is full"), "{}", members[0].log());
    assert_eq!(count(&members[1], "full-", false).await.unwrap(), acknowledged);
    assert!(count(&members[0], "full-", true).await.is_ok(), "it still serves serializable reads");

    disk.free();
    until_alarms(&members[1], &[]).await;
    let revision = members[0].put("after", "v").await.header.unwrap().revision;
    let mut hashes = Vec::new();
    for member in &members {
        member.until(|state| state.revision >= revision).await;
        hashes.push(member.hash_kv(revision).await.hash);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    assert_eq!(count(&members[0], "full-", false).await.unwrap(), acknowledged);
}

#[tokio::test]
async fn a_member_on_a_disk_that_became_read_only_ends_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    let _disk = SmallDisk::mount(&member.data_dir(), DISK_MEBIBYTES);
    member.start();
    member.put("first", "v").await;
    member.kill();
    let (nothing, flags) = (None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    mount(nothing, &member.data_dir(), nothing, flags, nothing).unwrap();
    member.start();
    assert_eq!(member.wait(), Some(1), "{}", member.log());
    let log = member.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("is on a read-only file system") && last.contains("remount it"), "{log}");
}
