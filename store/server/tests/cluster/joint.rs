//! Joint changes on real members: a live voter is replaced in one step, under writes, also the leader, also while another is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_api::admin::change_membership_request::Change;
use quorate_api::admin::member_change::Change as One;
use quorate_api::admin::{self, Role};
use quorate_api::etcdserverpb as pb;
use quorate_api::etcdserverpb::kv_client::KvClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::admission::{add_learner, change, configuration, found, join, leader};
use crate::member::{Member, authorized};

fn replace(with: u64, gone: u64) -> Change {
    let one = |change| admin::MemberChange { change: Some(change) };
    Change::Joint(admin::JointChange { changes: vec![one(One::Promote(with)), one(One::Remove(gone))] })
}

/// Members 0 to 2 vote, 3 is a caught-up learner; the cluster allows joint changes.
async fn three_and_a_learner(folder: &std::path::Path) -> (Vec<Member>, u64) {
    let mut members: Vec<Member> = (0..4).map(|i| Member::awaiting(folder, &format!("main-{i}"))).collect();
    members.iter_mut().for_each(Member::start);
    found(&members[0]).await;
    join(&members[0], &members[1]).await;
    join(&members[0], &members[2]).await;
    let learner = add_learner(&members[0], &members[3]).await;
    let early = change(&members[0], replace(learner, 1)).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    assert!(early.message().contains("needs feature level 2, the cluster is at 1"), "{}", early.message());
    raise(&members[0]).await;
    (members, learner)
}

/// Raises the feature level once every member has called this one.
async fn raise(member: &Member) {
    let request = || authorized(admin::RaiseFeatureLevelRequest { level: 2 });
    member
        .until(|state| state.configuration.as_ref().is_some_and(|c| c.members.iter().all(|m| !m.name.is_empty())))
        .await;
    member.admin().raise_feature_level(request()).await.unwrap();
    member.until(|state| state.feature_level == 2).await;
}

/// Puts through these members, one after the other, until told to stop; returns the acknowledged keys.
fn write(through: Vec<KvClient<Channel>>, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("k{number}");
            let put = pb::PutRequest { key: key.clone().into_bytes().into(), ..Default::default() };
            let mut client = through[number % through.len()].clone();
            if client.put(put).await.is_ok() {
                acknowledged.push(key);
            }
        }
        acknowledged
    })
}

/// Every acknowledged key is there, and the members hold the same.
async fn assert_nothing_lost(members: &[&Member], acknowledged: &[String]) {
    let revision = members[0].put("last", "v").await.header.unwrap().revision;
    let mut hashes = Vec::new();
    for member in members {
        member.until(|state| state.revision >= revision).await;
        hashes.push(member.hash_kv(revision).await.hash);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    for key in acknowledged {
        let range = pb::RangeRequest { key: key.clone().into_bytes().into(), ..Default::default() };
        let found = members[0].kv().range(range).await.unwrap().into_inner();
        assert_eq!(found.count, 1, "{key} was acknowledged and is lost");
    }
}

/// Asks for a replacement until the learner counts as caught up: under writes it may be some entries behind.
async fn replace_when_ready(leading: &Member, with: u64, gone: u64) -> admin::ChangeMembershipResponse {
    loop {
        match change(leading, replace(with, gone)).await {
            Ok(response) => return response,
            Err(status) => assert!(status.message().contains("in sync with leader"), "{status}\n{}", leading.log()),
        }
    }
}

async fn ids(members: &[Member]) -> Vec<u64> {
    let mut ids = Vec::new();
    for member in members {
        ids.push(member.until(|state| state.member_id != 0).await.member_id);
    }
    ids
}

/// Replaces a follower or the leader by the learner, under writes through members that stay.
async fn replace_under_writes(leader_goes: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (mut members, learner) = three_and_a_learner(folder.path()).await;
    let ids = ids(&members).await;
    let leading = leader(&members.iter().collect::<Vec<_>>()).await;
    let at = members.iter().position(|member| member.name == leading.name).unwrap();
    let gone = if leader_goes { at } else { (at + 1) % 3 };
    let stop = Arc::new(AtomicBool::new(false));
    let writer = write((0..3).filter(|i| *i != gone).map(|i| members[i].kv()).collect(), stop.clone());
    let leading = &members[at];
    let answer = replace_when_ready(leading, learner, ids[gone]).await;
    assert_eq!(answer.member_ids, [learner, ids[gone]]);
    let after = answer.configuration.unwrap();
    assert!(!after.joint && after.leaving.is_empty(), "answered when it is over: {after:?}");
    let mut voters: Vec<u64> = after.members.iter().filter(|m| !m.learner).map(|m| m.id).collect();
    let mut expected: Vec<u64> = (0..4).filter(|i| *i != gone).map(|i| ids[i]).collect();
    voters.sort_unstable();
    expected.sort_unstable();
    assert_eq!(voters, expected);
    assert_eq!(members[gone].until_exit().await, Some(0), "{}", members[gone].log());
    let staying: Vec<&Member> = (0..4).filter(|i| *i != gone).map(|i| &members[i]).collect();
    // Somebody else leads, and the new voter takes part.
    for member in &staying {
        member.until(|state| state.leader_id != 0 && state.leader_id != ids[gone]).await;
    }
    members[3].until(|state| matches!(state.role(), Role::Follower | Role::Leader)).await;
    members[3].put("through the new one", "v").await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.unwrap();
    assert!(!acknowledged.is_empty());
    assert_nothing_lost(&staying, &acknowledged).await;
}

#[tokio::test]
async fn a_live_voter_is_replaced_in_one_step_under_writes() {
    replace_under_writes(false).await;
}

#[tokio::test]
async fn the_leader_is_replaced_in_one_step_under_writes() {
    replace_under_writes(true).await;
}

#[tokio::test]
async fn a_replacement_ends_although_the_member_that_goes_is_dead_and_another_is_killed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (mut members, learner) = three_and_a_learner(folder.path()).await;
    let ids = ids(&members).await;
    let leading = leader(&members.iter().collect::<Vec<_>>()).await;
    let at = members.iter().position(|member| member.name == leading.name).unwrap();
    let (gone, killed) = ((at + 1) % 3, (at + 2) % 3);
    members[gone].kill();
    // The dead one is not heard of, the other two and the learner are: both majorities live.
    members[at]
        .until(|state| {
            state.progress.iter().any(|progress| progress.member_id == ids[gone] && !progress.recently_active)
        })
        .await;
    let expected_index = configuration(&members[at]).await.index;
    let request = admin::ChangeMembershipRequest { expected_index, change: Some(replace(learner, ids[gone])) };
    let mut admin = members[at].admin();
    let changing = tokio::spawn(async move { admin.change_membership(authorized(request)).await });
    members[at]
        .until(|state| state.configuration.as_ref().is_some_and(|configuration| configuration.index > expected_index))
        .await;
    members[killed].kill();
    members[killed].start();
    // It may be answered early, when the majority was away for longer than a request lasts; it ends all the same.
    let _ = changing.await.unwrap();
    let staying: Vec<&Member> = (0..4).filter(|i| *i != gone).map(|i| &members[i]).collect();
    for member in &staying {
        member
            .until(|state| {
                let configuration = state.configuration.as_ref();
                configuration
                    .is_some_and(|c| !c.joint && c.members.len() == 3 && c.members.iter().all(|m| m.id != ids[gone]))
            })
            .await;
    }
    assert_nothing_lost(&staying, &[]).await;
    // When it comes back it learns that it was removed.
    members[gone].start();
    assert_eq!(members[gone].until_exit().await, Some(0), "{}", members[gone].log());
}
