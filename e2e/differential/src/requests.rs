//! What a request is made of, as far as it decides whether it can be compared.

use quorate_api::etcdserverpb as pb;
use quorate_api::etcdserverpb::compare::{CompareResult, TargetUnion};
use quorate_api::etcdserverpb::request_op::Request as Op;

use crate::names::Word;

/// What kinds of comparisons and operations a transaction has, in all its branches.
#[derive(Default)]
pub struct Ops {
    pub put: bool,
    pub ignore: bool,
    pub delete: bool,
    pub delete_from_key: bool,
    pub chosen_lease: bool,
    /// Whether a comparison asks for the order of a lease and one whose id the server chose.
    pub orders_chosen: bool,
}

impl Ops {
    pub fn of(txn: &pb::TxnRequest) -> Ops {
        let mut ops = Ops::default();
        ops.add(txn);
        ops
    }

    fn add(&mut self, txn: &pb::TxnRequest) {
        self.orders_chosen |= txn.compare.iter().any(orders_chosen);
        for op in txn.success.iter().chain(&txn.failure) {
            match &op.request {
                Some(Op::RequestPut(put)) => {
                    self.put = true;
                    self.ignore |= put.ignore_value || put.ignore_lease;
                    self.chosen_lease |= is_chosen(put.lease);
                }
                Some(Op::RequestDeleteRange(delete)) => {
                    self.delete = true;
                    self.delete_from_key |= delete.range_end[..] == [0];
                }
                Some(Op::RequestTxn(nested)) => self.add(nested),
                Some(Op::RequestRange(_)) | None => {}
            }
        }
    }
}

fn orders_chosen(compare: &pb::Compare) -> bool {
    let orders = matches!(compare.result(), CompareResult::Greater | CompareResult::Less);
    orders && matches!(compare.target_union, Some(TargetUnion::Lease(lease)) if is_chosen(lease))
}

/// Whether a lease is one whose id the server chose.
pub fn is_chosen(lease: i64) -> bool {
    matches!(Word::of(lease), Some(Word::Lease(_)))
}

/// Up to so many, Go sorts by insertion, which leaves equal ones as they were.
pub const STABLE_KEYS_MAX: i64 = 12;

/// The interval of a range that is sorted by something else than the key, as a range that counts.
pub fn add_sorted(range: &pb::RangeRequest, intervals: &mut Vec<pb::RangeRequest>) {
    if range.sort_target != pb::range_request::SortTarget::Key as i32 && !range.range_end.is_empty() {
        let pb::RangeRequest { key, range_end, revision, .. } = range.clone();
        intervals.push(pb::RangeRequest { key, range_end, revision, count_only: true, ..Default::default() });
    }
}

/// As [`add_sorted`] for all ranges of a transaction; returns how many keys it may add before they run.
pub fn sorted_in(txn: &pb::TxnRequest, intervals: &mut Vec<pb::RangeRequest>) -> i64 {
    let ops = txn.success.iter().chain(&txn.failure);
    ops.map(|op| match &op.request {
        Some(Op::RequestRange(range)) => {
            add_sorted(range, intervals);
            0
        }
        Some(Op::RequestPut(_)) => 1,
        Some(Op::RequestTxn(nested)) => sorted_in(nested, intervals),
        Some(Op::RequestDeleteRange(_)) | None => 0,
    })
    .sum()
}
