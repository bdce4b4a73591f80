//! Sends a request to the gRPC services or to the pages.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::http::{Page, Pages, Surface};
use crate::rpc::{Call, Outbound, Router, Sent};

/// What a listener serves.
#[derive(Clone)]
pub struct Service {
    rpc: Option<Arc<Router>>,
    pages: Option<(Arc<Pages>, Surface)>,
    /// Set on the first gRPC request of a connection.
    carries_rpc: Arc<AtomicBool>,
}

impl Service {
    /// gRPC and pages: a client listener.
    pub fn both(rpc: Arc<Router>, pages: Arc<Pages>) -> Service {
        Service { rpc: Some(rpc), pages: Some((pages, Surface::Client)), carries_rpc: Arc::default() }
    }

    /// gRPC alone: a client listener beside one for HTTP, or the operator's.
    pub fn rpc(rpc: Arc<Router>) -> Service {
        Service { rpc: Some(rpc), pages: None, carries_rpc: Arc::default() }
    }

    /// Pages alone.
    pub fn pages(pages: Arc<Pages>, surface: Surface) -> Service {
        Service { rpc: None, pages: Some((pages, surface)), carries_rpc: Arc::default() }
    }

    /// For one connection; the switch is set when it carries gRPC.
    pub(super) fn of_connection(mut self, carries_rpc: Arc<AtomicBool>) -> Service {
        self.carries_rpc = carries_rpc;
        self
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        if let Some(rpc) = &self.rpc
            && is_grpc(&request)
        {
            if !self.carries_rpc.load(Ordering::Relaxed) {
                self.carries_rpc.store(true, Ordering::Relaxed);
            }
            return Answering::Rpc(rpc.call(request));
        }
        let pages = self.pages.clone();
        Answering::Page(Box::pin(async move {
            match pages {
                Some((pages, surface)) => pages.answer(request.method(), request.uri(), surface).await,
                None => {
                    let mut page = Response::new(Full::new(Bytes::from_static(b"only gRPC is served here\n")));
                    *page.status_mut() = StatusCode::NOT_FOUND;
                    page
                }
            }
        }))
    }
}

/// The future of an answer.
pub enum Answering {
    Rpc(Call),
    Page(BoxFuture<'static, Page>),
}

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match self.get_mut() {
            Answering::Rpc(call) => ready!(Pin::new(call).poll(cx)).map(Answer::Rpc),
            Answering::Page(page) => ready!(page.as_mut().poll(cx)).map(Answer::Page),
        }))
    }
}

/// The body of an answer.
pub enum Answer {
    Rpc(Outbound),
    Page(Full<Bytes>),
}

impl Body for Answer {
    type Data = Sent;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Sent>, tonic::Status>>> {
        match self.get_mut() {
            Answer::Rpc(body) => Pin::new(body).poll_frame(cx),
            Answer::Page(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(
                    frame.map(|frame| frame.map(|frame| frame.map_data(Sent::from)).map_err(|never| match never {})),
                )
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Rpc(body) => body.is_end_stream(),
            Answer::Page(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Rpc(body) => body.size_hint(),
            Answer::Page(body) => body.size_hint(),
        }
    }
}
