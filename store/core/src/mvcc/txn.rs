//! Transactions, the part that only reads: which branches run, whether they may, and transactions without writes.
//!
//! All compares, also those of nested transactions, are decided on the state before the transaction; so are the checks.

use std::cmp::Ordering;

use bytes::Bytes;
use quorate_api::etcdserverpb::{self as pb, compare::CompareResult, compare::CompareTarget, compare::TargetUnion};
use quorate_api::etcdserverpb::{request_op::Request, response_op::Response};

use super::rows::{KeyRow, decode_value};
use super::{Error, Interval, State, read};
use crate::backend::View;

/// Which branch each transaction takes, in execution order: the outer one first, then those nested in its branch.
pub(crate) type Path = Vec<bool>;

/// Whether every operation of both branches is a plain range, so that it is served without raft. A nested transaction is not.
pub fn is_read_only(request: &pb::TxnRequest) -> bool {
    operations(request).all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// Whether it may be answered from this member alone. True for a transaction without operations, as in etcd.
pub fn is_serializable(request: &pb::TxnRequest) -> bool {
    operations(request).all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}

fn operations(request: &pb::TxnRequest) -> impl Iterator<Item = &pb::RequestOp> {
    request.success.iter().chain(&request.failure)
}

/// Serves a transaction that [`is_read_only`].
///
/// # Errors
/// Compacted or FutureRevision of one of its ranges, or the store's own.
pub fn txn_read(view: &dyn View, state: &State, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
    assert!(is_read_only(request), "the caller sent everything else through raft");
    let succeeded = compares_hold(view, &request.compare)?;
    let branch = branch(request, succeeded);
    let ranges = || {
        branch.iter().filter_map(|op| match &op.request {
            Some(Request::RequestRange(range)) => Some(range),
            _ => None,
        })
    };
    for range in ranges() {
        check_range(state, range)?;
    }
    let mut responses = Vec::with_capacity(branch.len());
    for range in ranges() {
        let response = Response::ResponseRange(read::range(view, state, range)?);
        responses.push(pb::ResponseOp { response: Some(response) });
    }
    let header = Some(pb::ResponseHeader { revision: state.revision, ..Default::default() });
    Ok(pb::TxnResponse { header, succeeded, responses })
}

pub(crate) fn branch(request: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

/// Decides the path of a transaction and of those nested in it.
pub(crate) fn decide(view: &dyn View, request: &pb::TxnRequest, path: &mut Path) -> Result<(), Error> {
    let succeeded = compares_hold(view, &request.compare)?;
    path.push(succeeded);
    for op in branch(request, succeeded) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            decide(view, nested, path)?;
        }
    }
    Ok(())
}

fn compares_hold(view: &dyn View, compares: &[pb::Compare]) -> Result<bool, Error> {
    for compare in compares {
        if !compare_holds(view, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn compare_holds(view: &dyn View, compare: &pb::Compare) -> Result<bool, Error> {
    let interval = Interval::new(&compare.key, &compare.range_end);
    let on_value = compare.target == CompareTarget::Value as i32;
    let (mut any, mut all) = (false, true);
    if on_value && interval.as_point().is_none() {
        let newest = i64::MAX;
        read::walk_values(view, &interval, newest, |row_key, value| {
            any = true;
            let kv = decode_value(row_key, Bytes::copy_from_slice(value))?.unwrap_or_default();
            all = is_as_asked(compare, kv.value.cmp(&given_value(compare)));
            Ok(all)
        })?;
    } else {
        read::walk_keys(view, &interval, |key, row| {
            any = true;
            let order = if on_value {
                read::version(view, key, &row)?.value.cmp(&given_value(compare))
            } else {
                compare_number(compare, Some(&row))
            };
            all = is_as_asked(compare, order);
            Ok(all)
        })?;
    }
    if any {
        return Ok(all);
    }
    // A missing key compares as zero; a missing value is never as asked, not even unequal.
    Ok(!on_value && is_as_asked(compare, compare_number(compare, None)))
}

/// A union member that is unset or of another target means zero or empty.
fn given_value(compare: &pb::Compare) -> Bytes {
    match &compare.target_union {
        Some(TargetUnion::Value(value)) => value.clone(),
        _ => Bytes::new(),
    }
}

fn compare_number(compare: &pb::Compare, row: Option<&KeyRow>) -> Ordering {
    let of = |field: fn(&KeyRow) -> i64| row.map_or(0, field);
    let (stored, given) = match (CompareTarget::try_from(compare.target), &compare.target_union) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(given))) => (of(|row| row.version), *given),
        (Ok(CompareTarget::Version), _) => (of(|row| row.version), 0),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(given))) => {
            (of(|row| row.create_revision), *given)
        }
        (Ok(CompareTarget::Create), _) => (of(|row| row.create_revision), 0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(given))) => (of(|row| row.modified.main), *given),
        (Ok(CompareTarget::Mod), _) => (of(|row| row.modified.main), 0),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(given))) => (of(|row| row.lease), *given),
        (Ok(CompareTarget::Lease), _) => (of(|row| row.lease), 0),
        // Values are compared by the caller; a target that nobody knows compares as equal, as in etcd.
        (Ok(CompareTarget::Value) | Err(_), _) => (0, 0),
    };
    stored.cmp(&given)
}

fn is_as_asked(compare: &pb::Compare, stored_to_given: Ordering) -> bool {
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => stored_to_given.is_eq(),
        Ok(CompareResult::NotEqual) => stored_to_given.is_ne(),
        Ok(CompareResult::Greater) => stored_to_given.is_gt(),
        Ok(CompareResult::Less) => stored_to_given.is_lt(),
        Err(_) => true,
    }
}

/// Inside a transaction only 0 means the newest: a negative revision is below every watermark but the first.
pub(crate) fn check_range(state: &State, range: &pb::RangeRequest) -> Result<(), Error> {
    match range.revision {
        0 => Ok(()),
        revision if revision > state.revision => Err(Error::FutureRevision),
        revision if revision < state.compact_revision => Err(Error::Compacted),
        _ => Ok(()),
    }
}

pub(crate) fn next_of(path: &mut impl Iterator<Item = bool>) -> bool {
    path.next().expect("the path was decided for this very request")
}
