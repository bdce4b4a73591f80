//! The shape of requests, before anything is proposed or read: pure, on the request alone. Rules and their order are etcd's.

mod overlap;

use quorate_api::Error;
use quorate_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_api::etcdserverpb::{self as pb, request_op::Request};

/// The longest TTL that a lease may have, in seconds.
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// # Errors
/// EmptyKey, InvalidSortOption.
pub fn range(request: &pb::RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(Error::InvalidSortOption);
    }
    Ok(())
}

/// # Errors
/// EmptyKey, ValueProvided, LeaseProvided.
pub fn put(request: &pb::PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// # Errors
/// EmptyKey.
pub fn delete_range(request: &pb::DeleteRangeRequest) -> Result<(), Error> {
    if request.key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

/// `ops_max` bounds the longest of compares, success and failure; a nested transaction gets what its parent leaves.
///
/// # Errors
/// TooManyOps, EmptyKey, KeyNotFound for an operation that is not set, DuplicateKey, and those of the operations.
pub fn txn(request: &pb::TxnRequest, ops_max: usize) -> Result<(), Error> {
    operations(request, ops_max)?;
    // Only then, because the work for it grows with their number.
    overlap::check(&request.success)?;
    overlap::check(&request.failure)?;
    Ok(())
}

fn operations(request: &pb::TxnRequest, ops_max: usize) -> Result<(), Error> {
    let pb::TxnRequest { compare, success, failure } = request;
    let count = compare.len().max(success.len()).max(failure.len());
    let Some(ops_left) = ops_max.checked_sub(count) else {
        return Err(Error::TooManyOps);
    };
    if compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for op in success.iter().chain(failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => operations(request, ops_left)?,
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

/// The TTL may be 0 or less: the proposer raises it to the cluster's minimum.
///
/// # Errors
/// LeaseTTLTooLarge.
pub fn lease_grant(request: &pb::LeaseGrantRequest) -> Result<(), Error> {
    if request.ttl > LEASE_TTL_SECONDS_MAX { Err(Error::LeaseTTLTooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
