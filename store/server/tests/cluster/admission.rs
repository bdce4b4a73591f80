//! The operator's calls: founding, pod-first joins with their disk identity, guarded changes, removal.

use std::path::Path;

use quorate_api::admin::change_membership_request::Change;
use quorate_api::admin::{self, Phase, Role};
use quorate_core::membership;
use tonic::Code;

use crate::member::{Member, authorized};

const OWNER: &str = "0f9b7c1e-uid";

/// Founds a cluster on a started, awaiting member.
pub async fn found(member: &Member) -> admin::FoundResponse {
    let state = member.until_phase(Phase::AwaitingAdmission).await;
    let request = found_request(member, &state.disk_id);
    let founded = member.admin().found(authorized(request)).await.unwrap().into_inner();
    member.until(|state| state.role() == Role::Leader).await;
    founded
}

fn found_request(member: &Member, disk_id: &str) -> admin::FoundRequest {
    let named = (member.name.clone(), vec![member.peer_url()], disk_id.to_owned());
    let expected = membership::founding(&[named], OWNER);
    admin::FoundRequest {
        owner_uid: OWNER.to_owned(),
        owner_name: "default/main".to_owned(),
        member_name: member.name.clone(),
        peer_urls: vec![member.peer_url()],
        expected_cluster_id: expected.cluster_id,
        disk_id: disk_id.to_owned(),
    }
}

pub async fn leader<'a>(members: &[&'a Member]) -> &'a Member {
    for member in members {
        let state = member.until(|state| state.leader_id != 0).await;
        if let Some(leader) = members_by_id(members, state.leader_id).await {
            return leader;
        }
    }
    panic!("nobody leads");
}

async fn members_by_id<'a>(members: &[&'a Member], id: u64) -> Option<&'a Member> {
    for member in members {
        if member.until(|_| true).await.member_id == id {
            return Some(member);
        }
    }
    None
}

pub async fn configuration(leader: &Member) -> admin::Configuration {
    let response = leader.admin().configuration(authorized(admin::ConfigurationRequest {})).await.unwrap();
    response.into_inner().configuration.unwrap()
}

pub async fn change(leader: &Member, change: Change) -> Result<admin::ChangeMembershipResponse, tonic::Status> {
    let expected_index = configuration(leader).await.index;
    let request = admin::ChangeMembershipRequest { expected_index, change: Some(change) };
    Ok(leader.admin().change_membership(authorized(request)).await?.into_inner())
}

/// Adds a started, awaiting member as a learner, admits it, and waits until it has caught up.
pub async fn add_learner(leader: &Member, joiner: &Member) -> u64 {
    let state = joiner.until_phase(Phase::AwaitingAdmission).await;
    let learner =
        admin::Member { peer_urls: vec![joiner.peer_url()], disk_id: state.disk_id.clone(), ..Default::default() };
    let added = change(leader, Change::AddLearner(learner)).await.unwrap();
    let admit = admin::AdmitRequest {
        member_id: added.member_id,
        owner_uid: OWNER.to_owned(),
        owner_name: "default/main".to_owned(),
        disk_id: state.disk_id,
        configuration: added.configuration,
    };
    joiner.admin().admit(authorized(admit)).await.unwrap();
    joiner.until(|state| state.role() == Role::Learner).await;
    leader
        .until(|state| {
            let progress = state.progress.iter().find(|progress| progress.member_id == added.member_id);
            progress.is_some_and(|progress| progress.match_index >= state.committed_index)
        })
        .await;
    added.member_id
}

/// Adds a member as a learner and promotes it.
pub async fn join(leader: &Member, joiner: &Member) -> u64 {
    let id = add_learner(leader, joiner).await;
    change(leader, Change::Promote(id)).await.unwrap();
    joiner.until(|state| state.role() == Role::Follower).await;
    id
}

/// A cluster founded on the first of two members, which the second has joined under this id.
pub async fn founded_pair(folder: &Path) -> (Member, Member, u64) {
    let mut a = Member::awaiting(folder, "main-0");
    let mut b = Member::awaiting(folder, "main-1");
    a.start();
    b.start();
    found(&a).await;
    let id = join(&a, &b).await;
    (a, b, id)
}

#[tokio::test]
async fn a_cluster_is_founded_grown_to_three_and_shrunk_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut members: Vec<Member> = (0..3).map(|i| Member::awaiting(folder.path(), &format!("main-{i}"))).collect();
    members.iter_mut().for_each(Member::start);
    let [a, b, c] = &members[..] else { unreachable!("three were made") };
    let founded = found(a).await;
    let disk_id = a.until_phase(Phase::Running).await.disk_id;
    let again = a.admin().found(authorized(found_request(a, &disk_id))).await.unwrap().into_inner();
    assert_eq!(again, founded, "founding again with the same content answers the same");
    let first = a.put("k", "1").await.header.unwrap();
    assert_eq!((first.cluster_id, first.member_id), (founded.cluster_id, founded.member_id));
    join(a, b).await;
    join(a, c).await;
    let (_, page) = a.get("/metrics");
    assert!(page.contains("\netcd_server_learner_promote_successes 2\n"), "the leader promoted both\n{page}");
    let revision = c.put("k", "2").await.header.unwrap().revision;
    for member in [a, b, c] {
        member.until(|state| state.revision >= revision).await;
    }
    let hashes = [a.hash_kv(revision).await.hash, b.hash_kv(revision).await.hash, c.hash_kv(revision).await.hash];
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");

    let leading = leader(&[a, b, c]).await;
    let target = if leading.name == b.name { a } else { leading };
    if target.name != leading.name {
        let to = target.until(|_| true).await.member_id;
        leading.admin().hand_over(authorized(admin::HandOverRequest { member_id: to })).await.unwrap();
    }
    for _ in 0..2 {
        let remaining = configuration(target).await.members;
        let own = target.until(|state| state.role() == Role::Leader).await.member_id;
        let other = remaining.iter().find(|member| member.id != own).unwrap().id;
        change(target, Change::Remove(other)).await.unwrap();
    }
    assert_eq!(configuration(target).await.members.len(), 1);
    target.put("k", "3").await;
    let removed: Vec<&Member> = [a, b, c].into_iter().filter(|member| member.name != target.name).collect();
    for member in &removed {
        assert!(member.data_dir().exists(), "a removed member's data stays");
    }
}

#[tokio::test]
async fn an_empty_disk_is_never_admitted_under_the_id_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (a, mut b, id) = founded_pair(folder.path()).await;
    a.put("k", "v").await;
    let configuration = configuration(&a).await;

    b.kill();
    std::fs::remove_dir_all(b.data_dir()).unwrap();
    b.start();
    let state = b.until_phase(Phase::AwaitingAdmission).await;
    let admit = |disk_id: String| admin::AdmitRequest {
        member_id: id,
        owner_uid: OWNER.to_owned(),
        owner_name: "default/main".to_owned(),
        disk_id,
        configuration: Some(configuration.clone()),
    };
    let old_disk = configuration.members.iter().find(|member| member.id == id).unwrap().disk_id.clone();
    for (disk_id, text) in
        [(state.disk_id.clone(), "add this disk as a new learner"), (old_disk, "meant for another disk")]
    {
        let status = b.admin().admit(authorized(admit(disk_id))).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains(text), "{}", status.message());
    }
    b.until_phase(Phase::AwaitingAdmission).await;
}

#[tokio::test]
async fn refusals_name_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut a = Member::awaiting(folder.path(), "main-0");
    a.start();
    let disk_id = a.until_phase(Phase::AwaitingAdmission).await.disk_id;
    let good = found_request(&a, &disk_id);
    let status = a.admin().found(good.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "without the token nothing is done");
    for (request, text) in [
        (admin::FoundRequest { expected_cluster_id: 1, ..good.clone() }, "the latch expects 1"),
        (admin::FoundRequest { disk_id: "00".into(), ..good.clone() }, "meant for another disk"),
    ] {
        let status = a.admin().found(authorized(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains(text), "{}", status.message());
    }
    a.admin().found(authorized(good.clone())).await.unwrap();
    a.until(|state| state.role() == Role::Leader).await;
    let other = admin::FoundRequest { peer_urls: vec!["http://127.0.0.1:1".into()], ..good };
    let named = (other.member_name.clone(), other.peer_urls.clone(), disk_id);
    let expected_cluster_id = membership::founding(&[named], OWNER).cluster_id;
    let other = admin::FoundRequest { expected_cluster_id, ..other };
    let status = a.admin().found(authorized(other)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");

    let stale = admin::ChangeMembershipRequest { expected_index: 77, change: Some(Change::Remove(1)) };
    let status = a.admin().change_membership(authorized(stale)).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("the configuration moved: expected index 77"), "{}", status.message());
}

fn of_owner(member: Member, uid: &str) -> Member {
    member.with_flag(&format!("--owner-uid={uid}")).with_flag("--owner-name=default/main")
}

#[tokio::test]
async fn a_directory_of_another_owner_runs_no_raft_until_it_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = of_owner(Member::awaiting(folder.path(), "main-0"), OWNER);
    first.start();
    let state = first.until_phase(Phase::AwaitingAdmission).await;
    let foreign = admin::FoundRequest { owner_uid: "other".into(), ..found_request(&first, &state.disk_id) };
    let status = first.admin().found(authorized(foreign)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("this pod belongs to default/main, UID 0f9b7c1e-uid"), "{status:?}");
    let cluster_id = found(&first).await.cluster_id;
    let revision = first.put("k", "v").await.header.unwrap().revision;
    first.kill();

    // The custom resource was made again: its pods have another owner, and mount what was kept.
    let mut second = of_owner(first, "11111111-uid");
    second.start();
    let state = second.until_phase(Phase::AwaitingAdoption).await;
    assert_eq!((state.cluster_id, state.owner_uid.as_str(), state.term), (cluster_id, OWNER, 0));
    let adopt = |cluster_id, owner_uid: &str| {
        let owner_name = "default/main".to_owned();
        authorized(admin::AdoptRequest { cluster_id, owner_uid: owner_uid.to_owned(), owner_name })
    };
    for (request, text) in [
        (adopt(cluster_id, "somebody"), "the request is of default/main, UID somebody"),
        (adopt(1, "11111111-uid"), "belongs to cluster"),
    ] {
        let status = second.admin().adopt(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains(text), "{status:?}");
    }
    second.until_phase(Phase::AwaitingAdoption).await;
    second.admin().adopt(adopt(cluster_id, "11111111-uid")).await.unwrap();
    let state = second.until_phase(Phase::Running).await;
    assert_eq!(state.owner_uid, "11111111-uid");
    assert_eq!(second.put("k", "w").await.header.unwrap().revision, revision + 1);
    second.kill();
    second.start();
    second.until_phase(Phase::Running).await;
}
