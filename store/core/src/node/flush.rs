//! When the database is flushed. A flush bounds how much a restarted member replays, and lets the log below it go (`cut.rs`).

use super::{Effect, Node};
use crate::log::Index;

/// What may stay unflushed, and the clock that tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushPolicy {
    /// So many log bytes applied since the last flush begin the next one.
    pub bytes_max: usize,
    /// So long after the oldest unflushed entry was applied the next flush begins, however little it is. Exact to one tick.
    pub age_ms_max: u64,
    /// Milliseconds between two ticks; `Event::Timers` changes it.
    pub tick_ms: u64,
}

/// A flush that was asked for and is not reported yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnderWay {
    /// Of the state that is in use.
    Current,
    /// Of a state that a snapshot has replaced since: what it says is durable is not what is in use.
    Replaced,
}

/// What is applied and not flushed. Invariant: one flush at most is under way.
#[derive(Debug)]
pub(super) struct Flush {
    policy: FlushPolicy,
    /// Log bytes of what was applied since the last flush began.
    bytes: usize,
    /// Age of the oldest of it; `None` = nothing was applied since.
    age_ms: Option<u64>,
    under_way: Option<UnderWay>,
}

impl Flush {
    pub fn new(policy: FlushPolicy) -> Flush {
        Flush { policy, bytes: 0, age_ms: None, under_way: None }
    }

    pub fn applied(&mut self, log_bytes: usize) {
        self.bytes = self.bytes.saturating_add(log_bytes);
        self.age_ms.get_or_insert(0);
    }

    /// Time that has passed keeps its length when the interval changes.
    pub fn set_tick_ms(&mut self, tick_ms: u64) {
        self.policy.tick_ms = tick_ms;
    }

    pub fn tick(&mut self) {
        self.age_ms = self.age_ms.map(|age| age.saturating_add(self.policy.tick_ms));
    }

    /// A snapshot replaced the state, and is durable itself.
    pub fn replaced(&mut self) {
        (self.bytes, self.age_ms) = (0, None);
        self.under_way = self.under_way.map(|_| UnderWay::Replaced);
    }

    fn is_due(&self) -> bool {
        let is_old = self.age_ms.is_some_and(|age| age >= self.policy.age_ms_max);
        self.under_way.is_none() && (is_old || self.bytes >= self.policy.bytes_max)
    }

    fn begin(&mut self) {
        assert_eq!(self.under_way, None, "one flush at a time");
        (self.bytes, self.age_ms) = (0, None);
        self.under_way = Some(UnderWay::Current);
    }

    /// Returns whether what it made durable is in use.
    fn end(&mut self) -> bool {
        let ended = self.under_way.take();
        assert_ne!(ended, None, "a flush reports itself once");
        ended == Some(UnderWay::Current)
    }
}

impl Node {
    /// A member whose rows are damaged waits for another state; what it has is not made durable once more.
    pub(super) fn start_flush(&mut self, effects: &mut Vec<Effect>) {
        if self.flush.is_due() && !self.apply.is_halted() {
            self.flush.begin();
            effects.push(Effect::Flush);
        }
    }

    pub(super) fn flushed(&mut self, applied: Index, keep_entries: u64, effects: &mut Vec<Effect>) {
        if self.flush.end() {
            self.cut_log(applied, keep_entries, effects);
        }
    }
}
