//! Rereads every version of every key and compares it with the checksum that `log` keeps of it, in steps whose pace is the caller's:
//! a disk that forgets is found before somebody asks for what it forgot, and before the last good copy elsewhere is gone.
//!
//! RocksDB's own checksums are verified on the way, because everything is read.

use bytes::Bytes;
use prost::Message;
use quorate_api::mvccpb::KeyValue;

use super::rows::{KeyRow, LogKind, LogRow, decode_value, etcd_row_key};
use super::{Error, Revision, keys};
use crate::backend::{Family, View};

/// How much one step rereads; at least one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubLimits {
    pub versions: usize,
    pub bytes: usize,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrub {
    /// Where the next step begins; `None` when everything was reread.
    pub next: Option<Revision>,
    pub versions: usize,
    /// Of etcd's rows.
    pub bytes: usize,
}

/// Rereads the versions from `from` on. The view must be a snapshot: `values` and `log` must stand at one point.
///
/// # Errors
/// A row that is missing, or is not what was written; the store's own, a checksum of RocksDB's among them.
pub fn scrub(view: &dyn View, from: Revision, limits: ScrubLimits) -> Result<Scrub, Error> {
    let mut cursor = view.cursor(Family::Log, &keys::log_key(from), None)?;
    let mut scrub = Scrub { next: None, versions: 0, bytes: 0 };
    while let Some(row) = cursor.next()? {
        let at = keys::read_log_key(row.key)?;
        if scrub.versions > 0 && (scrub.versions >= limits.versions || scrub.bytes >= limits.bytes) {
            return Ok(Scrub { next: Some(at), ..scrub });
        }
        let log = LogRow::decode(row.key, row.value)?;
        check_version(view, at, &log)?;
        scrub.versions += 1;
        scrub.bytes += log.row_bytes as usize;
    }
    Ok(scrub)
}

fn check_version(view: &dyn View, at: Revision, log: &LogRow<'_>) -> Result<(), Error> {
    let row_key = keys::values_key(log.key, at);
    let bad = |reason| Error::malformed(Family::Values, &row_key, reason);
    let value = view.get(Family::Values, &row_key)?.ok_or_else(|| bad("it is missing"))?;
    let tombstone = log.kind == LogKind::Delete;
    if value.is_empty() != tombstone {
        return Err(bad("it is a tombstone, or not, against its row of log"));
    }
    let etcd_row = if tombstone {
        let key = Bytes::copy_from_slice(log.key);
        KeyValue { key, ..Default::default() }.encode_to_vec().into()
    } else {
        value.clone()
    };
    let mut etcd_key = [0; 18];
    let etcd_key = etcd_row_key(at, &mut etcd_key, tombstone);
    let crc = crc32c::crc32c_append(crc32c::crc32c(etcd_key), &etcd_row);
    if crc != log.row_crc || etcd_key.len() + etcd_row.len() != log.row_bytes as usize {
        return Err(bad("its checksum is not the one that was written with it"));
    }
    check_newest(view, at, log, value)
}

/// The newest version of a key, and none other, is what its row of `keys` says.
fn check_newest(view: &dyn View, at: Revision, log: &LogRow<'_>, value: Bytes) -> Result<(), Error> {
    let bad = |reason| Error::malformed(Family::Keys, log.key, reason);
    let row = view.get(Family::Keys, log.key)?;
    let row = row.map(|row| KeyRow::decode(log.key, &row)).transpose()?;
    if !is_newest(view, at, log.key)? {
        return match row {
            Some(row) if row.modified <= at => Err(bad("it shows an older version than the newest")),
            _ => Ok(()),
        };
    }
    let found = decode_value(log.key, value)?.map(|kv| (at, kv.create_revision, kv.version, kv.lease, log.row_bytes));
    let shown = row.map(|row| (row.modified, row.create_revision, row.version, row.lease, row.row_bytes));
    if found == shown { Ok(()) } else { Err(bad("it is not the row of the newest version")) }
}

/// Rows of a key stand newest first.
fn is_newest(view: &dyn View, at: Revision, user_key: &[u8]) -> Result<bool, Error> {
    let (first, after) = (keys::values_prefix(user_key), keys::values_after(user_key));
    let mut cursor = view.cursor(Family::Values, &first, Some(&after))?;
    let newest = cursor.next()?.map(|row| keys::split_values_key(row.key)).transpose()?;
    Ok(newest.is_some_and(|(_, newest)| newest == at))
}
