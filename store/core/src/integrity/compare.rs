//! Compares what members report, at equal revisions.

use std::collections::BTreeMap;

use super::Report;
use crate::log::MemberId;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody differs from anybody, as far as revisions are shared.
    Equal,
    /// These differ from what more than half of all that were compared agree on; ascending.
    Diverged { revision: i64, members: Vec<MemberId> },
    /// Members differ and no majority says who is right: all of them.
    Undecided { revision: i64, members: Vec<MemberId> },
}

/// Looks at every revision that members share, those with the most members first, then the newest.
pub fn compare(reports: &BTreeMap<MemberId, Report>) -> Verdict {
    let mut places: BTreeMap<(i64, i64), BTreeMap<u64, Vec<MemberId>>> = BTreeMap::new();
    for (id, report) in reports {
        for point in &report.points {
            let hashes = places.entry((report.since, point.revision)).or_default();
            hashes.entry(point.hash).or_default().push(*id);
        }
    }
    let count = |hashes: &BTreeMap<u64, Vec<MemberId>>| hashes.values().map(Vec::len).sum::<usize>();
    let differing = places.iter().filter(|(_, hashes)| hashes.len() > 1);
    let Some(((_, revision), hashes)) = differing.max_by_key(|((_, revision), hashes)| (count(hashes), *revision))
    else {
        return Verdict::Equal;
    };
    let revision = *revision;
    let all = count(hashes);
    let majority = hashes.iter().find(|(_, ids)| 2 * ids.len() > all).map(|(hash, _)| *hash);
    let others = hashes.iter().filter(|(hash, _)| Some(**hash) != majority);
    let mut members: Vec<MemberId> = others.flat_map(|(_, ids)| ids.iter().copied()).collect();
    members.sort_unstable();
    match majority {
        Some(_) => Verdict::Diverged { revision, members },
        None => Verdict::Undecided { revision, members },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::Point;

    /// Member, since which revision it counts, its points.
    type Told<'a> = (MemberId, i64, &'a [(i64, u64)]);

    fn reports(of: &[Told<'_>]) -> BTreeMap<MemberId, Report> {
        let report = |since, points: &[(i64, u64)]| Report {
            since,
            points: points.iter().map(|(revision, hash)| Point { revision: *revision, hash: *hash }).collect(),
        };
        of.iter().map(|(id, since, points)| (*id, report(*since, points))).collect()
    }

    #[test]
    fn the_minority_is_named_and_without_a_majority_everybody() {
        let equal = reports(&[(1, 2, &[(1000, 7), (2000, 8)]), (2, 2, &[(1000, 7)]), (3, 2, &[])]);
        assert_eq!(compare(&equal), Verdict::Equal);
        let one = reports(&[(1, 2, &[(1000, 7)]), (2, 2, &[(1000, 9)]), (3, 2, &[(1000, 7)])]);
        assert_eq!(compare(&one), Verdict::Diverged { revision: 1000, members: vec![2] });
        let two = reports(&[(1, 2, &[(1000, 7)]), (2, 2, &[(1000, 9)])]);
        assert_eq!(compare(&two), Verdict::Undecided { revision: 1000, members: vec![1, 2] });
        // The newest revision is shared by two alone; all three decide at the one before.
        let behind = reports(&[(1, 2, &[(1000, 7), (2000, 8)]), (2, 2, &[(1000, 9), (2000, 1)]), (3, 2, &[(1000, 7)])]);
        assert_eq!(compare(&behind), Verdict::Diverged { revision: 1000, members: vec![2] });
    }

    #[test]
    fn hashes_of_different_beginnings_are_not_compared() {
        let upgraded = reports(&[(1, 2001, &[(3000, 7)]), (2, 3001, &[(3000, 9)])]);
        assert_eq!(compare(&upgraded), Verdict::Equal);
    }
}
