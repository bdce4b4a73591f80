//! What a run is made of beside its seed.

/// A bug that the simulated shell has on purpose, to prove that the checkers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Reports entries as durable before the disk synced them.
    SkipSync,
    /// Reports terms and votes as durable without writing them.
    LoseTerm,
    /// Answers a write when it is proposed.
    AnswerAtPropose,
    /// Applies the commands of some entries twice.
    ApplyTwice,
    /// Proposes a command twice.
    ProposeTwice,
    /// Serves a linearizable read from the local state.
    LocalRead,
    /// Starts a member on an old copy of its disk.
    StaleDisk,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// Most voters that the cluster has.
    pub members: u64,
    /// Simulated time under faults; a calm of `CALM_MICROS` follows.
    pub fault_micros: u64,
    /// Between two flushes of a member's database.
    pub flush_micros: u64,
    /// Applied entries that stay in the log.
    pub catch_up_entries: u64,
    pub clients: u64,
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            members: 3,
            fault_micros: 30_000_000,
            flush_micros: 800_000,
            catch_up_entries: 10,
            clients: 4,
            bug: None,
        }
    }
}
