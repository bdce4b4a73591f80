//! What a run is made of beside its seed.

use std::collections::BTreeSet;

use quorate_core::node::FlushPolicy;

use crate::plan::{KINDS, Kind};
use crate::trace::Keep;

/// The server's default; a member's own clock may run faster or slower.
const TICK_MS: u64 = 100;

/// A bug that the simulated shell has on purpose, to prove that the checkers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// Reports entries as durable before the disk synced them.
    SkipSync,
    /// Reports terms and votes as durable without writing them.
    LoseTerm,
    /// Reports the term that a sole voter raises as durable before the disk synced it, so that appends of that term leave.
    EarlyTerm,
    /// Answers a write when it is proposed.
    AnswerAtPropose,
    /// Applies the commands of some entries twice.
    ApplyTwice,
    /// Proposes a command twice.
    ProposeTwice,
    /// Serves a linearizable read from the local state.
    LocalRead,
    /// Asks with one context for every round of reads.
    ReuseContext,
    /// Starts a member on an old copy of its disk.
    StaleDisk,
    /// Takes what a killed process wrote and did not sync for durable when it starts again.
    TrustCache,
    /// Takes a damaged last group for a torn one although the hint behind it shows that it was synced.
    DropSynced,
    /// Starts a voter on an empty disk under its old id.
    EmptyDisk,
    /// Proposes what was forwarded to the leader once more.
    ForwardTwice,
    /// Sweeps rows above the watermark.
    SweepAbove,
    /// Flushes the applied index before the rows of its last batch.
    FlushApart,
    /// Leaves the last event out of messages with several.
    DropEvent,
    /// Sends a message with events twice.
    RepeatEvent,
    /// Sends the last event of a message in a message of its own.
    SplitRevision,
    /// Sends the events of a message backwards.
    ReorderEvents,
    /// Sends progress before the events that it speaks of.
    HasteProgress,
    /// Shows the row itself as the one before it.
    WrongPrevious,
    /// Answers keep-alives without confirming leadership.
    StaleKeepAlive,
    /// Answers questions about leases before everything is applied that was committed when they were confirmed.
    LeaseBeforeApply,
    /// Lets leases expire before their time.
    ExpireEarly,
    /// Lets an expiry end whatever lease has its id.
    IgnoreGrant,
    /// Grants a lease under an id that is taken.
    ReuseLease,
    /// Raises the feature level although a member does not know it.
    RaiseEarly,
    /// Believes no caller from a newer configuration.
    ForgetVisitors,
    /// Serves data that are known to be wrong.
    ServeWrong,
    /// Rereads nothing.
    SkipScrub,
    /// Compares no hashes.
    SkipCompare,
    /// Leaves out writes when the member's own database is over its quota.
    QuotaBySize,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// Most voters that the cluster has.
    pub members: u64,
    /// Simulated time under faults; a calm of `CALM_MICROS` follows.
    pub fault_micros: u64,
    /// When a member's node has its database flushed.
    pub flush: FlushPolicy,
    /// Applied entries that stay in the log.
    pub catch_up_entries: u64,
    pub clients: u64,
    /// The faults of the plan that strike, by number; `None` = all.
    pub only: Option<BTreeSet<u32>>,
    /// Mixed into all chances but the plan of faults: other delays, the same faults.
    pub salt: u64,
    /// What the plan is drawn from: fewer kinds only to meet a planted bug sooner.
    pub kinds: &'static [Kind],
    pub keep: Keep,
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            members: 3,
            fault_micros: 30_000_000,
            flush: FlushPolicy { bytes_max: 8 << 10, age_ms_max: 800, tick_ms: TICK_MS },
            catch_up_entries: 10,
            clients: 4,
            only: None,
            salt: 0,
            kinds: &KINDS,
            keep: Keep::Some,
            bug: None,
        }
    }
}

impl Options {
    /// The command that replays a seed with these options.
    pub fn command(&self, seed: u64) -> String {
        let seconds = self.fault_micros / 1_000_000;
        let mut command = format!("quorate-sim --seed {seed} --members {} --seconds {seconds}", self.members);
        let default = Options::default();
        if self.clients != default.clients {
            command += &format!(" --clients {}", self.clients);
        }
        if self.salt != default.salt {
            command += &format!(" --salt {}", self.salt);
        }
        if let Some(only) = &self.only {
            let only: Vec<String> = only.iter().map(u32::to_string).collect();
            command += &format!(" --faults {}", only.join(","));
        }
        command
    }
}
