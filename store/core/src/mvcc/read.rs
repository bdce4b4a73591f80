//! Reading keys at one revision: ranges with all options of the request, counts, single keys.
//!
//! A list reads `values`, now and at any revision by the same code: the first row of a key at or below the revision. What needs no
//! value and reads the newest revision (counts, keys-only, existence) reads the small rows of `keys`.

use std::cmp::Ordering;

use bytes::Bytes;
use quorate_api::etcdserverpb::{self as pb, range_request::SortOrder, range_request::SortTarget};
use quorate_api::mvccpb::KeyValue;

use super::keys::{self, newest_at, split_values_key};
use super::rows::{KeyRow, decode_value};
use super::{Error, Interval, State};
use crate::backend::{Cursor, Family, View};

/// After so many rows of one key that do not count, a seek is cheaper than going on row by row (a next costs about a tenth of it).
const ROWS_BEFORE_SEEK: usize = 8;

/// Answers a range request; only `revision` of the header is set.
///
/// # Errors
/// Compacted, FutureRevision, or the store's own.
pub fn range(view: &dyn View, state: &State, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
    range_counting(view, state, request, true)
}

/// As [`range`], with `count` left at what was read: for pages whose total is known or not asked for.
///
/// # Errors
/// As [`range`].
pub fn range_uncounted(view: &dyn View, state: &State, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
    range_counting(view, state, request, false)
}

fn range_counting(
    view: &dyn View,
    state: &State,
    request: &pb::RangeRequest,
    total: bool,
) -> Result<pb::RangeResponse, Error> {
    let revision = state.readable(request.revision)?;
    let interval = Interval::new(&request.key, &request.range_end);
    let header = Some(pb::ResponseHeader { revision: state.revision, ..Default::default() });
    if request.count_only {
        let count = count(view, state, &interval, revision)?;
        return Ok(pb::RangeResponse { header, count: to_count(count), ..Default::default() });
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let fetch_max = if limit == 0 || reads_all(request) { usize::MAX } else { limit.saturating_add(1) };
    let mut kvs = if request.keys_only && request.sort_target != SortTarget::Value as i32 {
        fetch_without_values(view, state, &interval, revision, fetch_max)?
    } else {
        fetch(view, state, &interval, revision, fetch_max)?
    };
    let mut found = kvs.len();
    if total && found == fetch_max && interval.as_point().is_none() {
        let last = &kvs.last().expect("fetch_max is at least 1").key;
        found += count(view, state, &interval.after(last), revision)?;
    }
    keep_wanted(&mut kvs, request);
    sort(&mut kvs, request);
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(pb::RangeResponse { header, kvs, more, count: to_count(found) })
}

fn to_count(keys: usize) -> i64 {
    i64::try_from(keys).expect("fewer than 2^63 keys")
}

/// A target without an order counts as the default order here, though it is sorted later: etcd's rule.
fn reads_all(request: &pb::RangeRequest) -> bool {
    let default_order = request.sort_order == SortOrder::None as i32
        || request.sort_target == SortTarget::Key as i32 && request.sort_order == SortOrder::Ascend as i32;
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    !default_order || filters != [0; 4]
}

/// The filters of the request; bounds are inclusive, 0 = off.
fn keep_wanted(kvs: &mut Vec<KeyValue>, request: &pb::RangeRequest) {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    kvs.retain(|kv| {
        within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
    });
}

/// Equal elements stay in key order in both directions.
fn sort(kvs: &mut [KeyValue], request: &pb::RangeRequest) {
    let compare: fn(&KeyValue, &KeyValue) -> Ordering = match SortTarget::try_from(request.sort_target) {
        Ok(SortTarget::Key) => |a, b| a.key.cmp(&b.key),
        Ok(SortTarget::Version) => |a, b| a.version.cmp(&b.version),
        Ok(SortTarget::Create) => |a, b| a.create_revision.cmp(&b.create_revision),
        Ok(SortTarget::Mod) => |a, b| a.mod_revision.cmp(&b.mod_revision),
        Ok(SortTarget::Value) => |a, b| a.value.cmp(&b.value),
        // Validation refused it before.
        Err(_) => return,
    };
    if request.sort_order == SortOrder::Descend as i32 {
        kvs.sort_by(|a, b| compare(b, a));
    } else if request.sort_target != SortTarget::Key as i32 {
        kvs.sort_by(compare);
    }
}

/// How many keys live in the interval at `revision`, which must be readable.
///
/// # Errors
/// The store's own.
pub fn count(view: &dyn View, state: &State, interval: &Interval, revision: i64) -> Result<usize, Error> {
    let mut count = 0;
    if revision == state.revision {
        walk_keys(view, interval, |_, _| {
            count += 1;
            Ok(true)
        })?;
    } else {
        walk_values(view, interval, revision, |_, _| {
            count += 1;
            Ok(true)
        })?;
    }
    Ok(count)
}

/// Keys with their values, in key order, at most `keys_max`.
fn fetch(
    view: &dyn View,
    state: &State,
    interval: &Interval,
    revision: i64,
    keys_max: usize,
) -> Result<Vec<KeyValue>, Error> {
    if let Some(key) = interval.as_point() {
        let kv = if revision == state.revision { current(view, key)? } else { value_at(view, key, revision)? };
        return Ok(kv.into_iter().collect());
    }
    let mut kvs = Vec::new();
    walk_values(view, interval, revision, |row_key, value| {
        kvs.extend(decode_value(row_key, Bytes::copy_from_slice(value))?);
        Ok(kvs.len() < keys_max)
    })?;
    Ok(kvs)
}

/// As `fetch`, without value and without lease: etcd answers these from its index, which has neither.
fn fetch_without_values(
    view: &dyn View,
    state: &State,
    interval: &Interval,
    revision: i64,
    keys_max: usize,
) -> Result<Vec<KeyValue>, Error> {
    if revision != state.revision {
        let mut kvs = fetch(view, state, interval, revision, keys_max)?;
        for kv in &mut kvs {
            // The key is a slice of the whole row: copied, so that the value's memory is not kept.
            *kv = KeyValue { key: Bytes::copy_from_slice(&kv.key), lease: 0, value: Bytes::new(), ..*kv };
        }
        return Ok(kvs);
    }
    let mut kvs = Vec::new();
    walk_keys(view, interval, |key, row| {
        kvs.push(KeyValue {
            key: Bytes::copy_from_slice(key),
            create_revision: row.create_revision,
            mod_revision: row.modified.main,
            version: row.version,
            ..Default::default()
        });
        Ok(kvs.len() < keys_max)
    })?;
    Ok(kvs)
}

/// The small row of a living key, at the newest revision of the view.
///
/// # Errors
/// The store's own.
pub fn lookup(view: &dyn View, key: &[u8]) -> Result<Option<KeyRow>, Error> {
    view.get(Family::Keys, key)?.map(|value| KeyRow::decode(key, &value)).transpose()
}

/// The newest version of a key, if it lives.
pub(crate) fn current(view: &dyn View, key: &[u8]) -> Result<Option<KeyValue>, Error> {
    match lookup(view, key)? {
        Some(row) => Ok(Some(version(view, key, &row)?)),
        None => Ok(None),
    }
}

/// The version of a key that its row in `keys` names.
pub(crate) fn version(view: &dyn View, key: &[u8], row: &KeyRow) -> Result<KeyValue, Error> {
    let row_key = keys::values_key(key, row.modified);
    let missing = || Error::malformed(Family::Values, &row_key, "it is missing although the key lives");
    let value = view.get(Family::Values, &row_key)?.ok_or_else(missing)?;
    decode_value(&row_key, value)?.ok_or_else(missing)
}

/// The key's row at or below a main revision, whatever the watermark (watch's `prev_kv`); `None` when it did not live then.
///
/// # Errors
/// The store's own.
pub fn value_at(view: &dyn View, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Error> {
    let mut lower = keys::values_prefix(key);
    lower.extend_from_slice(&newest_at(revision));
    let mut cursor = view.cursor(Family::Values, &lower, Some(&keys::values_after(key)))?;
    match cursor.next()? {
        Some(row) => decode_value(row.key, Bytes::copy_from_slice(row.value)),
        None => Ok(None),
    }
}

/// Visits living keys in key order at the newest revision until `visit` says false.
pub(crate) fn walk_keys(
    view: &dyn View,
    interval: &Interval,
    mut visit: impl FnMut(&[u8], KeyRow) -> Result<bool, Error>,
) -> Result<(), Error> {
    if interval.is_empty() {
        return Ok(());
    }
    if let Some(key) = interval.as_point() {
        if let Some(row) = lookup(view, key)? {
            visit(key, row)?;
        }
        return Ok(());
    }
    let (lower, upper) = interval.keys_bounds();
    let mut cursor = view.cursor(Family::Keys, &lower, upper.as_deref())?;
    while let Some(row) = cursor.next()? {
        if !visit(row.key, KeyRow::decode(row.key, row.value)?)? {
            break;
        }
    }
    Ok(())
}

/// Visits (row key, row) of the keys that live at `revision`, in key order, until `visit` says false.
pub(crate) fn walk_values(
    view: &dyn View,
    interval: &Interval,
    revision: i64,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
) -> Result<(), Error> {
    if interval.is_empty() {
        return Ok(());
    }
    let (lower, upper) = interval.values_bounds();
    let mut cursor = view.cursor(Family::Values, &lower, upper.as_deref())?;
    // Invariant: the version of the key `decided` at `revision` was found; its other rows are older.
    let mut decided: Vec<u8> = Vec::new();
    let mut passed = 0;
    let mut target = Vec::new();
    let mut row = cursor.next()?;
    while let Some(found) = row {
        let (prefix, version) = split_values_key(found.key)?;
        let skip = if prefix == decided {
            Skip::Older
        } else if version.main > revision {
            Skip::Newer
        } else {
            if !found.value.is_empty() && !visit(found.key, found.value)? {
                return Ok(());
            }
            decided.clear();
            decided.extend_from_slice(prefix);
            passed = 0;
            row = cursor.next()?;
            continue;
        };
        passed += 1;
        row = if passed < ROWS_BEFORE_SEEK {
            cursor.next()?
        } else {
            passed = 0;
            target.clear();
            target.extend_from_slice(prefix);
            match skip {
                Skip::Older => keys::prefix_to_after(&mut target),
                Skip::Newer => target.extend_from_slice(&newest_at(revision)),
            }
            seek(&mut *cursor, &target)?
        };
    }
    Ok(())
}

/// Why a row does not count.
enum Skip {
    /// A version before the one that does.
    Older,
    /// A version above the revision that is read.
    Newer,
}

fn seek<'c>(cursor: &'c mut (dyn Cursor + '_), target: &[u8]) -> Result<Option<crate::backend::Row<'c>>, Error> {
    Ok(cursor.seek(target)?)
}
