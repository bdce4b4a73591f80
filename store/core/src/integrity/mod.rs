//! A rolling hash over every change of the key space, the same on all members: what applying was meant to make equal is compared,
//! and a member that came to something else is found within a thousand revisions.
//!
//! It is made of the rows of `log`, whose checksums cover keys and values. It lives in a row of `meta`, so restarts and snapshots
//! carry it on. A put costs one crc32c over its log row (some sixty bytes), a turn one row of at most 161 bytes.

mod compare;
mod confession;
mod rebuild;
mod remedy;

pub use compare::Verdict;
pub use confession::Confession;
pub use rebuild::{Leader, Rebuild, Step};
pub use remedy::{NOBODY, corrupt, judge};

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};

use crate::backend::{Family, View};
use crate::mvcc::{Error, Revision};

/// The hash is kept at every multiple of this many revisions; the same on all members.
pub const INTERVAL: i64 = 1_000;
/// Kept hashes; a member that lags by more is compared when it has caught up.
pub const POINTS_MAX: usize = 8;

const KEY: &[u8] = b"integrity";
const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 25;
const POINT_BYTES: usize = 16;

/// The hash of all changes from `Report::since` up to the end of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub revision: i64,
    pub hash: u64,
}

/// What members compare.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// First revision that is hashed; hashes of different beginnings cannot be compared.
    pub since: i64,
    /// Ascending by revision.
    pub points: Vec<Point>,
}

/// See the module.
///
/// Invariant: outside of a turn it equals what [`Chain::load`] makes of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    interval: i64,
    since: i64,
    /// The revision of the last change.
    at: i64,
    hash: u64,
    points: VecDeque<Point>,
    /// It has to be stored.
    changed: bool,
}

impl Chain {
    /// Reads it; `revision` is the store's. A store from before there was a hash begins at the next multiple of `interval`.
    pub(crate) fn load(view: &dyn View, revision: i64, interval: i64) -> Result<Chain, Error> {
        match view.get(Family::Meta, KEY)? {
            Some(row) => Chain::decode(&row, revision, interval),
            None => {
                let since = if revision <= 1 { 2 } else { (revision / interval + 1) * interval + 1 };
                Ok(Chain { interval, since, at: revision, hash: 0, points: VecDeque::new(), changed: false })
            }
        }
    }

    fn decode(row: &[u8], newest: i64, interval: i64) -> Result<Chain, Error> {
        let bad = |reason| Error::malformed(Family::Meta, KEY, reason);
        let Some((head, mut points)) = row.split_at_checked(HEAD_BYTES) else { return Err(bad("it is too short")) };
        if head[0] != FORMAT {
            return Err(bad("its format is unknown to this version"));
        }
        let mut head = &head[1..];
        let (since, at, hash) = (head.get_i64(), head.get_i64(), head.get_u64());
        if points.len() % POINT_BYTES != 0 || points.len() / POINT_BYTES > POINTS_MAX {
            return Err(bad("it has the wrong length"));
        }
        let mut read = VecDeque::with_capacity(POINTS_MAX + 1);
        while points.has_remaining() {
            read.push_back(Point { revision: points.get_i64(), hash: points.get_u64() });
        }
        let ascends = read.iter().map(|point| point.revision).is_sorted_by(|a, b| a < b);
        if at > newest || !ascends || read.back().is_some_and(|last| last.revision > at) {
            return Err(bad("it is ahead of the store's revision"));
        }
        Ok(Chain { interval, since, at, hash, points: read, changed: false })
    }

    /// Adds a change, by its row of `log`. Changes come in the order of their revisions.
    pub(crate) fn add(&mut self, revision: Revision, log_key: &[u8], log_row: &[u8]) {
        assert!(revision.main >= self.at, "revision {} after {}: revisions never fall", revision.main, self.at);
        self.changed = true;
        if revision.main > self.at {
            self.close();
            self.at = revision.main;
        }
        if revision.main >= self.since {
            let crc = crc32c::crc32c_append(crc32c::crc32c(log_key), log_row);
            // An odd factor and a rotation lose nothing of what came before.
            self.hash = (self.hash ^ u64::from(crc)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    /// The last revision is complete.
    fn close(&mut self) {
        if self.at < self.since || self.at % self.interval != 0 {
            return;
        }
        self.points.push_back(Point { revision: self.at, hash: self.hash });
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    /// The row to write when something changed.
    pub(crate) fn take_change(&mut self) -> Option<(Bytes, Bytes)> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut row = Vec::with_capacity(HEAD_BYTES + POINT_BYTES * self.points.len());
        row.put_u8(FORMAT);
        row.put_i64(self.since);
        row.put_i64(self.at);
        row.put_u64(self.hash);
        for point in &self.points {
            row.put_i64(point.revision);
            row.put_u64(point.hash);
        }
        Some((Bytes::from_static(KEY), row.into()))
    }

    pub fn report(&self) -> Report {
        Report { since: self.since, points: self.points.iter().copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::WriteBatch;
    use crate::memory::Memory;

    fn run(chain: &mut Chain, revisions: std::ops::RangeInclusive<i64>, odd: Option<i64>) {
        for main in revisions {
            let row = if odd == Some(main) { "damaged" } else { "row" };
            chain.add(Revision::new(main, 0), &main.to_be_bytes(), row.as_bytes());
        }
    }

    #[test]
    fn a_restart_anywhere_changes_nothing() {
        let mut whole = Chain::load(&Memory::default(), 1, INTERVAL).unwrap();
        run(&mut whole, 2..=12_345, None);
        let mut memory = Memory::default();
        let mut at = 1;
        for end in [2, 999, 1_000, 1_001, 5_000, 12_345] {
            let mut chain = Chain::load(&memory, at, INTERVAL).unwrap();
            run(&mut chain, at + 1..=end, None);
            at = end;
            let (key, row) = chain.take_change().unwrap();
            let mut batch = WriteBatch::default();
            batch.put(Family::Meta, key, row);
            memory.write(&batch);
            assert_eq!(Chain::load(&memory, at, INTERVAL).unwrap(), chain);
        }
        whole.take_change();
        assert_eq!(Chain::load(&memory, at, INTERVAL).unwrap(), whole);
        let points = whole.report().points;
        assert_eq!(
            points.iter().map(|point| point.revision / INTERVAL).collect::<Vec<_>>(),
            (5..=12).collect::<Vec<_>>()
        );
    }

    #[test]
    fn one_other_row_shows_in_every_later_hash() {
        let hashes = |odd| {
            let mut chain = Chain::load(&Memory::default(), 1, INTERVAL).unwrap();
            run(&mut chain, 2..=5_001, odd);
            chain.report().points
        };
        let (sound, damaged) = (hashes(None), hashes(Some(2_500)));
        assert_eq!(sound[..2], damaged[..2]);
        assert!(sound[2..].iter().zip(&damaged[2..]).all(|(a, b)| a.hash != b.hash));
    }

    #[test]
    fn a_store_from_before_begins_at_the_next_multiple_and_a_foreign_row_is_refused() {
        let mut chain = Chain::load(&Memory::default(), 1_500, INTERVAL).unwrap();
        run(&mut chain, 1_501..=3_001, None);
        assert_eq!(chain.report().since, 2_001);
        assert_eq!(chain.report().points.iter().map(|point| point.revision).collect::<Vec<_>>(), [3_000]);
        for row in [&[][..], &[2; HEAD_BYTES], &[1; HEAD_BYTES + 1]] {
            assert!(Chain::decode(row, i64::MAX, INTERVAL).is_err(), "{row:?}");
        }
        let (_, row) = chain.take_change().unwrap();
        assert!(
            Chain::decode(&row, 3_001, INTERVAL).is_ok() && Chain::decode(&row, 3_000, INTERVAL).is_err(),
            "it counts changes to come"
        );
    }
}
