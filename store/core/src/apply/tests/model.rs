//! The naive model: every version of every key in one map, rules written down as plainly as possible. Compaction removes rows at
//! once, as etcd's does in the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, compare::TargetUnion};
use quorate_api::etcdserverpb::{request_op::Request as Op, response_op::Response as OpResponse};
use quorate_api::mvccpb::KeyValue;

use crate::apply::Response;
use crate::command::Request;
use crate::mvcc::Revision;

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub revision: i64,
    pub compacted: i64,
    pub leases: BTreeSet<i64>,
    /// Key and, unless it is a tombstone, what it held.
    pub rows: BTreeMap<Revision, (Bytes, Option<KeyValue>)>,
    changes: i64,
}

fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}

impl Model {
    pub fn new() -> Model {
        Model { revision: 1, compacted: -1, leases: BTreeSet::new(), rows: BTreeMap::new(), changes: 0 }
    }

    /// What lives at a revision, by key.
    pub fn live(&self, revision: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut live = BTreeMap::new();
        for (key, kv) in self.rows.range(..Revision::new(revision + 1, 0)).map(|(_, row)| row) {
            match kv {
                Some(kv) => live.insert(key.clone(), kv.clone()),
                None => live.remove(key),
            };
        }
        live
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        let revision = self.revision + i64::from(self.changes > 0);
        Some(pb::ResponseHeader { revision, ..Default::default() })
    }

    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let current = self.revision + i64::from(self.changes > 0);
        if request.revision > current {
            return Err(Error::FutureRev);
        }
        let revision = if request.revision <= 0 { current } else { request.revision };
        if revision < self.compacted {
            return Err(Error::Compacted);
        }
        let mut kvs: Vec<KeyValue> = self
            .live(revision)
            .into_values()
            .filter(|kv| in_range(&kv.key, &request.key, &request.range_end))
            .collect();
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(pb::RangeResponse { header: self.header(), count, ..Default::default() });
        }
        let bounds = [
            (request.min_mod_revision, request.max_mod_revision),
            (request.min_create_revision, request.max_create_revision),
        ];
        let limit = request.limit.max(0) as usize;
        let (order, target) = (request.sort_order, request.sort_target);
        let default_order = order == 0 || target == 0 && order == 1;
        if default_order && bounds == [(0, 0); 2] && limit > 0 {
            kvs.truncate(limit.saturating_add(1));
        }
        if request.keys_only && target != 4 {
            kvs.iter_mut().for_each(|kv| kv.lease = 0);
        }
        let within = |value: i64, (min, max): (i64, i64)| (min == 0 || value >= min) && (max == 0 || value <= max);
        kvs.retain(|kv| within(kv.mod_revision, bounds[0]) && within(kv.create_revision, bounds[1]));
        let number = |kv: &KeyValue| match target {
            1 => kv.version,
            2 => kv.create_revision,
            3 => kv.mod_revision,
            _ => 0,
        };
        let text = |kv: &KeyValue| match target {
            0 => kv.key.clone(),
            4 => kv.value.clone(),
            _ => Bytes::new(),
        };
        kvs.sort_by(|a, b| {
            let ascending = (number(a), text(a)).cmp(&(number(b), text(b)));
            if order == 2 { ascending.reverse() } else { ascending }
        });
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(pb::RangeResponse { header: self.header(), kvs, more, count })
    }

    fn now(&self) -> BTreeMap<Bytes, KeyValue> {
        self.live(self.revision + 1)
    }

    fn row(&mut self, key: Bytes, kv: Option<KeyValue>) {
        self.rows.insert(Revision::new(self.revision + 1, self.changes), (key, kv));
        self.changes += 1;
    }

    fn put(&mut self, request: &pb::PutRequest) -> pb::PutResponse {
        let before = self.now().remove(&request.key);
        let kv = KeyValue {
            key: request.key.clone(),
            create_revision: before.as_ref().map_or(self.revision + 1, |kv| kv.create_revision),
            mod_revision: self.revision + 1,
            version: before.as_ref().map_or(1, |kv| kv.version + 1),
            value: if request.ignore_value { before.clone().unwrap().value } else { request.value.clone() },
            lease: if request.ignore_lease { before.clone().unwrap().lease } else { request.lease },
        };
        self.row(request.key.clone(), Some(kv));
        pb::PutResponse { header: self.header(), prev_kv: before.filter(|_| request.prev_kv) }
    }

    fn delete(&mut self, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let mut gone: Vec<KeyValue> = self.now().into_values().collect();
        gone.retain(|kv| in_range(&kv.key, &request.key, &request.range_end));
        gone.iter().for_each(|kv| self.row(kv.key.clone(), None));
        let prev_kvs = if request.prev_kv { gone.clone() } else { Vec::new() };
        pb::DeleteRangeResponse { header: self.header(), deleted: gone.len() as i64, prev_kvs }
    }

    fn check_put(&self, request: &pb::PutRequest, deleted: &[pb::DeleteRangeRequest]) -> Result<(), Error> {
        if request.lease != 0 && !self.leases.contains(&request.lease) {
            return Err(Error::LeaseNotFound);
        }
        let gone = deleted.iter().any(|delete| in_range(&request.key, &delete.key, &delete.range_end));
        if (request.ignore_value || request.ignore_lease) && (gone || !self.now().contains_key(&request.key)) {
            return Err(Error::KeyNotFound);
        }
        Ok(())
    }

    fn holds(&self, compare: &pb::Compare) -> bool {
        let mut kvs: Vec<KeyValue> = self.now().into_values().collect();
        kvs.retain(|kv| in_range(&kv.key, &compare.key, &compare.range_end));
        if kvs.is_empty() {
            if compare.target == 3 {
                return false;
            }
            kvs.push(KeyValue::default());
        }
        kvs.iter().all(|kv| {
            let order = match (compare.target, &compare.target_union) {
                (0, Some(TargetUnion::Version(given))) => kv.version.cmp(given),
                (0, _) => kv.version.cmp(&0),
                (1, Some(TargetUnion::CreateRevision(given))) => kv.create_revision.cmp(given),
                (1, _) => kv.create_revision.cmp(&0),
                (2, Some(TargetUnion::ModRevision(given))) => kv.mod_revision.cmp(given),
                (2, _) => kv.mod_revision.cmp(&0),
                (3, Some(TargetUnion::Value(given))) => kv.value.cmp(given),
                (3, _) => kv.value.cmp(&Bytes::new()),
                (4, Some(TargetUnion::Lease(given))) => kv.lease.cmp(given),
                _ => kv.lease.cmp(&0),
            };
            [order.is_eq(), order.is_gt(), order.is_lt(), order.is_ne()][compare.result as usize]
        })
    }

    /// The branches that run, flat: `Ok` for an operation, `Err` for where a nested transaction begins and how many follow.
    fn check_txn(
        &self,
        request: &pb::TxnRequest,
        taken: &mut Vec<bool>,
        deleted: &mut Vec<pb::DeleteRangeRequest>,
        check: &mut Result<(), Error>,
    ) {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        taken.push(succeeded);
        for op in if succeeded { &request.success } else { &request.failure } {
            let result = match op.request.as_ref().unwrap() {
                Op::RequestRange(range) if range.revision > self.revision => Err(Error::FutureRev),
                Op::RequestRange(range) if range.revision != 0 && range.revision < self.compacted => {
                    Err(Error::Compacted)
                }
                Op::RequestRange(_) => Ok(()),
                Op::RequestPut(put) => self.check_put(put, deleted),
                Op::RequestDeleteRange(delete) => {
                    deleted.push(delete.clone());
                    Ok(())
                }
                Op::RequestTxn(nested) => {
                    self.check_txn(nested, taken, deleted, check);
                    Ok(())
                }
            };
            if check.is_ok() {
                *check = result;
            }
        }
    }

    fn run_txn(&mut self, request: &pb::TxnRequest, taken: &mut std::vec::IntoIter<bool>) -> pb::TxnResponse {
        let succeeded = taken.next().unwrap();
        let branch = if succeeded { &request.success } else { &request.failure };
        let mut responses = Vec::new();
        for op in branch {
            let response = match op.request.as_ref().unwrap() {
                Op::RequestRange(range) => OpResponse::ResponseRange(self.range(range).unwrap()),
                Op::RequestPut(put) => OpResponse::ResponsePut(self.put(put)),
                Op::RequestDeleteRange(delete) => OpResponse::ResponseDeleteRange(self.delete(delete)),
                Op::RequestTxn(nested) => OpResponse::ResponseTxn(self.run_txn(nested, taken)),
            };
            responses.push(pb::ResponseOp { response: Some(response) });
        }
        pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses }
    }

    pub fn apply(&mut self, request: &Request) -> Result<Response, Error> {
        assert_eq!(self.changes, 0);
        let result = self.execute(request);
        self.revision += i64::from(self.changes > 0);
        self.changes = 0;
        result
    }

    fn execute(&mut self, request: &Request) -> Result<Response, Error> {
        Ok(match request {
            Request::Put(put) => {
                self.check_put(put, &[])?;
                Response::Put(self.put(put))
            }
            Request::DeleteRange(delete) => Response::DeleteRange(self.delete(delete)),
            Request::Txn(txn) => {
                let (mut taken, mut check) = (Vec::new(), Ok(()));
                self.check_txn(txn, &mut taken, &mut Vec::new(), &mut check);
                check?;
                let mut response = self.run_txn(txn, &mut taken.into_iter());
                response.header = self.header();
                Response::Txn(response)
            }
            Request::Compact(compact) => {
                self.compact(compact.revision)?;
                Response::Compact(pb::CompactionResponse { header: self.header() })
            }
            Request::LeaseGrant(grant) => {
                if !self.leases.insert(grant.id) {
                    return Err(Error::LeaseExist);
                }
                let (header, id, ttl) = (self.header(), grant.id, grant.ttl);
                Response::LeaseGrant(pb::LeaseGrantResponse { header, id, ttl, error: String::new() })
            }
            Request::LeaseRevoke { id, expiry: None } => {
                if !self.leases.remove(id) {
                    return Err(Error::LeaseNotFound);
                }
                for kv in self.now().into_values().filter(|kv| kv.lease == *id) {
                    self.row(kv.key, None);
                }
                Response::LeaseRevoke(pb::LeaseRevokeResponse { header: self.header() })
            }
            other => panic!("the model does not know {other:?}"),
        })
    }

    fn compact(&mut self, revision: i64) -> Result<(), Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRev);
        }
        self.compacted = revision;
        let mut newest = BTreeMap::new();
        for (at, (key, _)) in self.rows.range(..Revision::new(revision + 1, 0)) {
            newest.insert(key.clone(), *at);
        }
        self.rows.retain(|at, (key, kv)| match kv {
            _ if at.main > revision => true,
            Some(_) => newest[key] == *at,
            None => at.main == revision,
        });
        Ok(())
    }

    /// etcd's bytes of a row.
    fn etcd_row(at: &Revision, key: &Bytes, kv: &Option<KeyValue>) -> Vec<u8> {
        let mut row = [&at.main.to_be_bytes()[..], b"_", &at.sub.to_be_bytes()].concat();
        if kv.is_none() {
            row.push(b't');
        }
        let tombstone = KeyValue { key: key.clone(), ..Default::default() };
        row.extend(kv.as_ref().unwrap_or(&tombstone).encode_to_vec());
        row
    }

    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|(at, (key, kv))| Model::etcd_row(at, key, kv).len() as u64).sum()
    }

    pub fn hash(&self, revision: i64) -> u32 {
        let live: BTreeSet<i64> = self.live(revision).values().map(|kv| kv.mod_revision).collect();
        let mut hashed = b"key".to_vec();
        for (at, (key, kv)) in self.rows.range(..Revision::new(revision + 1, 0)) {
            let kept = match kv {
                _ if at.main > self.compacted => true,
                None => false,
                Some(kv) => live.is_empty() || self.live(revision).get(key) == Some(kv),
            };
            if kept {
                hashed.extend(Model::etcd_row(at, key, kv));
            }
        }
        crc32c::crc32c(&hashed)
    }
}
