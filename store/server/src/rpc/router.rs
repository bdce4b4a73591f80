//! Finds the service of a call by its path. Nothing lies between the connection and the service but a lookup and the counters.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use quorate_api::Error;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::held::Held;
use super::observe::{Call, Inbound, Observation};
use crate::memory::Budget;
use crate::metrics::Metrics;

/// Small, and refusing them would make an overload worse: leases would expire, and the member would be taken for dead.
const ALWAYS_ADMITTED: [&str; 2] = ["/etcdserverpb.Lease/LeaseKeepAlive", "/grpc.health.v1.Health/Check"];

/// Decides by the call's path and metadata whether it may run now.
pub type Gate = Box<dyn Fn(&Parts) -> Result<(), Status> + Send + Sync>;

/// The services of a listener.
pub struct Router {
    /// By the name in the path; a handful, so a scan is the fastest lookup.
    services: Vec<(&'static str, Box<dyn Rpc>)>,
    gate: Gate,
    /// What calls may hold in memory; `None`: they are few and small.
    budget: Option<Arc<Budget>>,
    metrics: Arc<Metrics>,
    /// A unary call that takes longer is logged; zero: none is.
    warning_unary: Duration,
}

/// A service of tonic's, called without a clone of ours around it.
trait Rpc: Send + Sync {
    fn call(&self, request: Request<Inbound>) -> Answer;
}

/// What a service answers with.
pub(super) type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

impl<S> Rpc for S
where
    S: tower_service::Service<Request<Inbound>, Response = Response<Body>, Error = Infallible, Future = Answer>,
    S: Clone + Send + Sync,
{
    fn call(&self, request: Request<Inbound>) -> Answer {
        // A clone counts references; services of tonic are always ready.
        tower_service::Service::call(&mut self.clone(), request)
    }
}

impl Router {
    pub fn new(metrics: Arc<Metrics>, gate: Gate, warning_unary: Duration) -> Router {
        Router { services: Vec::new(), gate, budget: None, metrics, warning_unary }
    }

    /// Calls are charged to this budget, and refused while it is full.
    pub fn within(mut self, budget: Arc<Budget>) -> Router {
        self.budget = Some(budget);
        self
    }

    /// Adds a generated service.
    pub fn with<S>(mut self, service: S) -> Router
    where
        S: tower_service::Service<Request<Inbound>, Response = Response<Body>, Error = Infallible, Future = Answer>,
        S: NamedService + Clone + Send + Sync + 'static,
    {
        self.services.push((S::NAME, Box::new(service)));
        self
    }

    /// Starts a call.
    pub fn call(&self, request: Request<Incoming>) -> Call {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let name = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).map_or("", |(service, _)| service);
        let Some((_, service)) = self.services.iter().find(|(known, _)| *known == name) else {
            return Call::refused(None, &Status::new(Code::Unimplemented, format!("unknown service {name}")));
        };
        let observation =
            self.metrics.grpc.method(path).map(|method| Observation::start(method.clone(), self.warning_unary));
        if let Err(status) = (self.gate)(&parts) {
            return Call::refused(observation, &status);
        }
        if let Some(budget) = &self.budget
            && !ALWAYS_ADMITTED.contains(&path)
            && !budget.admits()
        {
            return Call::refused(observation, &Error::RequestTooManyRequests.into());
        }
        let held = self.budget.as_ref().map(Held::new);
        let inbound = Inbound::new(body, observation.as_ref(), held.as_ref());
        Call::running(service.call(Request::from_parts(parts, inbound)), observation, held)
    }
}
