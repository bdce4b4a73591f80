//! The pages that are not gRPC, as etcd answers them: `/health`, `/livez`, `/readyz`, `/version`, `/metrics`.
//!
//! Nothing here waits for a quorum unless a check is about it, so a member that lost its cluster can still say so.

mod checks;
mod health;
mod member;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE,
};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use quorate_api::Error;
use quorate_api::etcdserverpb::AlarmType;

use crate::metrics::{self, Metrics};
use crate::version;

/// What the pages ask of a member. The running store is one, a member that still awaits its cluster another.
pub trait Probe: Send + Sync + 'static {
    fn facts(&self) -> Facts;

    /// Reads the local store, without asking anybody.
    ///
    /// # Errors
    /// What a serializable Range would answer.
    fn serializable_read(&self) -> Result<(), Error>;

    /// Reads what the cluster has agreed on; bounded by the store's request timeout.
    ///
    /// # Errors
    /// What a linearizable Range would answer.
    fn linearizable_read(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Committed entries that this member has not applied, as far as it has heard; `None` when it has heard nothing since it started.
    /// Asks the others, for so long at most.
    ///
    /// # Errors
    /// The member is kept out of the cluster.
    fn lag(&self, patience: Duration) -> BoxFuture<'_, Result<Option<u64>, Error>>;

    /// Sets the gauges that show the member's state.
    fn observe(&self, metrics: &Metrics);
}

/// A member's state as the pages tell it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub has_leader: bool,
    pub is_learner: bool,
    /// Types of the alarms that are raised anywhere in the cluster.
    pub alarms: Vec<AlarmType>,
    /// Whether the member is part of a running cluster, whose version is then known.
    pub in_cluster: bool,
    /// Why this member cannot store more, while it cannot.
    pub disk_full: Option<String>,
}

/// Which pages a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// All of them: a client listener.
    Client,
    /// Metrics and health alone: a metrics listener.
    Metrics,
}

/// The pages of one server.
pub struct Pages {
    probe: Arc<dyn Probe>,
    metrics: Arc<Metrics>,
}

/// An answer; its body is whole.
pub type Page = Response<Full<Bytes>>;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NOSNIFF: (HeaderName, HeaderValue) = (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

impl Pages {
    pub fn new(probe: Arc<dyn Probe>, metrics: Arc<Metrics>) -> Pages {
        Pages { probe, metrics }
    }

    /// Answers one request; its body does not matter to any page.
    pub async fn answer(&self, method: &Method, uri: &Uri, surface: Surface) -> Page {
        let mut page = match (method, uri.path(), surface) {
            (&Method::OPTIONS, _, Surface::Client) => page(StatusCode::OK, ""),
            (_, "/metrics", _) => self.metrics_page(),
            (_, "/health", _) => get_only(method, health::answer(self, uri)).await,
            (_, "/version", Surface::Client) => get_only(method, async { self.version_page() }).await,
            (_, path, _) => match checks::Endpoint::find(path) {
                Some(endpoint) => get_only(method, checks::answer(self, endpoint, uri)).await,
                None => error(StatusCode::NOT_FOUND, "404 page not found"),
            },
        };
        if surface == Surface::Client {
            allow_origins(&mut page);
        }
        page
    }

    fn metrics_page(&self) -> Page {
        self.probe.observe(&self.metrics);
        let mut page = page(StatusCode::OK, self.metrics.render());
        page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
        page
    }

    fn version_page(&self) -> Page {
        let (cluster, storage) = match self.probe.facts().in_cluster {
            true => (version::ETCD_CLUSTER, version::ETCD_CLUSTER),
            false => ("not_decided", "unknown"),
        };
        let text = format!(r#"{{"etcdserver":"{}","etcdcluster":"{cluster}","storage":"{storage}"}}"#, version::ETCD);
        let mut page = page(StatusCode::OK, text);
        page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        page
    }
}

async fn get_only(method: &Method, answer: impl Future<Output = Page>) -> Page {
    if method == Method::GET {
        return answer.await;
    }
    let mut page = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    page
}

fn page(status: StatusCode, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    page
}

/// A plain text.
fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    let mut page = page(status, body);
    page.headers_mut().insert(CONTENT_TYPE, TEXT);
    page.headers_mut().insert(NOSNIFF.0, NOSNIFF.1);
    page
}

/// A text with the newline that Go's `http.Error` adds.
fn error(status: StatusCode, body: &str) -> Page {
    text(status, format!("{body}\n"))
}

/// Browsers of any origin may read the pages of client listeners, as etcd's `--cors=*`.
fn allow_origins(page: &mut Page) {
    let headers = page.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("accept, content-type, authorization"));
}

/// Values of a query parameter, in order; a bare name has an empty one.
fn query<'a>(uri: &'a Uri, name: &'a str) -> impl Iterator<Item = &'a str> {
    uri.query().unwrap_or_default().split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

#[cfg(test)]
pub(crate) mod tests;
