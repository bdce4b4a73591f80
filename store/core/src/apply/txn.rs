//! Transactions that write: decided and checked on the state before, then carried out under one revision.

use quorate_api::etcdserverpb::{self as pb, request_op::Request, response_op::Response as OpResponse};

use super::checks::Refusal;
use super::writer::Writer;
use super::{Response, Turn};
use crate::mvcc::txn::{self, next_of};
use crate::mvcc::{Error, read};

impl Turn<'_> {
    pub(super) fn txn(&mut self, request: pb::TxnRequest) -> Result<Response, Refusal> {
        let cost = super::quota::txn_cost(&request);
        let over = self.is_over_quota(cost);
        let mut path = txn::Path::new();
        txn::decide(&self.rows, &request, &mut path)?;
        self.checks().txn(&request, &mut path.iter().copied())?;
        let mut writer = self.writer();
        let mut response = writer.txn(request, &mut path.into_iter())?;
        response.header = writer.header();
        writer.finish();
        self.answer(over, Response::Txn(response))
    }
}

impl Writer<'_, '_> {
    /// The checks passed, so only the store itself can fail, and then the member stops: nothing is undone.
    fn txn(
        &mut self,
        request: pb::TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<pb::TxnResponse, Error> {
        let succeeded = next_of(path);
        let branch = if succeeded { request.success } else { request.failure };
        let mut responses = Vec::with_capacity(branch.len());
        for op in branch {
            let response = match op.request {
                Some(Request::RequestRange(range)) => {
                    Some(OpResponse::ResponseRange(read::range(self.rows, &self.state(), &range)?))
                }
                Some(Request::RequestPut(put)) => Some(OpResponse::ResponsePut(self.put_request(put)?)),
                Some(Request::RequestDeleteRange(delete)) => {
                    Some(OpResponse::ResponseDeleteRange(self.delete_request(&delete)?))
                }
                Some(Request::RequestTxn(nested)) => Some(OpResponse::ResponseTxn(self.txn(nested, path)?)),
                None => None,
            };
            responses.push(pb::ResponseOp { response });
        }
        // Present but empty when nested; the outer one is filled by the caller.
        Ok(pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses })
    }
}
