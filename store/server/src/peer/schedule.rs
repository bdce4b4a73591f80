//! How fast a snapshot is sent: no faster than clients bear, but so fast that the follower can go on from the log behind it. What is
//! kept of the log for a follower is bounded (`wal::Options::keep_wanted_bytes`); a snapshot that takes longer than that lasts would
//! be followed by another one, and so for ever.

use std::time::Duration;

use quorate_core::log::Index;

use crate::wal::WalReader;

/// The part of what is kept of the log that may be written while a snapshot is on its way; the follower installs it meanwhile.
const KEPT_PART: u64 = 2;

/// When so many bytes are to be through at so many a second.
pub fn due(bytes: u64, per_second: u64) -> Duration {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(per_second);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The rate of all snapshots that a member sends, and the log that they race with.
pub struct Schedule {
    /// `None` = as fast as it goes.
    pub bytes_per_second: Option<u64>,
    pub log: WalReader,
    pub keep_wanted_bytes: u64,
}

impl Schedule {
    /// How long nothing is sent behind a chunk.
    pub fn pause(&self, index: Index, transfer: Transfer, chunk: Chunk) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        pause(rate, transfer, chunk, self.log.bytes_above(index), self.keep_wanted_bytes / KEPT_PART)
    }
}

/// Bytes of a transfer.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    pub sent: u64,
    pub total: u64,
}

/// A chunk that was sent, and how long that took.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    pub bytes: u64,
    pub took: Duration,
}

/// `grown`: bytes of the log behind the snapshot; `may_grow`: so many there may be when it has arrived.
fn pause(rate: u64, transfer: Transfer, chunk: Chunk, grown: u64, may_grow: u64) -> Duration {
    let is_behind = u128::from(grown) * u128::from(transfer.total) > u128::from(transfer.sent) * u128::from(may_grow);
    if is_behind { Duration::ZERO } else { due(chunk.bytes, rate).saturating_sub(chunk.took) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn after(sent: u64, grown: u64) -> Duration {
        let chunk = Chunk { bytes: MIB, took: Duration::from_millis(5) };
        pause(10 * MIB, Transfer { sent, total: 1_000 * MIB }, chunk, grown, 100 * MIB)
    }

    #[test]
    fn a_snapshot_that_will_be_there_in_time_is_sent_at_the_rate() {
        assert_eq!(after(500 * MIB, 0), Duration::from_millis(95));
        assert_eq!(after(500 * MIB, 50 * MIB), Duration::from_millis(95));
    }

    #[test]
    fn a_snapshot_that_the_log_would_overtake_is_sent_as_fast_as_it_goes() {
        assert_eq!(after(500 * MIB, 50 * MIB + 1), Duration::ZERO);
        assert_eq!(after(0, 1), Duration::ZERO);
    }

    #[test]
    fn a_chunk_that_took_longer_than_its_share_is_not_waited_behind() {
        let slow = Chunk { bytes: MIB, took: Duration::from_secs(1) };
        assert_eq!(pause(10 * MIB, Transfer { sent: MIB, total: MIB }, slow, 0, MIB), Duration::ZERO);
    }
}
