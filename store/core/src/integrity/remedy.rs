//! What the leader makes of the members' reports: who is wrong, and the alarms that it raises and takes back.

use std::collections::BTreeMap;

use quorate_api::etcdserverpb::{self as pb, AlarmType, alarm_request::AlarmAction};

use super::compare::compare;
use super::{Report, Verdict};
use crate::apply::Alarms;
use crate::log::MemberId;
use crate::membership::Membership;

/// Whose CORRUPT says that members differ and nobody knows who is right, as with etcd: no member serves data then.
pub const NOBODY: MemberId = 0;

/// Raises a member's CORRUPT, or lowers it.
pub fn corrupt(member_id: MemberId, raised: bool) -> pb::AlarmRequest {
    let action = if raised { AlarmAction::Activate } else { AlarmAction::Deactivate };
    pb::AlarmRequest { action: action.into(), member_id, alarm: AlarmType::Corrupt.into() }
}

/// Compares what was reported; the verdict, and what the leader proposes then, at most one request a member.
pub fn judge(
    reports: BTreeMap<MemberId, Report>,
    alarms: &Alarms,
    membership: &Membership,
) -> (Verdict, Vec<pb::AlarmRequest>) {
    let verdict = compare(&believed(reports, alarms), &membership.voter_ids().collect());
    let proposed = alarms_of(&verdict, alarms, |id| membership.is_removed(id));
    (verdict, proposed)
}

/// The reports to compare: without those of members whose CORRUPT is raised, which have nothing to say about others.
fn believed(reports: BTreeMap<MemberId, Report>, alarms: &Alarms) -> BTreeMap<MemberId, Report> {
    reports.into_iter().filter(|(id, _)| !alarms.is_corrupt(*id)).collect()
}

/// What to propose. Nothing is asked for that is so already. A member that was removed (`is_removed`) can
/// be rebuilt no more, so its alarm would stop all writes for ever.
fn alarms_of(verdict: &Verdict, alarms: &Alarms, is_removed: impl Fn(MemberId) -> bool) -> Vec<pb::AlarmRequest> {
    let undecided = alarms.is_corrupt(NOBODY);
    let gone = alarms.corrupt().filter(|id| is_removed(*id)).map(|id| corrupt(id, false));
    let (accused, lowers_nobody): (&[MemberId], bool) = match verdict {
        Verdict::Equal { by_majority } => (&[], *by_majority),
        Verdict::Diverged { members, .. } => (members, true),
        Verdict::Undecided { .. } => (&[NOBODY], false),
    };
    let fresh = accused.iter().filter(|id| !alarms.is_corrupt(**id) && !is_removed(**id));
    // First the accused, then the others may serve again.
    let raised = fresh.map(|id| corrupt(*id, true));
    raised.chain((undecided && lowers_nobody).then(|| corrupt(NOBODY, false))).chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarms(corrupt: &[MemberId]) -> Alarms {
        let raised = |id: &MemberId| pb::AlarmMember { member_id: *id, alarm: AlarmType::Corrupt.into() };
        corrupt.iter().map(raised).collect()
    }

    /// Member and whether it is raised.
    fn told(verdict: &Verdict, raised: &[MemberId]) -> Vec<(MemberId, bool)> {
        let requests = alarms_of(verdict, &alarms(raised), |id| id == 9);
        requests.iter().map(|request| (request.member_id, request.action() == AlarmAction::Activate)).collect()
    }

    #[test]
    fn the_accused_are_raised_once_and_nobody_is_lowered_when_it_is_known_who_is_wrong() {
        let diverged = Verdict::Diverged { revision: 1000, members: vec![2, 3] };
        assert_eq!(told(&diverged, &[]), [(2, true), (3, true)]);
        assert_eq!(told(&diverged, &[2]), [(3, true)]);
        assert_eq!(told(&diverged, &[NOBODY, 2]), [(3, true), (NOBODY, false)]);
    }

    #[test]
    fn nobody_is_raised_while_it_is_unknown_who_is_wrong() {
        let undecided = Verdict::Undecided { revision: 1000 };
        assert_eq!((told(&undecided, &[]), told(&undecided, &[NOBODY])), (vec![(NOBODY, true)], vec![]));
        let (all, few) = (Verdict::Equal { by_majority: true }, Verdict::Equal { by_majority: false });
        assert_eq!((told(&few, &[NOBODY]), told(&all, &[NOBODY])), (vec![], vec![(NOBODY, false)]));
        assert_eq!((told(&all, &[]), told(&all, &[2])), (vec![], vec![]), "a rebuilt member lowers its own");
    }

    #[test]
    fn the_alarm_of_a_removed_member_is_lowered() {
        assert_eq!(told(&Verdict::Equal { by_majority: false }, &[2, 9]), [(9, false)]);
        assert_eq!(told(&Verdict::Diverged { revision: 1000, members: vec![3, 9] }, &[]), [(3, true)]);
    }

    #[test]
    fn a_member_that_is_known_to_be_wrong_is_not_asked_about_others() {
        let reports = [1, 2].map(|id| (id, Report::default())).into();
        assert_eq!(believed(reports, &alarms(&[2])).into_keys().collect::<Vec<_>>(), [1]);
    }
}
