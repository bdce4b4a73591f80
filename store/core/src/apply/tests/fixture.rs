//! A store in memory that commands are applied to, and short ways to write requests.

use bytes::Bytes;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, request_op::Request as Op};
use quorate_api::mvccpb::KeyValue;

use crate::apply::{Applied, Limits, Machine, Response};
use crate::command::{BatchBuilder, Command, CommandId, Expiry, Request};
use crate::memory::Memory;
use crate::mvcc::{self, Position, State};

pub(crate) struct Store {
    pub rows: Memory,
    pub machine: Machine,
    pub limits: Limits,
    pub term: u64,
    counter: u64,
}

impl Store {
    pub fn new() -> Store {
        let rows = Memory::default();
        let machine = Machine::open(&rows).unwrap();
        Store { rows, machine, limits: Limits::default(), term: 1, counter: 0 }
    }

    /// Applies entries of commands in one turn.
    pub fn turn(&mut self, entries: Vec<Vec<Request>>) -> Applied {
        let before = self.rows.clone();
        let mut index = self.machine.applied().index;
        let mut turn = self.machine.turn(&before, self.limits);
        for requests in entries {
            index += 1;
            let mut batch = BatchBuilder::default();
            for request in requests {
                self.counter += 1;
                let id = CommandId { member: 1, boot: 1, counter: self.counter };
                batch.push(&Command { id, user: String::new(), auth_revision: 0, request });
            }
            turn.entry(index, self.term, batch.finish()).unwrap();
        }
        let applied = turn.finish();
        self.rows.write(&applied.batch);
        assert_eq!(Machine::open(&self.rows).unwrap(), self.machine, "the rows tell the same state");
        applied
    }

    /// Applies one command in a turn of its own.
    pub fn apply(&mut self, request: Request) -> Result<Response, ApiError> {
        let mut applied = self.turn(vec![vec![request]]);
        assert_eq!(applied.outcomes.len(), 1);
        applied.outcomes.remove(0).result
    }

    pub fn state(&self) -> State {
        self.machine.state()
    }

    pub fn put(&mut self, key: &str, value: &str) -> i64 {
        self.apply(put(key, value)).unwrap();
        self.machine.revision()
    }

    pub fn delete(&mut self, key: &str, end: &str) -> pb::DeleteRangeResponse {
        match self.apply(delete(key, end)).unwrap() {
            Response::DeleteRange(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn compact(&mut self, revision: i64) -> Result<Response, ApiError> {
        self.apply(Request::Compact(pb::CompactionRequest { revision, physical: false }))
    }

    pub fn grant(&mut self, id: i64) {
        self.apply(grant(id)).unwrap();
    }

    pub fn revoke(&mut self, id: i64, expiry: Option<Expiry>) -> Result<Response, ApiError> {
        self.apply(Request::LeaseRevoke { id, expiry })
    }

    pub fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, mvcc::Error> {
        mvcc::range(&self.rows, &State::load(&self.rows).unwrap(), &request)
    }

    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.range(range(key, "")).unwrap().kvs.into_iter().next()
    }

    /// Sweeps to the watermark in steps of so many rows.
    pub fn sweep(&mut self, rows_max: usize) {
        loop {
            let position = Position::load(&self.rows).unwrap();
            let step = mvcc::sweep(&self.rows, &self.state(), position, rows_max).unwrap();
            self.rows.write(&step.batch);
            if step.done {
                return;
            }
        }
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

pub(crate) fn put_request(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

pub(crate) fn put(key: &str, value: &str) -> Request {
    Request::Put(put_request(key, value))
}

pub(crate) fn put_leased(key: &str, lease: i64) -> Request {
    Request::Put(pb::PutRequest { lease, ..put_request(key, "v") })
}

pub(crate) fn delete(key: &str, end: &str) -> Request {
    Request::DeleteRange(delete_request(key, end))
}

pub(crate) fn delete_request(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false }
}

pub(crate) fn grant(id: i64) -> Request {
    Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 60, id })
}

pub(crate) fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

pub(crate) fn op_put(key: &str, value: &str) -> pb::RequestOp {
    op(Op::RequestPut(put_request(key, value)))
}

pub(crate) fn op_delete(key: &str, end: &str) -> pb::RequestOp {
    op(Op::RequestDeleteRange(delete_request(key, end)))
}

pub(crate) fn op_range(key: &str, end: &str) -> pb::RequestOp {
    op(Op::RequestRange(range(key, end)))
}

pub(crate) fn txn(
    compare: Vec<pb::Compare>,
    success: Vec<pb::RequestOp>,
    failure: Vec<pb::RequestOp>,
) -> pb::TxnRequest {
    pb::TxnRequest { compare, success, failure }
}
