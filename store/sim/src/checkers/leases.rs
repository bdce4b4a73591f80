//! What clients were promised about leases, and when leases ended: never before the time that was promised, not much later, and
//! nothing promised by a leader that had been replaced before it was asked.
//!
//! Times here are true ones. The clocks of members run up to `DRIFT_PERCENT` faster or slower.

use std::collections::BTreeMap;

use crate::counts::Counts;
use crate::model::Lease;

/// How much a member's clock of leases may be wrong.
pub const DRIFT_PERCENT: u64 = 2;
/// What a new leader adds to the time of each lease: an election timeout of its own clock.
const EXTENSION_MICROS: u64 = 1_000_000;
/// An expiry comes at most this late, and takes a commit.
const LATE_MICROS_MAX: u64 = 1_000_000 + 500_000;

/// See the module.
#[derive(Default)]
pub struct LeaseJudge {
    /// By (lease, index of its grant): it must not expire before.
    promised: BTreeMap<(i64, u64), u64>,
    /// By (lease, index of its grant): when a leader last gave it its whole time.
    renewed: BTreeMap<(i64, u64), u64>,
    /// When somebody first led each term.
    elected: BTreeMap<u64, u64>,
    /// When the leader of the highest term gave all leases their whole time.
    promoted: Option<(u64, u64)>,
    /// When each lease id last came or went.
    changed: BTreeMap<i64, u64>,
}

impl LeaseJudge {
    pub fn leads(&mut self, now: u64, term: u64) {
        self.elected.entry(term).or_insert(now);
    }

    pub fn promoted(&mut self, now: u64, term: u64) {
        if self.promoted.is_none_or(|(before, _)| before < term) {
            self.promoted = Some((term, now));
        }
    }

    pub fn granted(&mut self, now: u64, id: i64, grant_index: u64) {
        self.changed.insert(id, now);
        self.renewed.insert((id, grant_index), now);
    }

    pub fn revoked(&mut self, now: u64, id: i64) {
        self.changed.insert(id, now);
    }

    /// An expiry takes effect.
    ///
    /// # Errors
    /// It is early.
    pub fn expired(&mut self, now: u64, id: i64, grant_index: u64, counts: &mut Counts) -> Result<(), String> {
        counts.add("leases: expiries checked");
        self.changed.insert(id, now);
        let until = self.promised.get(&(id, grant_index)).copied().unwrap_or(0);
        if now < until {
            let early = (until - now) / 1_000;
            return Err(format!(
                "lease {id} of grant {grant_index} expired {early} ms before the time it was promised"
            ));
        }
        Ok(())
    }

    /// A client learned that the lease, for which it asked at `asked`, has at least this much time left.
    pub fn promise(&mut self, asked: u64, id: i64, grant_index: u64, left_micros: u64) {
        let until = asked + left_micros * (100 - DRIFT_PERCENT) / 100;
        let promised = self.promised.entry((id, grant_index)).or_default();
        *promised = until.max(*promised);
    }

    /// The leader of `term` answers a question that was asked at `asked` from its memory.
    ///
    /// # Errors
    /// Another one had been elected before.
    pub fn answered(&mut self, asked: u64, term: u64, counts: &mut Counts) -> Result<(), String> {
        counts.add("leases: answers of leaders checked");
        let newer = self.elected.range(term + 1..).find(|(_, at)| **at < asked);
        if let Some((newer, _)) = newer {
            return Err(format!("a lease question is answered by the stale leader of term {term}, {newer} had begun"));
        }
        Ok(())
    }

    pub fn renewed(&mut self, now: u64, id: i64, grant_index: u64) {
        self.renewed.insert((id, grant_index), now);
    }

    /// A client that asked at `asked` was told that there is no such lease, or that there is. `lease` is what there is now.
    ///
    /// # Errors
    /// That was never so meanwhile.
    pub fn existence(
        &mut self,
        asked: u64,
        id: i64,
        lease: Option<&Lease>,
        told: bool,
        counts: &mut Counts,
    ) -> Result<(), String> {
        counts.add("leases: existence checked");
        let unchanged = self.changed.get(&id).is_none_or(|changed| *changed < asked);
        if unchanged && lease.is_some() != told {
            let what = if told { "known, but it does not exist" } else { "gone, but it lives" };
            return Err(format!("lease {id} was said to be {what}"));
        }
        Ok(())
    }

    /// Looks for leases that should be gone. Everything works since `calm`.
    ///
    /// # Errors
    /// Names the first one.
    pub fn check_late(
        &mut self,
        now: u64,
        calm: u64,
        leases: &BTreeMap<i64, Lease>,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let Some((term, promoted)) = self.promoted else { return Ok(()) };
        counts.add("leases: lateness checked");
        for (id, lease) in leases {
            let renewed = self.renewed.get(&(*id, lease.grant_index)).copied().unwrap_or(0);
            let from = renewed.max(promoted + EXTENSION_MICROS);
            let ttl_micros = u64::try_from(lease.ttl_seconds).unwrap_or(0) * 1_000_000;
            let due = (from + ttl_micros * (100 + DRIFT_PERCENT) / 100).max(calm);
            if now > due + LATE_MICROS_MAX {
                let late = (now - due) / 1_000;
                return Err(format!("lease {id} is {late} ms late, the leader of term {term} does not let it expire"));
            }
        }
        Ok(())
    }
}
