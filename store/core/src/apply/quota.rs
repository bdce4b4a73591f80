//! When writes are refused, and when they are applied but answered with NoSpace.
//!
//! Only the replicated alarms decide what applies. The size of this member's database changes an answer, so that members of
//! different sizes keep equal states. Costs are etcd's estimates, in bytes.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, request_op::Request as Op};

use super::checks::Refusal;
use super::{Response, Turn};
use crate::command::Request;

const KEY_OVERHEAD_BYTES: u64 = 256;
/// Estimated cost of a lease.
pub const LEASE_COST_BYTES: u64 = 64;

/// Estimated cost of a put.
pub fn put_cost(request: &pb::PutRequest) -> u64 {
    KEY_OVERHEAD_BYTES + (request.key.len() + request.value.len()) as u64
}

/// Estimated cost of a transaction, that of its dearer branch; 0 exactly when it has no put anywhere.
pub fn txn_cost(request: &pb::TxnRequest) -> u64 {
    let cost = |ops: &[pb::RequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(Op::RequestPut(put)) => put_cost(put),
                Some(Op::RequestTxn(nested)) => txn_cost(nested),
                _ => 0,
            })
            .sum()
    };
    cost(&request.success).max(cost(&request.failure))
}

impl Turn<'_> {
    /// Errors of CORRUPT come before those of NOSPACE.
    pub(super) fn refuse_by_alarm(&self, request: &Request) -> Result<(), ApiError> {
        let alarms = &self.machine.alarms;
        if alarms.is_empty() {
            return Ok(());
        }
        let (writes, grows) = match request {
            Request::Put(_) | Request::LeaseGrant(_) => (true, true),
            Request::Txn(txn) => (true, txn_cost(txn) > 0),
            Request::DeleteRange(_) | Request::Compact(_) | Request::LeaseRevoke { .. } => (true, false),
            Request::Alarm(_) | Request::MemberAttributes { .. } | Request::FeatureLevel(_) => (false, false),
        };
        if writes && alarms.is_raised(pb::AlarmType::Corrupt) {
            return Err(ApiError::Corrupt);
        }
        if grows && alarms.is_raised(pb::AlarmType::Nospace) {
            return Err(ApiError::NoSpace);
        }
        Ok(())
    }

    /// Whether a write of this cost goes over the quota; asked before it is applied.
    pub(super) fn is_over_quota(&self, cost_bytes: u64) -> bool {
        let size = self.machine.size_in_use_bytes() + self.limits.unreclaimed_bytes;
        cost_bytes > 0 && self.limits.quota_bytes.is_some_and(|quota| size + cost_bytes >= quota)
    }

    /// The answer to a write that was applied.
    pub(super) fn answer(&mut self, over_quota: bool, response: Response) -> Result<Response, Refusal> {
        if over_quota {
            self.no_space = true;
            return Err(ApiError::NoSpace.into());
        }
        Ok(response)
    }
}
