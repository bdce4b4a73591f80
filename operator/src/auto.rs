//! Profile `Auto`: timers that fit the round trips between the members (rule H). They change only when the round trips of ten minutes
//! ask for it, with a factor of two between the way up and the way down, and at most once an hour, so that no wave of the network
//! makes timers swing.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::crd::RaftProfile;
use crate::desired::{Desired, Timers};
use crate::latch::Tuning;

/// Round trips of so long are judged.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Between two samples.
const SAMPLE_EVERY: SignedDuration = SignedDuration::from_secs(5);
/// Without a sample for so long, what was seen before counts for nothing.
const GAP_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Between two changes.
const CHANGE_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// Samples in a window.
const SAMPLES_MAX: usize = 128;

/// Profiles by rising round trip, each with the longest that it is meant for, in microseconds: its heartbeat interval is at least five
/// times that.
const PROFILES: [(RaftProfile, u64); 3] =
    [(RaftProfile::LowLatency, 10_000), (RaftProfile::CrossZone, 50_000), (RaftProfile::Wan, u64::MAX)];

/// The longest round trip from a leader, over time. It is kept in memory alone: an operator that starts looks for ten minutes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// When, and how many microseconds; by time.
    samples: VecDeque<(Timestamp, u64)>,
    since: Option<Timestamp>,
}

impl RoundTrips {
    /// Takes a sample, unless the last one is fresh.
    pub fn note(&mut self, now: Timestamp, microseconds: u64) {
        if let Some((last, _)) = self.samples.back() {
            let age = now.duration_since(*last);
            if age < SAMPLE_EVERY && !age.is_negative() {
                return;
            }
            if age > GAP_MAX || age.is_negative() {
                *self = Self::default();
            }
        }
        self.since.get_or_insert(now);
        self.samples.push_back((now, microseconds));
        let is_old = |at: &Timestamp| now.duration_since(*at) > WINDOW;
        while self.samples.len() > SAMPLES_MAX || self.samples.front().is_some_and(|(at, _)| is_old(at)) {
            self.samples.pop_front();
        }
    }

    /// What 95 of a hundred samples did not exceed, in microseconds; `None` before a whole window was seen.
    pub fn p95(&self, now: Timestamp) -> Option<u64> {
        let is_whole = self.since.is_some_and(|since| now.duration_since(since) >= WINDOW);
        let is_fresh = self.samples.back().is_some_and(|(last, _)| now.duration_since(*last) <= GAP_MAX);
        let mut sorted: Vec<u64> = self.samples.iter().map(|(_, microseconds)| *microseconds).collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100);
        (is_whole && is_fresh).then(|| sorted.get(rank.max(1) - 1).copied()).flatten()
    }
}

/// What is wanted now of a cluster with profile `Auto`; others stay as they are. `tuning`: what its members have, once it is founded.
pub fn settle(desired: Desired, tuning: Option<&Tuning>, p95: Option<u64>, now: Timestamp) -> Desired {
    if desired.profile != RaftProfile::Auto {
        return desired;
    }
    let profile = profile(tuning, p95, now);
    let timers = profile.timers().unwrap_or(desired.timers);
    Desired { profile, timers, ..desired }
}

fn profile(tuning: Option<&Tuning>, p95: Option<u64>, now: Timestamp) -> RaftProfile {
    let fits = |microseconds: u64| PROFILES.iter().position(|(_, longest)| microseconds <= *longest).unwrap_or(0);
    let has = tuning.and_then(|tuning| named(tuning.timers));
    // Timers of no profile were asked for before: the first choice waits for nothing.
    let Some(has) = has else { return PROFILES[p95.map_or(0, fits)].0 };
    let changed_at = tuning.and_then(|tuning| tuning.timers_changed_at);
    let may_change = changed_at.is_none_or(|at| now.duration_since(at) >= CHANGE_EVERY);
    let at = match p95.filter(|_| may_change) {
        Some(p95) if fits(p95) > has => fits(p95),
        Some(p95) => has.min(fits(p95.saturating_mul(2))),
        None => has,
    };
    PROFILES[at].0
}

/// Which of the profiles has these timers.
fn named(timers: Timers) -> Option<usize> {
    PROFILES.iter().position(|(profile, _)| profile.timers() == Some(timers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn tuning(profile: RaftProfile, changed_at: Option<i64>) -> Tuning {
        let desired = fixture::desired(3);
        let timers = profile.timers().unwrap();
        let timers_changed_at = changed_at.map(at);
        Tuning { generation: 1, timers_generation: 1, timers, timers_changed_at, limits: desired.limits }
    }

    fn chosen(has: RaftProfile, changed_at: Option<i64>, p95_milliseconds: Option<u64>) -> RaftProfile {
        let p95 = p95_milliseconds.map(|milliseconds| milliseconds * 1_000);
        profile(Some(&tuning(has, changed_at)), p95, at(10_000))
    }

    #[test]
    fn a_profile_is_left_upwards_at_its_longest_round_trip_and_downwards_at_half_of_it() {
        use RaftProfile::{CrossZone, LowLatency, Wan};
        for (has, milliseconds, expected) in [
            (LowLatency, 2, LowLatency),
            (LowLatency, 10, LowLatency),
            (LowLatency, 11, CrossZone),
            (LowLatency, 90, Wan),
            (CrossZone, 6, CrossZone),
            (CrossZone, 5, LowLatency),
            (CrossZone, 50, CrossZone),
            (CrossZone, 51, Wan),
            (Wan, 26, Wan),
            (Wan, 25, CrossZone),
            (Wan, 1, LowLatency),
        ] {
            assert_eq!(chosen(has, None, Some(milliseconds)), expected, "{has:?} at {milliseconds} ms");
        }
    }

    #[test]
    fn a_change_waits_for_a_whole_window_and_for_an_hour_after_the_last() {
        use RaftProfile::{CrossZone, LowLatency, Wan};
        assert_eq!(chosen(CrossZone, None, None), CrossZone);
        assert_eq!(chosen(LowLatency, Some(6_401), Some(90)), LowLatency);
        assert_eq!(chosen(LowLatency, Some(6_400), Some(90)), Wan);
        assert_eq!(profile(None, None, at(0)), LowLatency, "of a cluster that is to be founded");
    }

    #[test]
    fn timers_of_no_profile_go_at_once() {
        let desired = Desired { profile: RaftProfile::Auto, ..fixture::desired(3) };
        let custom = Timers { heartbeat_milliseconds: 70, election_milliseconds: 700 };
        let tuning = Tuning { timers: custom, ..tuning(RaftProfile::Wan, Some(9_999)) };
        let settled = |p95| settle(desired.clone(), Some(&tuning), p95, at(10_000));
        assert_eq!(settled(None).profile, RaftProfile::LowLatency);
        assert_eq!(settled(Some(60_000)).profile, RaftProfile::Wan);
        assert_eq!(Some(settled(Some(60_000)).timers), RaftProfile::Wan.timers());
        assert_eq!(settled(Some(60_000)).template, desired.template, "what an empty directory starts with stays");
    }

    #[test]
    fn other_profiles_are_what_they_say() {
        let desired = Desired { profile: RaftProfile::CrossZone, ..fixture::desired(3) };
        assert_eq!(settle(desired.clone(), None, Some(90_000), at(0)), desired);
    }

    #[test]
    fn the_95th_percentile_is_of_ten_whole_minutes_without_a_gap() {
        let mut seen = RoundTrips::default();
        for second in 0..600 {
            assert_eq!(seen.p95(at(second)), None, "after {second} s");
            seen.note(at(second), if second % 100 == 0 { 90 } else { 3 });
        }
        assert_eq!(seen.samples.len(), 120, "one in 5 s");
        assert_eq!(seen.p95(at(600)), Some(3), "6 of 120 are longer");
        (600..1_400).for_each(|second| seen.note(at(second), 90));
        assert_eq!(seen.p95(at(1_400)), Some(90));
        assert!(seen.samples.len() <= SAMPLES_MAX);
        assert_eq!(seen.p95(at(1_500)), None, "nothing was seen of late");
        seen.note(at(1_500), 3);
        assert_eq!((seen.p95(at(1_501)), seen.samples.len()), (None, 1), "looking begins anew");
        seen.note(at(1_000), 3);
        assert_eq!(seen.since, Some(at(1_000)), "a clock that was set back begins anew, too");
    }
}
