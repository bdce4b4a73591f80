//! The lease's record: whose it is, and what is written into it. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

/// A lease without a duration in it counts as one of this.
const DURATION_DEFAULT: Duration = Duration::from_secs(15);

/// A version of the lease, and when it was first seen on this process's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    version: String,
    at: Duration,
}

/// Whose the lease is.
#[derive(Debug)]
pub enum Verdict {
    Free,
    /// Ours to renew, as it was read.
    Ours(Box<Lease>),
    HeldBy(String),
}

/// Judges what was read at `now` and remembers the sighting. A lease of another is free only when it stayed the same for
/// its whole life under our eyes: times that another clock wrote say nothing.
pub fn judge(live: Option<&Lease>, sighting: &mut Option<Sighting>, identity: &str, now: Duration) -> Verdict {
    let Some(live) = live else { return Verdict::Free };
    let version = live.metadata.resource_version.clone().unwrap_or_default();
    let seen = match sighting.take().filter(|seen| seen.version == version) {
        Some(seen) => seen,
        None => Sighting { version, at: now },
    };
    let unchanged = now.saturating_sub(seen.at);
    *sighting = Some(seen);
    match holder(live) {
        None => Verdict::Free,
        Some(holder) if holder == identity => Verdict::Ours(Box::new(live.clone())),
        Some(_) if unchanged >= duration(live) => Verdict::Free,
        Some(holder) => Verdict::HeldBy(holder.to_owned()),
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION_DEFAULT, Duration::from_secs)
}

/// The first record.
pub fn fresh(name: &str, identity: &str, duration: Duration, now: Timestamp) -> Lease {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    taken(&Lease { metadata, spec: None }, identity, duration, now)
}

/// A free lease, taken. The version that was read goes along, so that one of two takers is refused.
pub fn taken(live: &Lease, identity: &str, duration: Duration, now: Timestamp) -> Lease {
    let before = live.spec.clone().unwrap_or_default();
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(seconds(duration)),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(1)),
        ..before
    };
    Lease { metadata: live.metadata.clone(), spec: Some(spec) }
}

/// Our lease, renewed.
pub fn renewed(mut lease: Lease, duration: Duration, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(seconds(duration));
    lease
}

/// The lease without a holder; `None` when it is no longer ours to give.
pub fn released(mut lease: Lease, identity: &str) -> Option<Lease> {
    if holder(&lease) != Some(identity) {
        return None;
    }
    lease.spec.get_or_insert_default().holder_identity = None;
    Some(lease)
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(15);

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = fresh("lease", holder, LIFE, Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    fn held_by(verdict: &Verdict) -> Option<&str> {
        match verdict {
            Verdict::HeldBy(holder) => Some(holder),
            _ => None,
        }
    }

    #[test]
    fn lease_of_another_is_free_only_after_its_whole_life_without_a_change() {
        let (mut sighting, at) = (None, Duration::from_secs);
        assert_eq!(held_by(&judge(Some(&lease("a", "1")), &mut sighting, "b", at(100))), Some("a"));
        assert_eq!(held_by(&judge(Some(&lease("a", "1")), &mut sighting, "b", at(114))), Some("a"));
        // Renewed: counting begins anew.
        assert_eq!(held_by(&judge(Some(&lease("a", "2")), &mut sighting, "b", at(115))), Some("a"));
        assert_eq!(held_by(&judge(Some(&lease("a", "2")), &mut sighting, "b", at(129))), Some("a"));
        assert!(matches!(judge(Some(&lease("a", "2")), &mut sighting, "b", at(130)), Verdict::Free));
    }

    #[test]
    fn absent_and_released_leases_are_free_and_ones_own_is_renewed() {
        assert!(matches!(judge(None, &mut None, "b", LIFE), Verdict::Free));
        let given_back = released(lease("a", "1"), "a").unwrap();
        assert!(matches!(judge(Some(&given_back), &mut None, "b", LIFE), Verdict::Free));
        assert!(released(lease("a", "1"), "b").is_none(), "another's lease is not given back");
        let Verdict::Ours(ours) = judge(Some(&lease("b", "7")), &mut None, "b", LIFE) else { panic!("it is ours") };
        let renewed = renewed(*ours, LIFE, Timestamp::from_second(9).unwrap());
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("7"), "the version that was read goes along");
        assert_eq!(renewed.spec.unwrap().renew_time, Some(MicroTime(Timestamp::from_second(9).unwrap())));
    }

    #[test]
    fn taking_counts_the_transition() {
        let taken = taken(&lease("a", "1"), "b", LIFE, Timestamp::UNIX_EPOCH).spec.unwrap();
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(2)));
        assert_eq!(taken.lease_duration_seconds, Some(15));
    }
}
