//! KV: Range, Put, DeleteRange, Txn and Compact (`etcd-surface` 2.1 to 2.6).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, kv_server};
use quorate_core::apply;
use quorate_core::command::Request as Command;
use quorate_core::{mvcc, validate};
use tonic::{Request, Response, Status};

use super::reads::{Reads, for_client};
use super::{held, range_stream};
use crate::metrics::Metrics;
use crate::store::Store;

/// The service.
pub struct Kv {
    store: Store,
    metrics: Arc<Metrics>,
    reads: Reads,
}

impl Kv {
    pub fn new(store: Store, metrics: Arc<Metrics>) -> Kv {
        Kv { store, metrics, reads: Reads::new() }
    }

    /// Fills what core leaves open of a header: who answers.
    fn complete(&self, header: &mut Option<pb::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.store.header(revision));
    }

    async fn read_range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        validate::range(&request)?;
        let began = Instant::now();
        let answer = self.read_valid_range(request).await;
        self.metrics.server.requested("Range", began, answer.is_ok());
        answer
    }

    async fn read_valid_range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        if !request.serializable {
            if self.store.status().is_learner {
                return Err(Error::NotSupportedForLearner);
            }
            self.store.linearizable().await?;
        }
        self.metrics.mvcc.ranges.inc();
        let began = Instant::now();
        let found = if request.range_end.is_empty() {
            let view = self.store.served_view()?;
            mvcc::range(&*view, &view.state, &request).map_err(|error| for_client(&self.store, error))
        } else {
            self.reads
                .walk(&self.store, Store::served_view, move |view| mvcc::range(&**view, &view.state, &request))
                .await
        };
        self.metrics.server.ranged(began, found.is_ok());
        let mut response = found?;
        self.complete(&mut response.header);
        Ok(response)
    }

    /// A transaction that only reads skips the log.
    async fn read_txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        let began = Instant::now();
        let answer = self.read_only_txn(request).await;
        self.metrics.server.requested("ReadonlyTxn", began, answer.is_ok());
        answer
    }

    async fn read_only_txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        if !mvcc::is_serializable(&request) {
            self.store.linearizable().await?;
        }
        let mut response = self
            .reads
            .walk(&self.store, Store::served_view, move |view| mvcc::txn_read(&**view, &view.state, &request))
            .await?;
        self.metrics.mvcc.txn(&response);
        self.complete(&mut response.header);
        Ok(response)
    }

    async fn write_txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        match self.store.propose(Command::Txn(request)).await? {
            apply::Response::Txn(mut response) => {
                self.complete(&mut response.header);
                Ok(response)
            }
            other => unreachable!("a transaction is answered with {other:?}"),
        }
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let answer = self.read_range(request.into_inner()).await?;
        Ok(held::answer(self.store.budget(), answer))
    }

    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let request = request.into_inner();
        range_stream::check(&request)?;
        if !request.serializable {
            self.store.linearizable().await?;
        }
        self.metrics.mvcc.ranges.inc();
        let stream = range_stream::stream(self.store.clone(), self.reads.clone(), request);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let request = request.into_inner();
        validate::put(&request)?;
        match self.store.propose(Command::Put(request)).await? {
            apply::Response::Put(mut response) => {
                self.complete(&mut response.header);
                Ok(Response::new(response))
            }
            other => unreachable!("a put is answered with {other:?}"),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        validate::delete_range(&request)?;
        match self.store.propose(Command::DeleteRange(request)).await? {
            apply::Response::DeleteRange(mut response) => {
                self.complete(&mut response.header);
                Ok(Response::new(response))
            }
            other => unreachable!("a delete is answered with {other:?}"),
        }
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let request = request.into_inner();
        validate::txn(&request, self.store.limits().txn_ops_max)?;
        let response = match mvcc::is_read_only(&request) {
            true => self.read_txn(request).await?,
            false => self.write_txn(request).await?,
        };
        Ok(held::answer(self.store.budget(), response))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let request = request.into_inner();
        let (revision, physical) = (request.revision, request.physical);
        match self.store.propose(Command::Compact(request)).await? {
            apply::Response::Compact(mut response) => {
                if physical {
                    // As long as the client waits: one that goes away, or whose deadline passes, ends this call.
                    self.store.swept(revision).await?;
                }
                self.complete(&mut response.header);
                Ok(Response::new(response))
            }
            other => unreachable!("a compaction is answered with {other:?}"),
        }
    }
}
