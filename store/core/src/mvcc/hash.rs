//! HashKV: equal to etcd's for the same history, so that a migration can be proven. It joins the checksums of rows that `log`
//! keeps and reads no value.
//!
//! etcd hashes the bytes `key`, then every row (key and value) in revision order. Walking backwards, a row is superseded when a
//! later one named it, so one pass suffices.

use std::collections::BTreeSet;

use super::crc::Suffix;
use super::rows::{LogKind, LogRow, Superseded};
use super::{Error, Revision, State, keys};
use crate::backend::{Family, View};

/// The name of etcd's bucket, hashed before its rows.
const SEED: &[u8] = b"key";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKv {
    pub hash: u32,
    /// -1 when never compacted.
    pub compact_revision: i64,
    /// The revision up to which rows were hashed.
    pub hash_revision: i64,
}

/// Hashes all rows up to `revision` (0 = the newest) that count: those above the watermark, and below it those that live at
/// `revision`; when nothing lives then, those that live at the watermark. Tombstones at the watermark never count.
///
/// # Errors
/// Compacted, FutureRevision, or the store's own.
pub fn hash_kv(view: &dyn View, state: &State, revision: i64) -> Result<HashKv, Error> {
    if revision > 0 {
        state.readable(revision)?;
    }
    let hash_revision = if revision == 0 { state.revision } else { revision };
    let compact_revision = state.compact_revision;
    let hash = hash_rows(view, compact_revision, hash_revision)?;
    Ok(HashKv { hash, compact_revision, hash_revision })
}

fn hash_rows(view: &dyn View, compact_revision: i64, revision: i64) -> Result<u32, Error> {
    let mut suffix = Suffix::empty();
    let anything_kept = hash_back(view, compact_revision, revision, &mut suffix)?;
    if !anything_kept && compact_revision > 0 {
        // etcd then skips nothing: what compaction left of the rows below the watermark counts.
        suffix = Suffix::empty();
        hash_above(view, compact_revision, revision, &mut suffix)?;
        hash_back(view, compact_revision, revision.min(compact_revision), &mut suffix)?;
    }
    let seed_bytes = u32::try_from(SEED.len()).expect("three bytes");
    suffix.prepend(crc32c::crc32c(SEED), seed_bytes);
    Ok(suffix.crc())
}

/// Prepends the rows that count from `revision` back to the first; returns whether etcd's set of kept rows has any.
fn hash_back(view: &dyn View, compact_revision: i64, revision: i64, suffix: &mut Suffix) -> Result<bool, Error> {
    // Bounded by the rows between the watermark and `revision`, and by rows that wait for the sweep.
    let mut superseded = BTreeSet::new();
    let mut anything_kept = false;
    walk_back(view, revision, |at, log| {
        // Above the watermark every row counts: there it only matters until one is found that lives.
        let matters = |row: &Superseded| !anything_kept || row.revision.main <= compact_revision;
        superseded.extend(log.superseded.filter(matters).map(|row| row.revision));
        let newest = !superseded.remove(&at);
        let tombstone = log.kind == LogKind::Delete;
        let lives = newest && !tombstone;
        anything_kept |= lives;
        let above = at.main > compact_revision;
        if above || lives {
            suffix.prepend(log.row_crc, log.row_bytes);
        }
    })?;
    Ok(anything_kept)
}

fn hash_above(view: &dyn View, compact_revision: i64, revision: i64, suffix: &mut Suffix) -> Result<(), Error> {
    walk_back(view, revision, |at, log| {
        if at.main > compact_revision {
            suffix.prepend(log.row_crc, log.row_bytes);
        }
    })
}

fn walk_back(view: &dyn View, revision: i64, mut visit: impl FnMut(Revision, &LogRow<'_>)) -> Result<(), Error> {
    if revision < 1 {
        return Ok(());
    }
    let upper = keys::log_key(Revision::new(revision.saturating_add(1), 0));
    let mut cursor = view.cursor(Family::Log, &keys::log_key(Revision::default()), Some(&upper))?;
    while let Some(row) = cursor.back()? {
        visit(keys::read_log_key(row.key)?, &LogRow::decode(row.key, row.value)?);
    }
    Ok(())
}
