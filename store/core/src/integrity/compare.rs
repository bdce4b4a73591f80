//! Compares what members report, at equal revisions.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use crate::log::MemberId;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody differs from anybody, as far as revisions are shared; `by_majority` = and more than half of the voters share one.
    Equal { by_majority: bool },
    /// These differ from what more than half of all voters agree on; ascending.
    Diverged { revision: i64, members: Vec<MemberId> },
    /// Members differ, and no majority of the voters says who is right.
    Undecided { revision: i64 },
}

/// Who has which hash at a revision.
type Hashes = BTreeMap<u64, Vec<MemberId>>;

/// Looks at every revision that members share, those with the most members first, then the newest. A hash is right when more than half
/// of all voters have it, those that did not answer among them: two of five that agree may be the two that are wrong.
pub fn compare(reports: &BTreeMap<MemberId, Report>, voters: &BTreeSet<MemberId>) -> Verdict {
    let mut places: BTreeMap<(i64, i64), Hashes> = BTreeMap::new();
    for (id, report) in reports {
        for point in &report.points {
            let hashes = places.entry((report.since, point.revision)).or_default();
            hashes.entry(point.hash).or_default().push(*id);
        }
    }
    let is_right = |ids: &[MemberId]| 2 * ids.iter().filter(|id| voters.contains(id)).count() > voters.len();
    let right = |hashes: &Hashes| hashes.iter().find(|(_, ids)| is_right(ids)).map(|(hash, _)| *hash);
    let count = |hashes: &Hashes| hashes.values().map(Vec::len).sum::<usize>();
    let differing = places.iter().filter(|(_, hashes)| hashes.len() > 1);
    let place = differing.max_by_key(|((_, revision), hashes)| (count(hashes), *revision));
    let Some(((_, revision), hashes)) = place else {
        return Verdict::Equal { by_majority: places.values().any(|hashes| right(hashes).is_some()) };
    };
    let revision = *revision;
    let Some(right) = right(hashes) else { return Verdict::Undecided { revision } };
    let others = hashes.iter().filter(|(hash, _)| **hash != right);
    let mut members: Vec<MemberId> = others.flat_map(|(_, ids)| ids.iter().copied()).collect();
    members.sort_unstable();
    Verdict::Diverged { revision, members }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::Point;

    /// Member, since which revision it counts, its points.
    type Told<'a> = (MemberId, i64, &'a [(i64, u64)]);

    /// Of members 1 to `voters` as voters.
    fn verdict(voters: u64, of: &[Told<'_>]) -> Verdict {
        let report = |since, points: &[(i64, u64)]| Report {
            since,
            points: points.iter().map(|(revision, hash)| Point { revision: *revision, hash: *hash }).collect(),
        };
        let reports = of.iter().map(|(id, since, points)| (*id, report(*since, points))).collect();
        compare(&reports, &(1..=voters).collect())
    }

    #[test]
    fn the_minority_is_named() {
        let equal = [(1, 2, &[(1000, 7), (2000, 8)][..]), (2, 2, &[(1000, 7)]), (3, 2, &[])];
        assert_eq!(verdict(3, &equal), Verdict::Equal { by_majority: true });
        let one = [(1, 2, &[(1000, 7)][..]), (2, 2, &[(1000, 9)]), (3, 2, &[(1000, 7)])];
        assert_eq!(verdict(3, &one), Verdict::Diverged { revision: 1000, members: vec![2] });
        // The newest revision is shared by two alone; all three decide at the one before.
        let behind = [(1, 2, &[(1000, 7), (2000, 8)][..]), (2, 2, &[(1000, 9), (2000, 1)]), (3, 2, &[(1000, 7)])];
        assert_eq!(verdict(3, &behind), Verdict::Diverged { revision: 1000, members: vec![2] });
    }

    #[test]
    fn without_a_majority_of_all_voters_nobody_is_named() {
        let two = [(1, 2, &[(1000, 7)][..]), (2, 2, &[(1000, 9)])];
        assert_eq!(verdict(2, &two), Verdict::Undecided { revision: 1000 });
        assert_eq!(verdict(3, &two), Verdict::Undecided { revision: 1000 }, "the third may side with either");
        let three = [(1, 2, &[(1000, 7)][..]), (2, 2, &[(1000, 9)]), (3, 2, &[(1000, 7)])];
        assert_eq!(verdict(5, &three), Verdict::Undecided { revision: 1000 }, "two of five are no majority");
        // A learner is named as any other, and its word counts for nothing.
        let learner = [(1, 2, &[(1000, 7)][..]), (9, 2, &[(1000, 9)])];
        assert_eq!(verdict(1, &learner), Verdict::Diverged { revision: 1000, members: vec![9] });
        let learners = [(1, 2, &[(1000, 7)][..]), (2, 2, &[(1000, 7)]), (8, 2, &[(1000, 9)]), (9, 2, &[(1000, 9)])];
        assert_eq!(verdict(2, &learners), Verdict::Diverged { revision: 1000, members: vec![8, 9] });
        assert_eq!(verdict(3, &two[..1]), Verdict::Equal { by_majority: false });
    }

    #[test]
    fn hashes_of_different_beginnings_are_not_compared() {
        let upgraded = [(1, 2001, &[(3000, 7)][..]), (2, 3001, &[(3000, 9)])];
        assert_eq!(verdict(2, &upgraded), Verdict::Equal { by_majority: false });
    }
}
