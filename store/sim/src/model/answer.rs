//! What a client is told, flat, so that the model and the core can be compared field by field.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, response_op::Response as OpResponse};
use quorate_api::mvccpb::KeyValue;
use quorate_core::apply::Response;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    pub revision: i64,
    /// Everything that is a number, in the order of the operations: found a row before (put), deleted, succeeded, count and more.
    pub numbers: Vec<i64>,
    /// Of all ranges, and previous rows where they were asked for.
    pub kvs: Vec<KeyValue>,
    pub error: Option<ApiError>,
}

impl Answer {
    pub fn of_error(error: ApiError) -> Answer {
        Answer { error: Some(error), ..Answer::default() }
    }

    pub(super) fn of_put(before: Option<KeyValue>) -> Answer {
        let mut answer = Answer::default();
        answer.add_put(before.as_ref());
        answer
    }

    pub(super) fn of_delete(gone: Vec<KeyValue>, told: bool) -> Answer {
        let deleted = gone.len() as i64;
        Answer { numbers: vec![deleted], kvs: if told { gone } else { Vec::new() }, ..Answer::default() }
    }

    pub fn of(result: &Result<Response, ApiError>) -> Answer {
        let mut answer = Answer::default();
        let header = match result {
            Err(error) => return Answer::of_error(error.clone()),
            Ok(Response::Put(put)) => {
                answer.add_put(put.prev_kv.as_ref());
                &put.header
            }
            Ok(Response::DeleteRange(delete)) => {
                answer.add_delete(delete);
                &delete.header
            }
            Ok(Response::Txn(txn)) => {
                answer.add_txn(txn);
                &txn.header
            }
            Ok(Response::Compact(compact)) => &compact.header,
            Ok(Response::LeaseGrant(granted)) => {
                answer.numbers = vec![granted.id, granted.ttl];
                &granted.header
            }
            Ok(Response::LeaseRevoke(revoked)) => &revoked.header,
            Ok(Response::Alarm(alarm)) => {
                let numbers = alarm.alarms.iter().flat_map(|a| [i64::from(a.alarm), a.member_id.cast_signed()]);
                answer.numbers = numbers.collect();
                &alarm.header
            }
            Ok(Response::Done) => return answer,
        };
        answer.revision = header.as_ref().map_or(0, |header| header.revision);
        answer
    }

    pub fn of_range(range: &pb::RangeResponse) -> Answer {
        let mut answer = Answer::default();
        answer.add_range(range);
        answer.revision = range.header.as_ref().map_or(0, |header| header.revision);
        answer
    }

    fn add_put(&mut self, before: Option<&KeyValue>) {
        self.numbers.push(i64::from(before.is_some()));
        self.kvs.extend(before.cloned());
    }

    fn add_delete(&mut self, delete: &pb::DeleteRangeResponse) {
        self.numbers.push(delete.deleted);
        self.kvs.extend(delete.prev_kvs.iter().cloned());
    }

    fn add_range(&mut self, range: &pb::RangeResponse) {
        self.numbers.extend([range.count, i64::from(range.more)]);
        self.kvs.extend(range.kvs.iter().cloned());
    }

    fn add_txn(&mut self, txn: &pb::TxnResponse) {
        self.numbers.push(i64::from(txn.succeeded));
        for response in &txn.responses {
            match &response.response {
                Some(OpResponse::ResponseRange(range)) => self.add_range(range),
                Some(OpResponse::ResponsePut(put)) => self.add_put(put.prev_kv.as_ref()),
                Some(OpResponse::ResponseDeleteRange(delete)) => self.add_delete(delete),
                Some(OpResponse::ResponseTxn(nested)) => self.add_txn(nested),
                None => {}
            }
        }
    }

    /// Takes over what a later operation of the same transaction answered.
    pub(super) fn join(&mut self, other: Answer) {
        self.numbers.extend(other.numbers);
        self.kvs.extend(other.kvs);
    }
}
