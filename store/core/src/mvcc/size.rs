//! The size of the database as etcd's `dbSizeInUse` tells it: a replicated sum, so equal on all members, that a compaction lowers
//! at once though the space itself comes back later.
//!
//! What each revision superseded is added up in buckets of revisions, one row of `meta` each. Compacting takes whole buckets, and
//! the part of the last one from its rows in `log`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

use super::rows::{Core, FORMAT, LogKind, LogRow, NEVER_REACHED, body};
use super::{Error, Revision, keys};
use crate::backend::{Family, View};

/// What an empty database counts: etcd's own has five pages of 4 KiB in use.
pub const BASE_BYTES: u64 = 20_480;

/// Revisions in a bucket: bounds what compacting reads of `log`; a hundred million revisions make a hundred thousand rows.
pub(crate) const BUCKET_REVISIONS: i64 = 1_024;

const PREFIX: &[u8] = b"size";
const AFTER_PREFIX: &[u8] = b"sizf";

/// Bytes of etcd's rows that a finished compaction would have left, without [`BASE_BYTES`].
///
/// # Errors
/// The backend's, or a malformed row.
pub fn logical_bytes(view: &dyn View) -> Result<u64, Error> {
    Ok(Core::load(view)?.logical_bytes)
}

/// Bytes that compactions to come will free, by the bucket of the revision from which on they may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Superseded {
    buckets: BTreeMap<i64, u64>,
    /// Buckets that differ from their rows.
    changed: BTreeSet<i64>,
}

impl Superseded {
    pub fn load(view: &dyn View) -> Result<Superseded, Error> {
        let mut buckets = BTreeMap::new();
        let mut cursor = view.cursor(Family::Meta, PREFIX, Some(AFTER_PREFIX))?;
        while let Some(row) = cursor.next()? {
            let bad = || Error::malformed(Family::Meta, row.key, "it is not a bucket of sizes");
            let bucket = row.key[PREFIX.len()..].try_into().map_err(|_| bad())?;
            let bucket = i64::from_be_bytes(bucket);
            let bytes = body(Family::Meta, row.key, row.value, 8)?.get_u64();
            if bytes >= NEVER_REACHED as u64 || !(0..NEVER_REACHED).contains(&bucket) {
                return Err(bad());
            }
            buckets.insert(bucket, bytes);
        }
        Ok(Superseded { buckets, changed: BTreeSet::new() })
    }

    /// A compaction at `main` or above frees so many bytes.
    pub fn add(&mut self, main: i64, bytes: u32) {
        let bucket = main / BUCKET_REVISIONS;
        *self.buckets.entry(bucket).or_default() += u64::from(bytes);
        self.changed.insert(bucket);
    }

    /// Takes out what a compaction from the watermark `previous` to `watermark` frees.
    pub fn compact(&mut self, view: &dyn View, previous: i64, watermark: i64) -> Result<u64, Error> {
        assert!(previous < watermark);
        let last = watermark / BUCKET_REVISIONS;
        let later = self.buckets.split_off(&last);
        let whole = std::mem::replace(&mut self.buckets, later);
        let mut freed = whole.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        self.changed.extend(whole.keys());
        if let Some(bytes) = self.buckets.get_mut(&last) {
            let part = freed_between(view, (last * BUCKET_REVISIONS).max(previous + 1), watermark)?;
            *bytes = bytes.checked_sub(part).ok_or_else(|| {
                Error::malformed(Family::Meta, &bucket_key(last), "the log frees more bytes than it counts")
            })?;
            if *bytes == 0 {
                self.buckets.remove(&last);
            }
            freed = freed.saturating_add(part);
            self.changed.insert(last);
        }
        Ok(freed)
    }

    /// The rows that changed since the last call; `None` = delete it.
    pub fn take_changes(&mut self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + '_ {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|bucket| {
            let value = self.buckets.get(&bucket).map(|bytes| {
                let mut value = Vec::with_capacity(9);
                value.put_u8(FORMAT);
                value.put_u64(*bytes);
                value.into()
            });
            (bucket_key(bucket), value)
        })
    }
}

fn bucket_key(bucket: i64) -> Bytes {
    [PREFIX, &bucket.to_be_bytes()].concat().into()
}

/// What the rows of `log` say that compactions at `from..=to` free; a tombstone goes one revision after its own. All these rows
/// still exist: a sweep deletes only what is below the watermark before.
fn freed_between(view: &dyn View, from: i64, to: i64) -> Result<u64, Error> {
    let lower = keys::log_key(Revision::new((from - 1).max(0), 0));
    let upper = keys::log_key(Revision::new(to + 1, 0));
    let mut cursor = view.cursor(Family::Log, &lower, Some(&upper))?;
    let mut freed = 0;
    while let Some(row) = cursor.next()? {
        let main = keys::read_log_key(row.key)?.main;
        let log = LogRow::decode(row.key, row.value)?;
        if main >= from {
            freed += log.superseded.map_or(0, |superseded| u64::from(superseded.row_bytes));
        }
        if log.kind == LogKind::Delete && main < to {
            freed += u64::from(log.row_bytes);
        }
    }
    Ok(freed)
}
