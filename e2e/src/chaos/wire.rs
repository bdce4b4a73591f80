//! Between the records of a history and etcd's messages.

use std::time::Duration;

use bytes::Bytes;
use quorate_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_api::etcdserverpb::request_op::Request as RequestUnion;
use quorate_api::etcdserverpb::response_op::Response;
use quorate_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use quorate_api::mvccpb;
use quorate_api::mvccpb::event::EventType;
use tonic::{Code, Status};

use crate::history::{Event, Row, SeenRow, Write, digest};

pub fn transaction(write: &Write) -> TxnRequest {
    let compare = write.only_if.iter().map(|(key, revision)| Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(*revision)),
        ..Compare::default()
    });
    let puts = write.puts.iter().map(|put| {
        let (key, value) = (put.key.clone(), put.value.clone());
        RequestUnion::RequestPut(PutRequest { key, value, lease: put.lease, ..PutRequest::default() })
    });
    let deletes = write.deletes.iter().map(|key| {
        RequestUnion::RequestDeleteRange(DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() })
    });
    TxnRequest {
        compare: compare.collect(),
        success: puts.chain(deletes).map(|request| RequestOp { request: Some(request) }).collect(),
        failure: Vec::new(),
    }
}

/// How many keys a transaction says to have deleted.
pub fn deleted(answer: &TxnResponse) -> u64 {
    let deleted = answer.responses.iter().map(|response| match &response.response {
        Some(Response::ResponseDeleteRange(response)) => response.deleted.unsigned_abs(),
        _ => 0,
    });
    deleted.sum()
}

pub fn range(from: &Bytes, end: &Bytes, revision: i64, serializable: bool) -> RangeRequest {
    RangeRequest { key: from.clone(), range_end: end.clone(), revision, serializable, ..RangeRequest::default() }
}

/// A row of an answer without holding on to the whole answer.
pub fn seen_row(row: mvccpb::KeyValue) -> SeenRow {
    let key = Bytes::copy_from_slice(&row.key);
    let digest = digest(&key, Some(&row_of(row)));
    SeenRow { key, digest }
}

/// An event of a watch, received at `seen`, without holding on to the whole answer.
pub fn event(event: mvccpb::Event, seen: Duration) -> Event {
    let delete = event.r#type() == EventType::Delete;
    let row = event.kv.unwrap_or_default();
    let (key, revision) = (Bytes::copy_from_slice(&row.key), row.mod_revision);
    Event { revision, key, row: (!delete).then(|| row_of(row)), seen }
}

fn row_of(row: mvccpb::KeyValue) -> Row {
    Row {
        value: Bytes::copy_from_slice(&row.value),
        create_revision: row.create_revision,
        mod_revision: row.mod_revision,
        version: row.version,
        lease: row.lease,
    }
}

/// Whether an error means that the request was not done and will not be: its form or the state at its place in the log
/// forbids it, or it was turned away before it was proposed.
pub fn promises_nothing_was_done(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::OutOfRange | Code::ResourceExhausted
    )
}
