//! What the committed commands mean, written down as plainly as possible and without the core's code: the judge of every answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, compare::TargetUnion};
use quorate_api::etcdserverpb::{request_op::Request as Op, response_op::Response as OpResponse};
use quorate_api::mvccpb::KeyValue;
use quorate_core::apply::Response;
use quorate_core::command::Request;

/// What a client is told, as far as it is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub revision: i64,
    /// 1 for a transaction that succeeded; the number of deleted keys.
    pub number: i64,
    /// Of all ranges.
    pub kvs: Vec<KeyValue>,
    pub error: Option<ApiError>,
}

impl Answer {
    pub fn of(result: &Result<Response, ApiError>) -> Answer {
        let header = |header: &Option<pb::ResponseHeader>| header.as_ref().map_or(0, |header| header.revision);
        let made = |revision, number, kvs| Answer { revision, number, kvs, error: None };
        match result {
            Ok(Response::Put(put)) => made(header(&put.header), 0, Vec::new()),
            Ok(Response::DeleteRange(delete)) => made(header(&delete.header), delete.deleted, Vec::new()),
            Ok(Response::Compact(compact)) => made(header(&compact.header), 0, Vec::new()),
            Ok(Response::Txn(txn)) => {
                let mut kvs = Vec::new();
                for response in &txn.responses {
                    if let Some(OpResponse::ResponseRange(range)) = &response.response {
                        kvs.extend(range.kvs.iter().cloned());
                    }
                }
                made(header(&txn.header), i64::from(txn.succeeded), kvs)
            }
            Ok(_) => made(0, 0, Vec::new()),
            Err(error) => Answer { revision: 0, number: 0, kvs: Vec::new(), error: Some(error.clone()) },
        }
    }
}

/// All versions of all keys.
#[derive(Debug, Clone)]
pub struct Model {
    pub revision: i64,
    pub compacted: i64,
    /// Ascending by revision; `None` is a tombstone.
    keys: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
}

fn within(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    if end.is_empty() { key == start } else { key >= start && key < end }
}

impl Model {
    pub fn new() -> Model {
        Model { revision: 1, compacted: -1, keys: BTreeMap::new() }
    }

    /// What lives in an interval at a revision, whatever was compacted. No key of the simulation needs etcd's open ends.
    pub fn range(&self, start: &[u8], end: &[u8], revision: i64) -> Vec<KeyValue> {
        let inside = self.keys.iter().filter(|(key, _)| within(key, start, end));
        inside.filter_map(|(_, versions)| versions.iter().rev().find(|(at, _)| *at <= revision)?.1.clone()).collect()
    }

    fn get(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.1.as_ref()
    }

    fn put(&mut self, put: &pb::PutRequest, revision: i64) {
        let before = self.get(&put.key);
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            version: before.map_or(0, |kv| kv.version) + 1,
            mod_revision: revision,
            lease: 0,
        };
        self.keys.entry(put.key.clone()).or_default().push((revision, Some(kv)));
    }

    fn delete(&mut self, delete: &pb::DeleteRangeRequest, revision: i64) -> i64 {
        let mut deleted = 0;
        for (key, versions) in &mut self.keys {
            let lives = versions.last().is_some_and(|(_, kv)| kv.is_some());
            if lives && within(key, &delete.key, &delete.range_end) {
                versions.push((revision, None));
                deleted += 1;
            }
        }
        deleted
    }

    /// Carries out a command and says what it answers.
    pub fn apply(&mut self, request: &Request) -> Answer {
        let next = self.revision + 1;
        let mut answer = Answer { revision: 0, number: 0, kvs: Vec::new(), error: None };
        match request {
            Request::Put(put) => {
                self.put(put, next);
                self.revision = next;
            }
            Request::DeleteRange(delete) => {
                answer.number = self.delete(delete, next);
                self.revision += i64::from(answer.number > 0);
            }
            Request::Txn(txn) => self.txn(txn, &mut answer),
            Request::Compact(compact) => {
                let refused = match compact.revision {
                    at if at <= self.compacted => Some(ApiError::Compacted),
                    at if at > self.revision => Some(ApiError::FutureRev),
                    _ => None,
                };
                if refused.is_some() {
                    return Answer { error: refused, ..answer };
                }
                self.compacted = compact.revision;
            }
            _ => return answer,
        }
        Answer { revision: self.revision, ..answer }
    }

    fn txn(&mut self, txn: &pb::TxnRequest, answer: &mut Answer) {
        let holds = txn.compare.iter().all(|compare| {
            let found = self.get(&compare.key);
            match &compare.target_union {
                Some(TargetUnion::ModRevision(wanted)) => found.map_or(0, |kv| kv.mod_revision) == *wanted,
                Some(TargetUnion::Version(wanted)) => found.map_or(0, |kv| kv.version) == *wanted,
                other => panic!("no client of the simulation compares {other:?}"),
            }
        });
        answer.number = i64::from(holds);
        let next = self.revision + 1;
        let mut changed = false;
        for op in if holds { &txn.success } else { &txn.failure } {
            match &op.request {
                Some(Op::RequestPut(put)) => {
                    self.put(put, next);
                    changed = true;
                }
                Some(Op::RequestDeleteRange(delete)) => changed |= self.delete(delete, next) > 0,
                Some(Op::RequestRange(range)) => {
                    answer.kvs.extend(self.range(&range.key, &range.range_end, next));
                }
                other => panic!("no client of the simulation sends {other:?}"),
            }
        }
        self.revision += i64::from(changed);
    }
}

impl Default for Model {
    fn default() -> Self {
        Model::new()
    }
}
