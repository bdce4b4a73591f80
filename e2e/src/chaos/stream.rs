//! One watch on one stream of one member.

use bytes::Bytes;
use quorate_api::etcdserverpb::watch_request::RequestUnion;
use quorate_api::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::endpoints::{Endpoints, REQUEST_TIMEOUT};

/// Requests of a stream that wait to be sent: the creation and a few progress requests.
const REQUESTS_MAX: usize = 8;

/// The range of all keys of a run, as from and end.
pub fn everything() -> (Bytes, Bytes) {
    (Bytes::from_static(b"\0"), Bytes::from_static(b"\xff"))
}

pub struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Stream {
    /// `None` if the member did not answer that the watch is made.
    pub async fn open(
        endpoints: &Endpoints,
        member: usize,
        from: Bytes,
        end: Bytes,
        start_revision: i64,
    ) -> Option<Stream> {
        let (requests, sent) = mpsc::channel(REQUESTS_MAX);
        let create = WatchCreateRequest { key: from, range_end: end, start_revision, ..WatchCreateRequest::default() };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.try_send(create).ok()?;
        let mut client = endpoints.watch(member);
        let opened = async {
            let mut responses = client.watch(ReceiverStream(sent)).await.ok()?.into_inner();
            let created = responses.message().await.ok()??;
            (created.created && !created.canceled).then_some(responses)
        };
        let responses = tokio::time::timeout(REQUEST_TIMEOUT, opened).await.ok()??;
        Some(Stream { requests, responses })
    }

    /// The next response; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<WatchResponse> {
        self.responses.message().await.ok()?
    }

    /// Asks how far the watch has come. It is dropped when the stream does not take it.
    pub fn ask_progress(&self) {
        let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
        let _ = self.requests.try_send(WatchRequest { request_union: Some(progress) });
    }
}

/// What is sent on a stream, as tonic takes it.
struct ReceiverStream(mpsc::Receiver<WatchRequest>);

impl futures::Stream for ReceiverStream {
    type Item = WatchRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<WatchRequest>> {
        self.0.poll_recv(context)
    }
}
