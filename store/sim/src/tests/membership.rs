//! Members that come, go and are upgraded: in clusters of every size, and planted bugs of it.

use super::*;

/// Counted over clusters of 1, 5 and 7 members; 3 is what the other suites have.
#[test]
fn clusters_of_one_five_and_seven_lose_nothing_under_any_fault() {
    let mut counts = Counts::default();
    for members in [1, 5, 7] {
        for seed in 1..=16 {
            let report = run(seed, &Options { members, fault_micros: 10_000_000, ..Options::default() });
            assert_eq!(report.violation, None, "{members} members, seed {seed}\n{}", trace::text());
            counts.merge(&report.counts);
        }
    }
    for happened in ["leaders removed", "joint changes begun", "joint changes ended", "members upgraded"] {
        assert!(counts.get(happened) > 0, "never happened: {happened}; {counts:?}");
    }
}

/// A member that does not answer a leader whom its old configuration lacks is left behind, or holds up whoever needs its vote.
#[test]
fn a_member_that_forgets_its_visitors_is_found() {
    let signs = ["at the end, not at", "nobody leads", "was not answered", "was led long after", "has not ended"];
    found_as(Bug::ForgetVisitors, &signs);
}

#[test]
fn a_feature_level_that_is_raised_before_all_members_know_it_is_found() {
    found_as(Bug::RaiseEarly, &["must apply"]);
}
