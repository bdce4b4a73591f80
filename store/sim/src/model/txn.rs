//! Transactions: every compare, also of nested ones, is decided on the state before; so is whether the operations may run. Then
//! they run in order under one revision, each seeing those before it.

use bytes::Bytes;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, compare::CompareResult, compare::CompareTarget, compare::TargetUnion};
use quorate_api::etcdserverpb::{TxnRequest, request_op::Request as Op};
use quorate_api::mvccpb::KeyValue;

use super::{Answer, Model, put_cost, within};

/// That of the dearer branch.
pub fn cost(txn: &TxnRequest) -> u64 {
    let branch = |ops: &[pb::RequestOp]| {
        let one = |op: &pb::RequestOp| match &op.request {
            Some(Op::RequestPut(put)) => put_cost(put),
            Some(Op::RequestTxn(nested)) => cost(nested),
            _ => 0,
        };
        ops.iter().map(one).sum::<u64>()
    };
    branch(&txn.success).max(branch(&txn.failure))
}

/// A transaction with its branch chosen.
struct Chosen<'a> {
    succeeded: bool,
    ops: Vec<Step<'a>>,
}

enum Step<'a> {
    One(&'a Op),
    Nested(Chosen<'a>),
}

impl Model {
    pub(super) fn txn(&mut self, txn: &TxnRequest) -> Result<Answer, ApiError> {
        let chosen = self.choose(txn);
        self.may_run(&chosen, &mut Vec::new())?;
        let mut answer = Answer::default();
        self.run(chosen, &mut answer);
        Ok(answer)
    }

    fn choose<'a>(&self, txn: &'a TxnRequest) -> Chosen<'a> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let step = |op: &'a pb::RequestOp| match op.request.as_ref()? {
            Op::RequestTxn(nested) => Some(Step::Nested(self.choose(nested))),
            one => Some(Step::One(one)),
        };
        Chosen { succeeded, ops: ops.iter().filter_map(step).collect() }
    }

    fn may_run(&self, chosen: &Chosen<'_>, deleted: &mut Vec<(Bytes, Bytes)>) -> Result<(), ApiError> {
        for step in &chosen.ops {
            match step {
                Step::Nested(nested) => self.may_run(nested, deleted)?,
                Step::One(Op::RequestRange(range)) if range.revision > self.revision => {
                    return Err(ApiError::FutureRev);
                }
                Step::One(Op::RequestRange(range)) if range.revision != 0 && range.revision < self.compacted => {
                    return Err(ApiError::Compacted);
                }
                Step::One(Op::RequestPut(put)) => self.may_put(put, deleted)?,
                Step::One(Op::RequestDeleteRange(delete)) => {
                    deleted.push((delete.key.clone(), delete.range_end.clone()));
                }
                Step::One(_) => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, chosen: Chosen<'_>, answer: &mut Answer) {
        answer.numbers.push(i64::from(chosen.succeeded));
        for step in chosen.ops {
            match step {
                Step::Nested(nested) => self.run(nested, answer),
                Step::One(Op::RequestRange(range)) => {
                    let changed = self.changes.contains_key(&(self.revision + 1));
                    let now = self.revision + i64::from(changed);
                    let found = self.range(range, now, self.compacted);
                    answer.join(found.expect("its revision was checked before anything ran"));
                }
                Step::One(Op::RequestPut(put)) => {
                    let before = self.put(put);
                    answer.join(Answer::of_put(before.filter(|_| put.prev_kv)));
                }
                Step::One(Op::RequestDeleteRange(delete)) => {
                    let gone = self.delete(&delete.key, &delete.range_end);
                    answer.join(Answer::of_delete(gone, delete.prev_kv));
                }
                Step::One(Op::RequestTxn(_)) => unreachable!("a nested transaction was chosen as such"),
            }
        }
    }

    fn holds(&self, compare: &pb::Compare) -> bool {
        let live = self.keys.keys().filter(|key| within(key, &compare.key, &compare.range_end));
        let found: Vec<&KeyValue> = live.filter_map(|key| self.get(key)).collect();
        if !found.is_empty() {
            return found.iter().all(|kv| compare_one(compare, kv));
        }
        // What is missing counts as zero; a value that is missing is never as asked.
        compare.target() != CompareTarget::Value && compare_one(compare, &KeyValue::default())
    }
}

fn compare_one(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target_union {
        Some(TargetUnion::Version(given)) => kv.version.cmp(given),
        Some(TargetUnion::CreateRevision(given)) => kv.create_revision.cmp(given),
        Some(TargetUnion::ModRevision(given)) => kv.mod_revision.cmp(given),
        Some(TargetUnion::Value(given)) => kv.value.cmp(given),
        Some(TargetUnion::Lease(given)) => kv.lease.cmp(given),
        None => panic!("no client of the simulation leaves out what it compares with"),
    };
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
