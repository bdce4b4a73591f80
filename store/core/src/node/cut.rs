//! What of the log may go: what is durable without it, but for what followers may still ask for.

use super::{Effect, Node};
use crate::log::Index;

/// So many election timeouts after it was last heard of, the log is not kept for a follower any more.
const SILENT_ELECTION_TIMEOUTS: u64 = 10;

impl Node {
    /// Invariant: nothing is cut that this member has not applied, whatever the shell says is durable.
    pub(super) fn cut_log(&mut self, applied: Index, keep_entries: u64, effects: &mut Vec<Effect>) {
        let below = applied.min(self.apply.applied()).saturating_sub(keep_entries);
        if below > 0 {
            effects.push(Effect::CutLog { below, wanted_from: self.log_wanted_from() });
        }
    }

    /// The first entry of the log that a follower may still ask for (`Replica::log_wanted_from`). One that was silent for a while may
    /// need a snapshot.
    fn log_wanted_from(&self) -> Index {
        let silent = SILENT_ELECTION_TIMEOUTS * self.replica.election_ticks() as u64;
        let answers = |id| self.heard.get(&id).is_some_and(|at| at + silent >= self.ticks);
        self.replica.log_wanted_from(answers)
    }
}
