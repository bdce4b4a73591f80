//! Whether this member may become the only voter of a new cluster with all its data, because its cluster has lost its quorum for ever
//! (`Admin.Recover`). Pure; `recover` carries it out at the next start.
//!
//! What this member can know: the request means this very cluster, member, disk and owner; it is a voter of a configuration in which
//! others vote, and its data are not known to be wrong; it is fenced, so that it votes for nobody and acknowledges nothing while it is
//! decided; and before the fence it had heard of no leader for an election timeout, which is so in no member that a leader
//! reaches. That the others are lost for ever it cannot know: whoever asks must have evidence for each of them.

use quorate_api::admin::RecoverRequest;
use quorate_core::log::MemberId;
use quorate_core::membership::{Membership, recovered_cluster_id};

use super::Phase;
use crate::directory::{Member, Recovery};

/// Bytes of the word for an incident.
pub const INCIDENT_BYTES_MAX: usize = 256;

/// What the running member holds.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// As applied.
    pub membership: &'a Membership,
    /// Its data are known to be wrong.
    pub is_wrong: bool,
}

/// What follows from a request that is not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// To be made durable, then carried out.
    Begin(Recovery),
    /// A repeat of what is intended or done already.
    Known(Recovery),
}

/// Why a recovery is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this directory is in no cluster: there is nothing to recover")]
    NoCluster,
    #[error("member {member_id:x} was removed from cluster {cluster_id:x}: recover a member that was not")]
    Removed { cluster_id: u64, member_id: MemberId },
    #[error("this member is of cluster {own:x}, the request is for {given:x}: read its state again (MemberState)")]
    Cluster { own: u64, given: u64 },
    #[error("this is member {own:x}, the request is for {given:x}: it was meant for another member")]
    Member { own: MemberId, given: MemberId },
    #[error("this directory has disk id {own}, the request is for {given}: it was meant for another disk")]
    Disk { own: String, given: String },
    #[error("this directory is owned by {own:?}, the request is of {given:?}: adopt it first")]
    Owner { own: String, given: String },
    #[error(
        "incident {given:?} is not {known:?}, for which cluster {from:x} is recovered here as {into:x}: \
         a further recovery must name cluster {into:x}, once it is there"
    )]
    OtherIncident { given: String, known: String, from: u64, into: u64 },
    #[error(
        "the cluster would be recovered as {made:x}, the request expects {expected:x}: cluster, member or incident differ"
    )]
    NewCluster { made: u64, expected: u64 },
    #[error(
        "raft does not run (phase {0:?}), so nobody can tell what this member holds: try again when it is in phase Fenced"
    )]
    NotRunning(Phase),
    #[error("this member takes part in its cluster: fence it first (Fence), so that it votes for nobody meanwhile")]
    NotFenced,
    #[error(
        "within an election timeout before its fence this member heard of a leader, led, or did not run: its cluster may have a quorum; \
         lift the fence, and fence it again when it has heard of no leader for an election timeout"
    )]
    Leader,
    #[error(
        "member {0:x} is no voter of the configuration that it applied: it may lack what was acknowledged, recover a voter"
    )]
    NotVoter(MemberId),
    #[error("member {0:x} is the only voter of its cluster and needs no other: lift its fence")]
    SoleVoter(MemberId),
    #[error(
        "the data of member {0:x} are known to be wrong (alarm CORRUPT): recover another voter, or restore a backup"
    )]
    Corrupt(MemberId),
}

/// Decides what to do with a request. `held` is `None` while raft does not run.
///
/// # Errors
/// Why it is refused, with the remedy.
pub fn decide(
    member: &Member,
    phase: Phase,
    held: Option<Held<'_>>,
    request: &RecoverRequest,
) -> Result<Decision, Refused> {
    if let Some(known) = repeated(member, request)? {
        return Ok(Decision::Known(known));
    }
    let id = request.member_id;
    let Some(Held { membership, is_wrong }) = held else { return Err(Refused::NotRunning(phase)) };
    if !member.is_fenced() {
        return Err(Refused::NotFenced);
    }
    if !membership.is_lasting_voter(id) {
        return Err(Refused::NotVoter(id));
    }
    if membership.voters() == 1 {
        return Err(Refused::SoleVoter(id));
    }
    if !member.fenced_leaderless {
        return Err(Refused::Leader);
    }
    if is_wrong {
        return Err(Refused::Corrupt(id));
    }
    let cluster_id = recovered_cluster_id(request.cluster_id, id, &request.incident);
    check_expected(request, cluster_id)?;
    let RecoverRequest { cluster_id: from_cluster_id, incident, .. } = request.clone();
    Ok(Decision::Begin(Recovery { incident, from_cluster_id, cluster_id, done: false }))
}

/// Checks that the request means this directory, and finds what it repeats.
fn repeated(member: &Member, request: &RecoverRequest) -> Result<Option<Recovery>, Refused> {
    if let Some(tombstone) = &member.tombstone {
        return Err(Refused::Removed { cluster_id: tombstone.cluster_id, member_id: tombstone.member_id });
    }
    let identity = member.identity.as_ref().ok_or(Refused::NoCluster)?;
    if identity.member_id != request.member_id {
        return Err(Refused::Member { own: identity.member_id, given: request.member_id });
    }
    if member.disk_id != request.disk_id {
        return Err(Refused::Disk { own: member.disk_id.clone(), given: request.disk_id.clone() });
    }
    let owner = member.owner.as_ref().map_or("", |owner| owner.uid.as_str());
    if owner != request.owner_uid {
        return Err(Refused::Owner { own: owner.to_owned(), given: request.owner_uid.clone() });
    }
    if let Some(known) = member.recovery.as_ref().filter(|known| known.from_cluster_id == request.cluster_id) {
        if known.incident != request.incident {
            return Err(Refused::OtherIncident {
                given: request.incident.clone(),
                known: known.incident.clone(),
                from: known.from_cluster_id,
                into: known.cluster_id,
            });
        }
        check_expected(request, known.cluster_id)?;
        return Ok(Some(known.clone()));
    }
    if identity.cluster_id != request.cluster_id {
        return Err(Refused::Cluster { own: identity.cluster_id, given: request.cluster_id });
    }
    Ok(None)
}

fn check_expected(request: &RecoverRequest, made: u64) -> Result<(), Refused> {
    match request.expected_cluster_id {
        0 => Ok(()),
        expected if expected == made => Ok(()),
        expected => Err(Refused::NewCluster { made, expected }),
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::membership::{self, Change};

    use super::*;
    use crate::directory::{Identity, Owner, Seed, Setting, Tombstone};

    const OLD: u64 = 0xc1;
    const DISK: &str = "00112233445566778899aabbccddeeff";

    /// Member 1 of voters 1 to 3, fenced when it had heard of no leader for long.
    fn member() -> Member {
        Member {
            identity: Some(Identity { cluster_id: OLD, member_id: 1, name: "m1".into() }),
            owner: Some(Owner { uid: "uid".into(), name: "default/main".into() }),
            fence: Some(Setting { generation: 1, value: true }),
            fenced_leaderless: true,
            ..crate::directory::Member::born(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 0)
        }
    }

    fn request() -> RecoverRequest {
        RecoverRequest {
            cluster_id: OLD,
            member_id: 1,
            disk_id: DISK.into(),
            owner_uid: "uid".into(),
            incident: "i-1".into(),
            expected_cluster_id: 0,
        }
    }

    fn voters(ids: &[MemberId]) -> Membership {
        let member = |id: &MemberId| {
            let peer_urls = vec![format!("http://p{id}:2380")];
            membership::Member { id: *id, peer_urls, ..Default::default() }
        };
        Membership::seeded(ids.iter().map(member))
    }

    fn decided(member: &Member, membership: &Membership, request: &RecoverRequest) -> Result<Decision, Refused> {
        decide(member, Phase::Fenced, Some(Held { membership, is_wrong: false }), request)
    }

    /// The member after the recovery that the request asks for.
    fn recovered() -> (Member, Recovery) {
        let mut member = member();
        let Ok(Decision::Begin(recovery)) = decided(&member, &voters(&[1, 2, 3]), &request()) else { panic!() };
        member.recovery = Some(recovery.clone());
        let survivor = Seed { id: 1, name: "m1".into(), peer_urls: Vec::new(), learner: false, disk_id: String::new() };
        member.finish_recovery(survivor);
        (member, recovery)
    }

    #[test]
    fn a_fenced_voter_of_a_cluster_without_a_leader_is_recovered_under_a_new_id() {
        let id = recovered_cluster_id(OLD, 1, "i-1");
        let recovery = Recovery { incident: "i-1".into(), from_cluster_id: OLD, cluster_id: id, done: false };
        let expected = RecoverRequest { expected_cluster_id: id, ..request() };
        for request in [request(), expected] {
            assert_eq!(decided(&member(), &voters(&[1, 2]), &request), Ok(Decision::Begin(recovery.clone())));
        }
    }

    #[test]
    fn a_request_that_means_anything_else_is_refused() {
        let refusals = [
            (RecoverRequest { cluster_id: 9, ..request() }, Refused::Cluster { own: OLD, given: 9 }),
            (RecoverRequest { member_id: 2, ..request() }, Refused::Member { own: 1, given: 2 }),
            (
                RecoverRequest { disk_id: "other".into(), ..request() },
                Refused::Disk { own: DISK.into(), given: "other".into() },
            ),
            (
                RecoverRequest { owner_uid: String::new(), ..request() },
                Refused::Owner { own: "uid".into(), given: String::new() },
            ),
            (
                RecoverRequest { expected_cluster_id: 5, ..request() },
                Refused::NewCluster { made: recovered_cluster_id(OLD, 1, "i-1"), expected: 5 },
            ),
        ];
        for (request, refused) in refusals {
            assert_eq!(decided(&member(), &voters(&[1, 2, 3]), &request), Err(refused));
        }
    }

    #[test]
    fn a_member_whose_state_does_not_allow_it_is_refused() {
        let three = voters(&[1, 2, 3]);
        let check = |member: &Member, membership: &Membership| decided(member, membership, &request());
        assert_eq!(check(&Member { fence: None, ..member() }, &three), Err(Refused::NotFenced));
        assert_eq!(check(&Member { fenced_leaderless: false, ..member() }, &three), Err(Refused::Leader));
        assert_eq!(check(&Member { identity: None, ..member() }, &three), Err(Refused::NoCluster));
        let tombstone = Some(Tombstone { cluster_id: OLD, member_id: 1, index: 0, unix_seconds: 0 });
        let removed = Refused::Removed { cluster_id: OLD, member_id: 1 };
        assert_eq!(check(&Member { tombstone, ..member() }, &three), Err(removed));
        assert_eq!(check(&member(), &voters(&[1])), Err(Refused::SoleVoter(1)));
        assert_eq!(check(&member(), &voters(&[2, 3])), Err(Refused::NotVoter(1)));
        let mut learns = voters(&[2, 3]);
        let learner = membership::Member { id: 1, peer_urls: vec!["http://p1:2380".into()], ..Default::default() };
        learns.apply(9, Change::AddLearner(learner));
        assert_eq!(check(&member(), &learns), Err(Refused::NotVoter(1)));
        let corrupt = Some(Held { membership: &three, is_wrong: true });
        assert_eq!(decide(&member(), Phase::Fenced, corrupt, &request()), Err(Refused::Corrupt(1)));
        let starting = decide(&member(), Phase::Starting, None, &request());
        assert_eq!(starting, Err(Refused::NotRunning(Phase::Starting)));
    }

    #[test]
    fn a_repeat_is_answered_alike_before_and_after_it_is_done_and_without_raft() {
        let (done, recovery) = recovered();
        let pending = Member { recovery: Some(recovery.clone()), ..member() };
        for (member, done) in [(pending, false), (done, true)] {
            let known = Ok(Decision::Known(Recovery { done, ..recovery.clone() }));
            assert_eq!(decide(&member, Phase::Starting, None, &request()), known);
            let other = decide(&member, Phase::Starting, None, &RecoverRequest { incident: "i-2".into(), ..request() });
            assert!(matches!(other, Err(Refused::OtherIncident { .. })), "{other:?}");
            let expecting = RecoverRequest { expected_cluster_id: 5, ..request() };
            let expecting = decide(&member, Phase::Starting, None, &expecting);
            assert_eq!(expecting, Err(Refused::NewCluster { made: recovery.cluster_id, expected: 5 }));
        }
    }

    #[test]
    fn a_recovered_cluster_that_lost_its_quorum_too_is_recovered_again_by_its_own_id() {
        let (mut member, first) = recovered();
        assert!(!member.is_fenced() && !member.fenced_leaderless);
        member.set_fence(2, true).unwrap();
        member.fenced_leaderless = true;
        let again = RecoverRequest { cluster_id: first.cluster_id, ..request() };
        let Ok(Decision::Begin(second)) = decided(&member, &voters(&[1, 5]), &again) else { panic!() };
        assert_eq!(second.from_cluster_id, first.cluster_id);
        assert!(![OLD, first.cluster_id].contains(&second.cluster_id));
    }

    #[test]
    fn the_fence_of_a_member_that_is_to_be_recovered_stays_up() {
        let (_, recovery) = recovered();
        let mut pending = Member { recovery: Some(recovery), ..member() };
        let refused = pending.set_fence(2, false).unwrap_err().to_string();
        assert!(refused.contains("incident \"i-1\""), "{refused}");
        assert!(pending.is_fenced());
        pending.set_fence(2, true).unwrap();
    }
}
