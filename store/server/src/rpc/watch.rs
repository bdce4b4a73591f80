//! The Watch service. Its answers are encoded by hand, because an event's bytes are made once and shared by all the streams
//! that it goes to; everything else is as tonic generates it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use hyper::body::Body as HttpBody;
use prometheus::IntCounter;
use prost::Message as _;
use quorate_api::Error;
use quorate_api::etcdserverpb::{ResponseHeader, WatchRequest};
use quorate_core::mvcc;
use quorate_core::watch::Message;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::leader_loss;
use crate::backend::Snapshot;
use crate::store::Store;
use crate::watch_hub::{Responses, Source};

/// The largest answer: clients in Go take no larger one, and etcd's server sends none.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

type StdError = Box<dyn std::error::Error + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct Watch {
    store: Store,
}

impl Watch {
    /// Takes requests as large as the limits say when a stream begins.
    pub fn new(store: Store) -> Watch {
        Watch { store }
    }

    fn open(&self, request: Request<Streaming<WatchRequest>>) -> Responses {
        let lost = leader_loss::lost(self.store.clone(), request.metadata());
        let failures = self.store.metrics().streams.watch_receive.clone();
        let requests = request.into_inner().inspect_err(move |error| {
            tracing::warn!(%error, "failed to receive watch request from gRPC stream");
            failures.inc();
        });
        self.store.watch_hub().serve(self.store.clone(), requests, lost)
    }
}

impl NamedService for Watch {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl<B> tower_service::Service<http::Request<B>> for Watch
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let watch = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/etcdserverpb.Watch/Watch" {
                let method = request.uri().path().rsplit('/').next().unwrap_or_default();
                let text = format!("unknown method {method} for service {}", Watch::NAME);
                return Ok(Status::unimplemented(text).into_http());
            }
            let max = watch.store.limits().request_bytes_max;
            let codec = WatchCodec { send_failures: watch.store.metrics().streams.watch_send.clone() };
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(max), None);
            Ok(grpc.streaming(Method(watch), request).await)
        })
    }
}

struct Method(Watch);

impl StreamingService<WatchRequest> for Method {
    type Response = Message;
    type ResponseStream = Responses;
    type Future = std::future::Ready<Result<Response<Responses>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.open(request))))
    }
}

struct WatchCodec {
    send_failures: IntCounter,
}

impl Codec for WatchCodec {
    type Encode = Message;
    type Decode = WatchRequest;
    type Encoder = MessageEncoder;
    type Decoder = RequestDecoder;

    fn encoder(&mut self) -> MessageEncoder {
        MessageEncoder { failures: self.send_failures.clone() }
    }

    fn decoder(&mut self) -> RequestDecoder {
        RequestDecoder
    }
}

struct MessageEncoder {
    failures: IntCounter,
}

impl MessageEncoder {
    /// Refuses an answer of so many bytes if it is too large: a transaction's events, with what the keys held before, are one message
    /// for a watcher that did not ask for fragments.
    fn fits(&self, bytes: usize) -> Result<(), Status> {
        if bytes <= ANSWER_BYTES_MAX {
            return Ok(());
        }
        self.failures.inc();
        let text = format!("trying to send message larger than max ({bytes} vs. {ANSWER_BYTES_MAX})");
        tracing::warn!(error = text, "failed to send watch response to gRPC stream");
        Err(Status::resource_exhausted(text))
    }
}

impl Encoder for MessageEncoder {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, message: Message, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let bytes = message.encoded_len();
        self.fits(bytes)?;
        buffer.reserve(bytes);
        message.encode(buffer);
        Ok(())
    }
}

struct RequestDecoder;

impl Decoder for RequestDecoder {
    type Item = WatchRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<WatchRequest>, Status> {
        WatchRequest::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Source for Store {
    type View = Snapshot;

    fn view(&self) -> Result<(Snapshot, mvcc::State), Error> {
        let snapshot = self.backend().snapshot();
        let state = mvcc::State::load(&snapshot).map_err(|error| Error::Unmapped(error.to_string()))?;
        Ok((snapshot, state))
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        // A watch shows revision 0 where etcd does, which elsewhere stands for the current one.
        ResponseHeader { revision, ..Store::header(self, revision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_no_client_takes_is_refused_and_counted_as_a_failed_send() {
        let failures = IntCounter::new("failures", "Of the test.").unwrap();
        let encoder = WatchCodec { send_failures: failures.clone() }.encoder();
        encoder.fits(2_147_483_647).unwrap();
        assert_eq!(failures.get(), 0);
        let refused = encoder.fits(2_147_483_648).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(refused.message(), "trying to send message larger than max (2147483648 vs. 2147483647)");
        assert_eq!(failures.get(), 1);
    }
}
