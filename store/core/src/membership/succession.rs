//! Who leads when a leader goes.

use super::Membership;
use crate::log::MemberId;
use crate::replica::Progress;

/// Who should lead instead of `this`: of the other voters that were heard of lately the most caught-up one, and one whose state is known
/// to be wrong (`is_wrong`) only if there is no other. `progress` is the leader's, so nobody is found on other members.
pub fn successor(
    progress: &[Progress],
    membership: &Membership,
    this: MemberId,
    is_wrong: impl Fn(MemberId) -> bool,
) -> Option<MemberId> {
    progress
        .iter()
        .filter(|progress| progress.id != this && progress.recently_active && membership.is_lasting_voter(progress.id))
        .max_by_key(|progress| (!is_wrong(progress.id), progress.match_index))
        .map(|progress| progress.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Change, Member};

    fn three() -> Membership {
        Membership::seeded((1..4).map(|id| Member { id, ..Member::default() }))
    }

    fn nobody(_: MemberId) -> bool {
        false
    }

    #[test]
    fn the_most_caught_up_other_voter_that_is_alive_succeeds() {
        let mut membership = three();
        membership.apply(4, Change::AddLearner(Member { id: 4, ..Member::default() }));
        let at = |id, match_index, recently_active| Progress { id, match_index, recently_active };
        let all = [at(1, 9, true), at(2, 7, true), at(3, 8, true), at(4, 9, true)];
        assert_eq!(successor(&all, &membership, 1, nobody), Some(3));
        assert_eq!(successor(&[at(1, 9, true), at(2, 7, true), at(3, 8, false)], &membership, 1, nobody), Some(2));
        assert_eq!(successor(&[at(1, 9, true)], &membership, 1, nobody), None);
        assert_eq!(successor(&all, &membership, 1, |id| id == 3), Some(2));
        assert_eq!(successor(&all[..2], &membership, 1, |id| id == 2), Some(2), "better than nobody");
    }

    #[test]
    fn a_member_that_leaves_is_no_successor() {
        let mut membership = three();
        membership.apply(4, Change::Joint(vec![Change::Remove(3), Change::Remove(1)]));
        let at = |id, match_index| Progress { id, match_index, recently_active: true };
        assert_eq!(successor(&[at(1, 9), at(2, 7), at(3, 8)], &membership, 1, nobody), Some(2));
    }
}
