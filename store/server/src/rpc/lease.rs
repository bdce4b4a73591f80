//! The Lease service: grants and revocations are replicated, keep-alives and times come from the leader's memory.

use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt};
use quorate_api::Error;
use quorate_api::etcdserverpb as pb;
use quorate_core::command::Request as Command;
use quorate_core::lease::effective_ttl_s;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::leader_loss;
use crate::lessor::TimeToLive;
use crate::store::Store;

/// Keep-alives of one stream that wait for their confirmation together; they are answered in order.
const CONFIRMED_TOGETHER_MAX: usize = 1024;

/// Keep-alives of one stream that were read and wait for their turn, 8 bytes each. A client renews all its leases in one
/// burst; they are read at once because HTTP/2 ends a connection on which too many small frames wait to be read.
const WAITING_MAX: usize = 65_536;

/// See the module.
#[derive(Clone)]
pub struct Lease {
    store: Store,
}

impl Lease {
    pub fn new(store: Store) -> Lease {
        Lease { store }
    }

    async fn keep_alive(store: Store, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        // As in etcd the header is older than the renewal.
        let header = Some(store.header(0));
        let ttl = store.lessor().keep_alive(&store, id).await?;
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }
}

/// A revision that an answer was applied at, in a header of this member.
fn header(store: &Store, applied: Option<pb::ResponseHeader>) -> Option<pb::ResponseHeader> {
    Some(store.header(applied.map_or(0, |header| header.revision)))
}

fn unexpected(response: &quorate_core::apply::Response) -> Status {
    Status::internal(format!("a lease command was answered with {response:?}: please report this"))
}

#[tonic::async_trait]
impl pb::lease_server::Lease for Lease {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let pb::LeaseGrantRequest { ttl, id } = request.into_inner();
        let minimum_s = self.store.lessor().minimum_ttl_s();
        // One that is too large is refused where it is applied, behind what an alarm refuses.
        let ttl = effective_ttl_s(ttl, minimum_s).unwrap_or(ttl);
        let id = if id == 0 { rand::random_range(1..=i64::MAX) } else { id };
        let command = Command::LeaseGrant(pb::LeaseGrantRequest { ttl, id });
        match self.store.propose(command).await? {
            quorate_core::apply::Response::LeaseGrant(granted) => {
                Ok(Response::new(pb::LeaseGrantResponse { header: header(&self.store, granted.header), ..granted }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let command = Command::LeaseRevoke { id: request.into_inner().id, expiry: None };
        match self.store.propose(command).await? {
            quorate_core::apply::Response::LeaseRevoke(revoked) => {
                Ok(Response::new(pb::LeaseRevokeResponse { header: header(&self.store, revoked.header) }))
            }
            other => Err(unexpected(&other)),
        }
    }

    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let store = self.store.clone();
        let lost = leader_loss::lost(store.clone(), request.metadata());
        let ended = {
            let lessor = store.lessor().clone();
            async move {
                tokio::select! {
                    status = lost => status,
                    () = lessor.stopped() => Error::NoLeader.into(),
                }
            }
        };
        let failures = store.metrics().streams.keep_alive_receive.clone();
        let requests = request.into_inner().inspect_err(move |error| {
            tracing::warn!(%error, "failed to receive lease keepalive request from gRPC stream");
            failures.inc();
        });
        let answers = read_ahead(requests).map(move |id| {
            let store = store.clone();
            async move { Lease::keep_alive(store, id?).await }
        });
        Ok(Response::new(Box::pin(until_error(answers.buffered(CONFIRMED_TOGETHER_MAX), ended))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let TimeToLive { ttl_seconds, granted_seconds, keys } =
            self.store.lessor().time_to_live(&self.store, id, keys).await?;
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: Some(self.store.header(0)),
            id,
            ttl: ttl_seconds,
            granted_ttl: granted_seconds,
            keys,
        }))
    }

    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let leases = self.store.lessor().list().into_iter().map(|id| pb::LeaseStatus { id }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: Some(self.store.header(0)), leases }))
    }
}

/// The leases to renew, read as fast as they come. Reading ends with the client's side of the stream, or with ours.
fn read_ahead(
    mut requests: impl Stream<Item = Result<pb::LeaseKeepAliveRequest, Status>> + Send + Unpin + 'static,
) -> ReceiverStream<Result<i64, Status>> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                request = requests.next() => request,
                () = sender.closed() => return,
            };
            let Some(request) = request else { return };
            let failed = request.is_err();
            if sender.send(request.map(|request| request.id)).await.is_err() || failed {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Passes a stream on up to and including its first error, or until `ended` says how it ends.
fn until_error<T: Send + 'static>(
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ended: impl Future<Output = Status> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send {
    let state = (Box::pin(answers), Some(Box::pin(ended)));
    futures::stream::unfold(state, |(mut answers, ended)| async move {
        let mut ended = ended?;
        let answer = tokio::select! {
            answer = answers.next() => answer?,
            status = &mut ended => Err(status),
        };
        let ended = answer.is_ok().then_some(ended);
        Some((answer, (answers, ended)))
    })
}
