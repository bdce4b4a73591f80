//! A cluster that lost its quorum for ever goes on with one survivor (`Admin.Recover`), under a new id and with all its data.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quorate_api::admin::{self, MemberStateResponse, Phase, RecoverRequest, RecoverResponse, Role};
use quorate_api::etcdserverpb as pb;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_core::membership::recovered_cluster_id;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::admission::{add_learner, change, configuration, found, join};
use crate::member::{Member, authorized};

const INCIDENT: &str = "lost-on-a-friday";

async fn fence(member: &Member, generation: u64, fenced: bool) -> Result<(), Status> {
    member.admin().fence(authorized(admin::FenceRequest { generation, fenced })).await.map(|_| ())
}

async fn recover(member: &Member, request: RecoverRequest) -> Result<RecoverResponse, Status> {
    member.admin().recover(authorized(request)).await.map(tonic::Response::into_inner)
}

fn request(state: &MemberStateResponse) -> RecoverRequest {
    RecoverRequest {
        cluster_id: state.cluster_id,
        member_id: state.member_id,
        disk_id: state.disk_id.clone(),
        owner_uid: state.owner_uid.clone(),
        incident: INCIDENT.to_owned(),
        expected_cluster_id: 0,
    }
}

async fn assert_refused(member: &Member, request: RecoverRequest, text: &str) {
    let refused = recover(member, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(text), "{text:?} is not in {:?}", refused.message());
}

/// A lease of ten minutes with a key, that is granted before the quorum is lost.
const LEASE: i64 = 77;
const LEASE_SECONDS: i64 = 600;

async fn grant(member: &Member) {
    let grant = pb::LeaseGrantRequest { id: LEASE, ttl: LEASE_SECONDS };
    member.lease().lease_grant(grant).await.unwrap();
    let put = pb::PutRequest { key: "leased".into(), lease: LEASE, ..Default::default() };
    member.kv().put(put).await.unwrap();
}

async fn assert_leased(member: &Member) {
    let ask = pb::LeaseTimeToLiveRequest { id: LEASE, keys: true };
    let left = member.lease().lease_time_to_live(ask).await.unwrap().into_inner();
    assert_eq!((left.granted_ttl, left.keys), (LEASE_SECONDS, vec!["leased".into()]));
    assert!((1..=LEASE_SECONDS).contains(&left.ttl), "{} s are left", left.ttl);
}

/// Puts as fast as this member answers, several at a time, until it does not answer any more; returns the acknowledged keys.
fn write(kv: &KvClient<Channel>, acknowledged: &Arc<AtomicUsize>) -> tokio::task::JoinHandle<Vec<String>> {
    let (kv, count) = (kv.clone(), acknowledged.clone());
    let over = Arc::new(AtomicBool::new(false));
    let writer = move |name: usize| {
        let (mut kv, count, over) = (kv.clone(), count.clone(), over.clone());
        async move {
            let mut keys = Vec::new();
            for number in 0.. {
                let key = format!("load-{name}-{number}");
                let put = pb::PutRequest { key: key.clone().into_bytes().into(), ..Default::default() };
                if over.load(Ordering::Relaxed) || kv.put(put).await.is_err() {
                    over.store(true, Ordering::Relaxed);
                    break;
                }
                count.fetch_add(1, Ordering::Relaxed);
                keys.push(key);
            }
            keys
        }
    };
    tokio::spawn(async move { futures::future::join_all((0..8).map(writer)).await.concat() })
}

/// Kills two of three, the second under load, so that everything which was acknowledged since is in the log of the survivor, and the
/// end of it may be known as committed to nobody. Returns survivor, the member that is killed last, and the acknowledged keys.
async fn quorum_lost(folder: &Path) -> (Member, Member, Vec<String>) {
    let mut members = Member::static_cluster(folder, 3);
    members.iter_mut().for_each(Member::start);
    let revision = members[0].put("first", "v").await.header.unwrap().revision;
    for member in &members {
        member.until(|state| state.revision >= revision && state.leader_id != 0).await;
    }
    let leader = members[0].until(|state| state.leader_id != 0).await.leader_id;
    let mut leading = None;
    for at in 0..members.len() {
        if members[at].until(|_| true).await.member_id == leader {
            leading = Some(members.remove(at));
            break;
        }
    }
    let (mut leading, mut first, survivor) = (leading.unwrap(), members.remove(0), members.remove(0));
    grant(&leading).await;
    first.kill();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let load = write(&leading.kv(), &acknowledged);
    while acknowledged.load(Ordering::Relaxed) < 500 {
        assert!(!load.is_finished(), "{}", leading.log());
        tokio::task::yield_now().await;
    }
    leading.kill();
    (survivor, leading, load.await.unwrap())
}

/// Fences a member whose cluster lost its quorum, asks for its recovery, and starts it anew when it has ended.
async fn recovered(survivor: &mut Member) -> (MemberStateResponse, RecoverResponse) {
    let before = survivor.until(|state| state.leaderless).await;
    fence(survivor, 1, true).await.unwrap();
    let answer = recover(survivor, request(&before)).await.unwrap();
    assert_eq!(survivor.until_exit().await, Some(0), "{}", survivor.log());
    survivor.start();
    survivor.until(|state| state.role() == Role::Leader).await;
    (before, answer)
}

#[tokio::test]
async fn a_survivor_holds_every_acknowledged_write_and_takes_new_ones_as_a_cluster_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut survivor, mut old, acknowledged) = quorum_lost(folder.path()).await;
    let at_first = survivor.until(|state| state.leaderless).await;
    let hash = survivor.hash_kv(at_first.revision).await;
    let (before, answer) = recovered(&mut survivor).await;
    let id = recovered_cluster_id(before.cluster_id, before.member_id, INCIDENT);
    assert_eq!((answer.cluster_id, answer.member_id), (id, before.member_id));

    let (count, revision) = survivor.count().await;
    assert!(count > i64::try_from(acknowledged.len()).unwrap(), "{count} of {} keys are there", acknowledged.len());
    assert!(revision >= at_first.revision);
    for key in &acknowledged {
        let range = pb::RangeRequest { key: key.clone().into_bytes().into(), ..Default::default() };
        let found = survivor.kv().range(range).await.unwrap().into_inner();
        assert_eq!(found.count, 1, "{key} was acknowledged and is lost");
    }
    assert_eq!(survivor.hash_kv(at_first.revision).await.hash, hash.hash, "the history goes on");
    assert_leased(&survivor).await;
    let header = survivor.put("after", "v").await.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.revision), (id, before.member_id, revision + 1));

    let after = survivor.until_phase(Phase::Running).await;
    assert_eq!((after.cluster_id, after.member_id, &after.disk_id), (id, before.member_id, &before.disk_id));
    assert!(after.term > before.term && after.applied_index > before.applied_index && !after.leaderless);
    let members = after.configuration.clone().unwrap().members;
    assert_eq!(
        members.iter().map(|member| (member.id, member.learner)).collect::<Vec<_>>(),
        [(after.member_id, false)]
    );
    assert_eq!(survivor.get("/readyz").0, 200);

    // The same request again, and others.
    assert_eq!(recover(&survivor, request(&before)).await.unwrap(), answer, "a repeat is answered alike");
    let other = RecoverRequest { incident: "another".into(), ..request(&before) };
    assert_refused(&survivor, other, &format!("must name cluster {id:x}")).await;
    fence(&survivor, 2, true).await.unwrap();
    assert_refused(&survivor, request(&after), "is the only voter of its cluster").await;
    fence(&survivor, 3, false).await.unwrap();

    // A member of the old cluster comes back with its old data.
    old.start();
    let refused = format!("this member is of cluster {id:x}, the caller of {:x}", before.cluster_id);
    old.until(|_| old.log().contains(&refused)).await;
    let revision = survivor.put("beside the old", "v").await.header.unwrap().revision;
    assert_eq!(revision, survivor.count().await.1);
    assert_eq!(configuration(&survivor).await.members, members);
}

#[tokio::test]
async fn an_empty_member_joins_a_recovered_cluster_by_a_snapshot_and_never_hears_of_the_old_members() {
    let folder = tempfile::tempdir().unwrap();
    let (mut survivor, _old, acknowledged) = quorum_lost(folder.path()).await;
    let (before, answer) = recovered(&mut survivor).await;
    let mut joiner = Member::awaiting(folder.path(), "joiner");
    joiner.start();
    let id = add_learner(&survivor, &joiner).await;
    let change = admin::change_membership_request::Change::Promote(id);
    crate::admission::change(&survivor, change).await.unwrap();
    let joined = joiner.until(|state| state.role() == Role::Follower).await;
    assert_eq!(joined.cluster_id, answer.cluster_id);
    assert!(joiner.log().contains("applied snapshot"), "it replayed the old log:\n{}", joiner.log());
    for lost in before.configuration.unwrap().members.iter().filter(|member| member.id != before.member_id) {
        let told = format!("{:x}", lost.id);
        assert!(!joiner.log().contains(&told), "the joiner heard of {told}:\n{}", joiner.log());
    }

    let revision = joiner.put("both", "v").await.header.unwrap().revision;
    survivor.until(|state| state.revision >= revision).await;
    let (count, _) = joiner.count().await;
    assert!(count > i64::try_from(acknowledged.len()).unwrap());
    let same = configuration(&survivor).await;
    let joined = joiner.until(|state| state.configuration.as_ref().is_some_and(|c| c.index == same.index)).await;
    assert_eq!(joined.configuration, Some(same), "both have the same membership");
    assert_eq!(joiner.hash_kv(revision).await.hash, survivor.hash_kv(revision).await.hash);

    // Its quorum is lost as well: the second recovery of the same directory.
    joiner.kill();
    let before = survivor.until(|state| state.leaderless).await;
    fence(&survivor, 2, true).await.unwrap();
    let again = recover(&survivor, request(&before)).await.unwrap();
    assert_eq!(again.cluster_id, recovered_cluster_id(answer.cluster_id, answer.member_id, INCIDENT));
    assert_eq!(survivor.until_exit().await, Some(0), "{}", survivor.log());
    survivor.start();
    let header = survivor.put("again", "v").await.header.unwrap();
    assert_eq!((header.cluster_id, header.revision), (again.cluster_id, revision + 1));
}

#[tokio::test]
async fn a_member_that_need_not_or_must_not_be_recovered_is_refused_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut members: Vec<Member> = (0..3).map(|i| Member::awaiting(folder.path(), &format!("main-{i}"))).collect();
    members.iter_mut().for_each(Member::start);
    let [a, b, learner] = &members[..] else { unreachable!("three were made") };
    let awaiting = a.until_phase(Phase::AwaitingAdmission).await;
    assert_refused(a, request(&awaiting), "is in no cluster").await;
    found(a).await;
    let alone = a.until_phase(Phase::Running).await;
    fence(a, 1, true).await.unwrap();
    assert_refused(a, request(&alone), "is the only voter of its cluster").await;
    fence(a, 2, false).await.unwrap();
    a.put("k", "v").await;

    join(a, b).await;
    add_learner(a, learner).await;
    let learns = learner.until(|state| state.role() == Role::Learner).await;
    fence(learner, 1, true).await.unwrap();
    assert_refused(learner, request(&learns), "is no voter of the configuration").await;

    let state = b.until(|state| state.leader_id != 0).await;
    assert!(!state.leaderless);
    assert_refused(b, request(&state), "fence it first").await;
    fence(b, 1, true).await.unwrap();
    assert_refused(b, request(&state), "heard of a leader").await;
    for (request, text) in [
        (RecoverRequest { cluster_id: 7, ..request(&state) }, "the request is for 7"),
        (RecoverRequest { member_id: 7, ..request(&state) }, "the request is for 7"),
        (RecoverRequest { disk_id: "7".into(), ..request(&state) }, "the request is for 7"),
        (RecoverRequest { owner_uid: "7".into(), ..request(&state) }, "the request is of \"7\""),
    ] {
        assert_refused(b, request, text).await;
    }
    let unnamed = recover(b, RecoverRequest { incident: String::new(), ..request(&state) }).await.unwrap_err();
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    fence(b, 2, false).await.unwrap();
    let revision = a.put("k", "w").await.header.unwrap().revision;
    b.until(|state| state.revision >= revision).await;

    // Removed: nothing of the cluster is its own any more.
    change(a, admin::change_membership_request::Change::Remove(state.member_id)).await.unwrap();
    members[1].wait();
    members[1].start();
    let removed = members[1].until_phase(Phase::Removed).await;
    assert_refused(&members[1], request(&removed), "was removed from cluster").await;
}

#[tokio::test]
async fn what_a_fence_knew_of_a_leader_outlives_a_restart_and_ends_with_the_fence() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 2);
    members.iter_mut().for_each(Member::start);
    members[0].put("k", "v").await;
    members[1].kill();
    let survivor = &mut members[0];
    survivor.until(|state| state.leaderless).await;
    fence(survivor, 1, true).await.unwrap();
    survivor.kill();
    survivor.start();
    let state = survivor.until(|state| state.phase() == Phase::Fenced && state.configuration.is_some()).await;
    assert!(state.leaderless, "{state:?}");
    fence(survivor, 2, false).await.unwrap();
    fence(survivor, 3, true).await.unwrap();
    assert_refused(survivor, request(&state), "heard of a leader").await;
    fence(survivor, 4, false).await.unwrap();
    let again = survivor.until(|state| state.leaderless).await;
    fence(survivor, 5, true).await.unwrap();
    let answer = recover(survivor, request(&again)).await.unwrap();
    assert_eq!(survivor.until_exit().await, Some(0), "{}", survivor.log());
    survivor.start();
    assert_eq!(survivor.put("k", "w").await.header.unwrap().cluster_id, answer.cluster_id);
}

#[tokio::test]
async fn force_new_cluster_keeps_the_cluster_id_and_what_may_have_been_acknowledged_and_drops_the_others() {
    const FLAG: &str = "--force-new-cluster";
    let folder = tempfile::tempdir().unwrap();
    let (mut survivor, mut old, acknowledged) = quorum_lost(folder.path()).await;
    let before = survivor.until(|state| state.leaderless).await;
    survivor.kill();
    let mut survivor = survivor.with_flag(FLAG);
    survivor.start();
    let header = survivor.put("after", "v").await.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id), (before.cluster_id, before.member_id));
    for key in &acknowledged {
        let range = pb::RangeRequest { key: key.clone().into_bytes().into(), ..Default::default() };
        assert_eq!(survivor.kv().range(range).await.unwrap().into_inner().count, 1, "{key} is lost");
    }
    assert_leased(&survivor).await;
    let alone = configuration(&survivor).await;
    assert_eq!(alone.members.iter().map(|member| member.id).collect::<Vec<_>>(), [before.member_id]);

    // Set again it finds nothing to do, also when the state on disk is behind the log.
    survivor.kill();
    survivor.start();
    survivor.put("again", "v").await;
    assert_eq!(configuration(&survivor).await, alone);
    assert_eq!(survivor.log().matches("--force-new-cluster is set").count(), 1, "{}", survivor.log());
    survivor.kill();
    let mut survivor = survivor.without_flag(FLAG);
    survivor.start();
    let revision = survivor.put("without", "v").await.header.unwrap().revision;
    assert_eq!(revision, header.revision + 2);

    // As in etcd, who comes back is told that it was removed.
    old.start();
    assert_eq!(old.until_exit().await, Some(0), "{}", old.log());
    assert!(old.log().contains("this member was removed"), "{}", old.log());
}

#[tokio::test]
async fn force_new_cluster_founds_an_empty_member_as_if_it_were_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let members = Member::static_cluster(folder.path(), 2).into_iter();
    let mut members: Vec<Member> = members.map(|member| member.with_flag("--force-new-cluster")).collect();
    members.iter_mut().for_each(Member::start);
    members[0].put("k", "v").await;
    assert_eq!(
        configuration(crate::admission::leader(&members.iter().collect::<Vec<_>>()).await).await.members.len(),
        2
    );
}
