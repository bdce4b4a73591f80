//! Put and DeleteRange, alone or inside a transaction.

use quorate_api::etcdserverpb as pb;

use super::checks::{Checks, DELETE_BYTES_MAX, Refusal};
use super::writer::Writer;
use super::{Response, Turn};
use crate::mvcc::{Error, Interval, read};

impl Turn<'_> {
    pub(super) fn put(&mut self, request: pb::PutRequest) -> Result<Response, Refusal> {
        let cost = super::quota::put_cost(&request);
        let over = self.is_over_quota(cost);
        self.checks().put(&request)?;
        let mut writer = self.writer();
        let response = writer.put_request(request)?;
        writer.finish();
        self.answer(over, Response::Put(response))
    }

    pub(super) fn delete_range(&mut self, request: &pb::DeleteRangeRequest) -> Result<Response, Refusal> {
        self.checks().delete(request)?;
        let mut writer = self.writer();
        let response = writer.delete_request(request)?;
        writer.finish();
        Ok(Response::DeleteRange(response))
    }

    pub(super) fn checks(&self) -> Checks<'_> {
        let leases = &self.machine.leases;
        Checks {
            view: &self.rows,
            state: self.machine.state(),
            leases,
            deleted: Vec::new(),
            delete_bytes_left: DELETE_BYTES_MAX,
        }
    }
}

impl Writer<'_, '_> {
    /// The request passed its checks; a key whose value or lease is kept lives.
    pub fn put_request(&mut self, request: pb::PutRequest) -> Result<pb::PutResponse, Error> {
        let pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = request;
        let before = read::lookup(self.rows, &key)?;
        let previous = match &before {
            Some(row) if prev_kv || ignore_value => Some(read::version(self.rows, &key, row)?),
            _ => None,
        };
        let value = match &previous {
            Some(previous) if ignore_value => previous.value.clone(),
            _ => value,
        };
        let lease = match &before {
            Some(row) if ignore_lease => row.lease,
            _ => lease,
        };
        self.put(&key, &value, lease, before.as_ref());
        Ok(pb::PutResponse { header: self.header(), prev_kv: previous.filter(|_| prev_kv) })
    }

    pub fn delete_request(&mut self, request: &pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Error> {
        let interval = Interval::new(&request.key, &request.range_end);
        let prev_kvs = if request.prev_kv {
            let range = pb::RangeRequest {
                key: request.key.clone(),
                range_end: request.range_end.clone(),
                ..Default::default()
            };
            read::range_uncounted(self.rows, &self.state(), &range)?.kvs
        } else {
            Vec::new()
        };
        let deleted = self.delete_range(&interval)?;
        Ok(pb::DeleteRangeResponse { header: self.header(), deleted, prev_kvs })
    }
}
