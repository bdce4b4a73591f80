//! Services whose requests may be as large as the limits in force say: the operator changes these while the member runs.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::observe::Inbound;
use super::router::Answer;
use crate::store::Store;

/// What a message may have beyond the largest request, as etcd: names, ids and framing around it.
const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;

/// A generated service, and how it is told the size of the largest message; see the module.
#[derive(Clone)]
pub struct Bounded<S> {
    service: S,
    store: Store,
    bound: fn(S, usize) -> S,
}

impl<S> Bounded<S> {
    /// `bound` is the generated `max_decoding_message_size`.
    pub fn new(service: S, store: &Store, bound: fn(S, usize) -> S) -> Bounded<S> {
        Bounded { service, store: store.clone(), bound }
    }
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Inbound>> for Bounded<S>
where
    S: Service<Request<Inbound>, Response = Response<Body>, Error = Infallible, Future = Answer> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Inbound>) -> Answer {
        let max = self.store.limits().request_bytes_max.saturating_add(MESSAGE_OVERHEAD_BYTES);
        // Services of tonic are references with a few settings.
        (self.bound)(self.service.clone(), max).call(request)
    }
}
