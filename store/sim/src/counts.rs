//! How often each fault struck and each checker judged. A name that stays at zero over a suite fails it.

use std::collections::BTreeMap;

/// Every fault that a suite must have injected.
pub const FAULTS: [&str; 58] = [
    "messages lost",
    "messages delayed",
    "messages duplicated",
    "messages reordered",
    "messages to a visitor",
    "messages to strangers kept back",
    "connections ended by a partition",
    "symmetric partitions",
    "one-way partitions",
    "leaders cut off alone",
    "pauses",
    "clocks skewed",
    "pauses longer than an election",
    "clocks that change their rate",
    "clocks that jump",
    "slow disks",
    "failed syncs",
    "creations of segments torn",
    "full disks",
    "log writes held up by a full disk",
    "bits flipped in a log",
    "reads of a log misdirected",
    "last groups of logs damaged",
    "damaged last groups refused",
    "damaged last groups taken for torn",
    "dropped groups found by a leader",
    "damaged logs refused",
    "rows damaged",
    "rows changed behind their member's back",
    "entries applied as something else",
    "damaged rows met",
    "damaged entries met while running",
    "damaged members replaced",
    "damaged members rebuilt in place",
    "damaged disks repaired",
    "processes killed",
    "power cuts",
    "power cuts during a sync",
    "crashes between two effects",
    "crashes during an installation",
    "unsynced log writes lost",
    "torn log tails dropped",
    "unflushed state lost",
    "logs cut",
    "snapshots lost on the way",
    "snapshots installed",
    "old entries read for followers",
    "leaderships handed over",
    "members added",
    "members added after the faults",
    "learners promoted",
    "learners that caught up by the log alone",
    "members removed",
    "leaders removed",
    "joint changes begun",
    "joint changes ended",
    "members upgraded",
    "operations timed out",
];

/// Every check that a suite must have made.
pub const CHECKS: [&str; 54] = [
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
    "clusters without an election at rest",
    "joint changes refused below their level",
    "entries of a higher level applied",
    "answers of all members compared",
    "leases, alarms and sizes compared",
    "transactions: nested",
    "histories of clients explained",
    "reads at the watermark checked",
    "reads right below the watermark refused",
    "watch: starts checked",
    "watch: rejections checked",
    "watch: messages with events compared",
    "watch: previous rows compared",
    "watch: fragments joined",
    "watch: starts in the future kept",
    "watch: headers compared",
    "watch: progress compared",
    "watch: cancellations by compaction checked",
    "watch: cancellations by clients checked",
    "watch: watchers that went on elsewhere",
    "watch: streams over an installation",
    "watch: everything delivered in the end",
    "leases: expiries checked",
    "leases: expiries of another grant or term without effect",
    "leases: expiries proposed again",
    "leases: answers of leaders checked",
    "leases: existence checked",
    "leases: times compared",
    "leases: lateness checked",
    "alarms: answers under a quota checked",
    "alarms: writes over the quota applied and answered with NoSpace",
    "alarms: raised",
    "alarms: disarmed",
    "alarms: writes refused under NOSPACE",
    "alarms: what needs no space admitted under NOSPACE",
    "alarms: writes refused under CORRUPT",
    "integrity: members compared",
    "integrity: accusations checked",
    "integrity: rows reread to their end",
    "integrity: damage found by the scrub",
    "integrity: damage found by its member",
    "integrity: requests refused by a member with wrong data",
];

/// What may happen, and need not in every suite.
pub const RARE: [&str; 4] = [
    "integrity: accusations of nobody",
    "integrity: members that stayed undecided",
    "integrity: leaders with wrong data that handed over",
    "integrity: runs given up with too many wrong",
];

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub fn add(&mut self, name: &'static str) {
        debug_assert!(FAULTS.iter().chain(&CHECKS).chain(&RARE).any(|listed| *listed == name), "{name} is not listed");
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
