//! The election clock, whose timeout can change while raft runs.
//!
//! Raft 0.7 keeps its election timeout private and fixed; what has elapsed and the timeout that was drawn are open. So raft's timeout is
//! a constant number of units here, and a tick advances what has elapsed by what one heartbeat interval is worth now. Nothing of
//! raft's state is touched by a change: no leadership, no entry, no read.

use super::Replica;

/// Raft's election timeout. Large, so that rounding up the worth of a tick never makes a timeout a tick shorter.
pub(super) const TIMEOUT_UNITS: usize = 1 << 34;
/// With twice as many ticks in a timeout rounding could shorten it by one.
pub const ELECTION_TICKS_MAX: usize = 1 << 16;

/// Units that pass with one tick: `ticks` of them are the timeout, `ticks - 1` are not.
pub(super) fn units_per_tick(ticks: usize) -> usize {
    assert!((2..=ELECTION_TICKS_MAX).contains(&ticks), "an election timeout of {ticks} ticks");
    TIMEOUT_UNITS.div_ceil(ticks)
}

/// A timeout of `ticks` to `2 * ticks - 1` ticks.
pub(super) fn draw(ticks: usize, random: u64) -> usize {
    let surplus = (random % ticks as u64) as usize;
    TIMEOUT_UNITS + surplus * units_per_tick(ticks)
}

impl Replica {
    /// An election timeout has this many ticks from now on. What of it has passed stays passed, in proportion.
    ///
    /// # Panics
    /// With fewer than 2 ticks or more than `ELECTION_TICKS_MAX`.
    pub fn set_election_ticks(&mut self, ticks: usize) {
        self.timing.election_ticks = ticks;
        self.draw_election_timeout();
    }

    /// What one tick adds to raft's own counting of it.
    pub(super) fn advance_election_clock(&mut self) {
        self.node.raft.election_elapsed += units_per_tick(self.timing.election_ticks) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_takes_exactly_its_ticks_whatever_their_number() {
        for ticks in [2, 3, 5, 7, 10, 11, 49, 500, 999, 10_000, ELECTION_TICKS_MAX] {
            let units = units_per_tick(ticks);
            assert!(ticks * units >= TIMEOUT_UNITS && (ticks - 1) * units < TIMEOUT_UNITS, "{ticks} ticks");
            for surplus in [0, 1, ticks - 1] {
                let drawn = draw(ticks, surplus as u64);
                assert!((TIMEOUT_UNITS..2 * TIMEOUT_UNITS).contains(&drawn), "{ticks} ticks and {surplus}");
                assert_eq!(drawn.div_ceil(units), ticks + surplus, "{ticks} ticks and {surplus}");
            }
        }
    }
}
