//! Kills and restarts of a static cluster of three, and a member that was away for longer than the log reaches back.

use quorate_api::admin::Role;
use quorate_api::etcdserverpb as pb;

use crate::member::Member;
use crate::peer_metrics::snapshots;

async fn all_at(members: &[Member], revision: i64) {
    for member in members {
        member.until(|state| state.revision >= revision).await;
    }
    let mut hashes = Vec::new();
    for member in members {
        hashes.push(member.hash_kv(revision).await.hash);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[tokio::test]
async fn acknowledged_writes_survive_the_kill_of_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 3);
    members.iter_mut().for_each(Member::start);
    let mut revision = 0;
    for i in 0..30 {
        revision = members[i % 3].put(&format!("k{i}"), "v").await.header.unwrap().revision;
    }
    members.iter_mut().for_each(Member::kill);
    members.iter_mut().for_each(Member::start);
    let after = members[0].put("after", "v").await.header.unwrap().revision;
    assert_eq!(after, revision + 1);
    assert_eq!(members[1].count().await, (31, after));
    all_at(&members, after).await;
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_and_exits_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 3);
    members.iter_mut().for_each(Member::start);
    members[0].put("k", "1").await;
    let leader = members[0].until(|state| state.leader_id != 0).await.leader_id;
    let mut leading = None;
    for (i, member) in members.iter().enumerate() {
        if member.until(|_| true).await.member_id == leader {
            leading = Some(i);
        }
    }
    let mut stopped = members.remove(leading.unwrap());
    assert_eq!(stopped.terminate(), Some(0), "{}", stopped.log());
    assert!(stopped.log().contains("handing leadership over before stopping"), "{}", stopped.log());
    members[0].put("k", "2").await;
    members[0].until(|state| state.leader_id != 0 && state.leader_id != leader).await;
}

#[tokio::test]
async fn a_follower_that_lost_everything_it_missed_in_the_log_gets_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let mut members: Vec<Member> = Member::static_cluster(folder.path(), 3)
        .into_iter()
        .map(|m| m.with_flag("--snapshot-catchup-entries=1").with_flag("--wal-keep-bytes=1"))
        .collect();
    members.iter_mut().for_each(Member::start);
    members[0].put("first", "v").await;
    members[2].until(|state| state.role() != Role::Unspecified).await;
    members[2].kill();
    // Enough to fill segments of the log, so that what the third one needs is cut.
    let value = "x".repeat(1 << 20);
    let mut revision = 0;
    for i in 0..150 {
        revision = members[i % 2].put(&format!("k{i}"), &value).await.header.unwrap().revision;
    }
    members[2].start();
    all_at(&members, revision).await;
    assert!(members[2].log().contains("applied snapshot"), "it caught up by the log:\n{}", members[2].log());
    let sent = snapshots(&members[0], "send") + snapshots(&members[1], "send");
    assert!(snapshots(&members[2], "receive") >= 1.0 && sent >= 1.0, "and the metrics say so");
    let after = members[2].put("after", "v").await.header.unwrap().revision;
    all_at(&members, after).await;
}

#[tokio::test]
async fn a_member_that_was_added_by_etcds_call_joins_and_one_that_was_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Member::static_cluster(folder.path(), 1).remove(0);
    first.start();
    first.put("k", "v").await;
    let mut stranger = Member::existing(folder.path(), "stranger", &[&first]);
    stranger.start();
    assert_eq!(stranger.wait(), Some(1));
    assert!(stranger.log().contains("has no member with the peer URLs"), "{}", stranger.log());

    let mut joiner = Member::existing(folder.path(), "joiner", &[&first]);
    let request = pb::MemberAddRequest { peer_ur_ls: vec![joiner.peer_url()], is_learner: false };
    let added = first.cluster().member_add(request).await.unwrap().into_inner();
    assert_eq!(added.members.len(), 2);
    joiner.start();
    let state = joiner.until(|state| state.role() == Role::Follower && state.revision >= 2).await;
    assert_eq!(state.member_id, added.member.unwrap().id);
    let revision = joiner.put("k", "w").await.header.unwrap().revision;
    all_at(&[first, joiner], revision).await;
}

#[tokio::test]
async fn a_read_beside_a_write_never_waits_for_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    member.start();
    member.put("k", "v").await;
    // Far below the seconds after which a lost read would be answered with a time-out, and far above what a read takes.
    let patience = std::time::Duration::from_secs(5);
    for i in 0..400 {
        let (written, read) = tokio::join!(member.put("k", "v"), tokio::time::timeout(patience, member.count()));
        let (count, revision) = read.unwrap_or_else(|_| panic!("read {i} was left waiting"));
        assert_eq!(count, 1);
        assert!(revision + 1 >= written.header.unwrap().revision);
    }
}
