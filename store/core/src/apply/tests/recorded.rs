//! A random history with the answers of a real etcd (`testdata/mvcc/`, made by its `record` program): ours must be the same, errors
//! and hashes included. `QUORATE_RECORDED=FILE` replays another recording.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;

use super::fixture::Store;
use crate::apply::Response;
use crate::command::Request;
use crate::mvcc;
use crate::validate;

const RECORDED: &str = include_str!("../../../testdata/mvcc/etcd-3.7.3.txt");
/// etcd's default.
const OPS_MAX: usize = 128;

#[test]
fn every_answer_is_the_one_that_etcd_gave() {
    let mut store = Store::new();
    // etcd answers HashKV at the revisions of its last ten compactions from a list (docs/compatibility.md); we have none.
    let mut compactions = BTreeSet::new();
    let (mut hashes, mut listed) = (0, 0);
    let recorded = match std::env::var_os("QUORATE_RECORDED") {
        Some(file) => std::fs::read_to_string(file).unwrap(),
        None => RECORDED.to_owned(),
    };
    for (line, text) in recorded.lines().enumerate() {
        let mut parts = text.splitn(4, ' ');
        let mut part = || parts.next().unwrap();
        let (kind, request) = (part(), unhex(part()));
        let expected = match (part(), part()) {
            ("ok", answer) => Ok(unhex(answer)),
            (_, text) => Err(text.to_owned()),
        };
        let line = line + 1;
        match kind {
            "put" => check(line, request, expected, |request: pb::PutRequest| {
                validate::put(&request)?;
                match store.apply(Request::Put(request))? {
                    Response::Put(response) => Ok(response),
                    other => panic!("{other:?}"),
                }
            }),
            "delete" => check(line, request, expected, |request: pb::DeleteRangeRequest| {
                validate::delete_range(&request)?;
                match store.apply(Request::DeleteRange(request))? {
                    Response::DeleteRange(response) => Ok(response),
                    other => panic!("{other:?}"),
                }
            }),
            "txn" => check(line, request, expected, |request: pb::TxnRequest| {
                validate::txn(&request, OPS_MAX)?;
                if mvcc::is_read_only(&request) {
                    return mvcc::txn_read(&store.rows, &store.state(), &request).map_err(for_client);
                }
                match store.apply(Request::Txn(request))? {
                    Response::Txn(response) => Ok(response),
                    other => panic!("{other:?}"),
                }
            }),
            "range" => check(line, request, expected, |request: pb::RangeRequest| {
                validate::range(&request)?;
                store.range(request).map_err(for_client)
            }),
            "grant" => check(line, request, expected, |request: pb::LeaseGrantRequest| {
                match store.apply(Request::LeaseGrant(request))? {
                    Response::LeaseGrant(response) => Ok(response),
                    other => panic!("{other:?}"),
                }
            }),
            "revoke" => check(line, request, expected, |request: pb::LeaseRevokeRequest| {
                match store.revoke(request.id, None)? {
                    Response::LeaseRevoke(response) => Ok(response),
                    other => panic!("{other:?}"),
                }
            }),
            "compact" => check(line, request, expected, |request: pb::CompactionRequest| {
                let response = match store.apply(Request::Compact(request))? {
                    Response::Compact(response) => response,
                    other => panic!("{other:?}"),
                };
                compactions.insert(request.revision);
                store.sweep(7);
                Ok(response)
            }),
            "hash" if is_listed(&compactions, &request) => listed += 1,
            "hash" => check(line, request, expected, |request: pb::HashKvRequest| {
                hashes += 1;
                let hash = mvcc::hash_kv(&store.rows, &store.state(), request.revision).map_err(for_client)?;
                Ok(pb::HashKvResponse {
                    header: Some(pb::ResponseHeader { revision: store.state().revision, ..Default::default() }),
                    hash: hash.hash,
                    compact_revision: hash.compact_revision,
                    hash_revision: hash.hash_revision,
                })
            }),
            other => panic!("line {line}: unknown kind {other}"),
        }
    }
    assert!(hashes > listed && listed > 0, "{hashes} hashes compared, {listed} from etcd's list");
}

fn is_listed(compactions: &BTreeSet<i64>, request: &Bytes) -> bool {
    let revision = pb::HashKvRequest::decode(request.clone()).unwrap().revision;
    compactions.iter().rev().take(10).any(|compacted| *compacted == revision)
}

fn for_client(error: mvcc::Error) -> ApiError {
    error.for_client().unwrap_or_else(|| panic!("{error}"))
}

fn check<Q, A>(
    line: usize,
    request: Bytes,
    expected: Result<Bytes, String>,
    answer: impl FnOnce(Q) -> Result<A, ApiError>,
) where
    Q: Message + Default + Clone + Debug,
    A: Message + Default + PartialEq + Debug,
{
    let request = Q::decode(request).unwrap();
    let expected = expected.map(|answer| A::decode(answer).unwrap());
    let answer = answer(request.clone()).map_err(|error| error.to_string());
    assert_eq!(answer, expected, "line {line}: {request:?}");
}

fn unhex(text: &str) -> Bytes {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    match text {
        "-" => Bytes::new(),
        text => text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect(),
    }
}
