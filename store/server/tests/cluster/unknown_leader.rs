//! A member that catches up by a log that is older than its leader's membership.

use quorate_api::admin::Role;
use quorate_api::etcdserverpb as pb;

use crate::member::Member;

/// Each makes a message of its own, and they are more than a leader sends ahead of the answers.
const OLD_ENTRIES: usize = 200;
const VALUE_BYTES: usize = 160 << 10;

/// Nobody is asked to have been connected for a while before the next member is added.
const AT_ONCE: &str = "--strict-reconfig-check=false";

/// Adds a member by etcd's call and waits until it has what the others had.
async fn join(folder: &std::path::Path, name: &str, members: &[&Member], is_learner: bool) -> (Member, u64) {
    let mut joiner = Member::existing(folder, name, members).with_flag(AT_ONCE);
    let request = pb::MemberAddRequest { peer_ur_ls: vec![joiner.peer_url()], is_learner };
    // Once it is added as a voter, nothing is read before it runs.
    let (_, revision) = members[0].count().await;
    let added = members[0].cluster().member_add(request).await.unwrap().into_inner();
    joiner.start();
    joiner.until(|state| state.revision >= revision).await;
    (joiner, added.member.unwrap().id)
}

#[tokio::test]
async fn a_joiner_answers_a_leader_that_is_no_member_in_the_configurations_that_it_replays() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Member::static_cluster(folder.path(), 1).remove(0).with_flag(AT_ONCE);
    first.start();
    let value = "x".repeat(VALUE_BYTES);
    for i in 0..OLD_ENTRIES {
        first.put(&format!("k{}", i % 8), &value).await;
    }
    let (second, id) = join(folder.path(), "second", &[&first], false).await;
    second.until(|state| state.role() == Role::Follower).await;
    first.maintenance().move_leader(pb::MoveLeaderRequest { target_id: id }).await.unwrap();
    second.until(|state| state.leader_id == id).await;

    let (third, _) = join(folder.path(), "third", &[&second, &first], true).await;
    assert!(!third.log().contains("applied snapshot"), "it came by a snapshot:\n{}", third.log());
}
