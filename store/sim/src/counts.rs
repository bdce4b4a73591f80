//! How often each fault struck and each checker judged. A name that stays at zero over a suite fails it.

use std::collections::BTreeMap;

/// Every fault that a suite must have injected.
pub const FAULTS: [&str; 24] = [
    "messages lost",
    "messages delayed",
    "messages duplicated",
    "messages reordered",
    "symmetric partitions",
    "one-way partitions",
    "pauses",
    "clocks skewed",
    "slow disks",
    "processes killed",
    "power cuts",
    "crashes between two effects",
    "crashes during an installation",
    "unsynced log writes lost",
    "torn log tails dropped",
    "unflushed state lost",
    "logs cut",
    "snapshots lost on the way",
    "snapshots installed",
    "leaderships handed over",
    "members added",
    "learners promoted",
    "members removed",
    "operations timed out",
];

/// Every check that a suite must have made.
pub const CHECKS: [&str; 12] = [
    "committed entries compared",
    "executions told apart",
    "acknowledged writes checked",
    "refusals checked",
    "linearizable reads checked",
    "reads checked against the state at their revision",
    "reads of old revisions checked",
    "reads of compacted or future revisions checked",
    "revisions compared",
    "leaders of a term compared",
    "HashKV compared",
    "members converged",
];

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub fn add(&mut self, name: &'static str) {
        debug_assert!(FAULTS.contains(&name) || CHECKS.contains(&name), "{name} is not listed");
        *self.0.entry(name).or_default() += 1;
    }

    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn merge(&mut self, other: &Counts) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// The faults and checks that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        FAULTS.iter().chain(&CHECKS).copied().filter(|name| self.get(name) == 0).collect()
    }
}
