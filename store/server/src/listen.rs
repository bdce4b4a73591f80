//! Listeners for clients, the operator and scrapers: gRPC and plain HTTP on one port, with or without TLS.
//!
//! A request whose content type is gRPC's goes to the services, any other to the pages; so one port serves `etcdctl` and `curl`.
//! Stopping refuses new connections, lets running requests end within a grace period, and then closes.

mod drain;
mod service;
mod socket;
mod stream;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use drain::Drain;
pub use service::Service;
pub use socket::Listener;

use crate::config::{Keepalive, Url};
use crate::metrics::Metrics;
use stream::{Counted, Stream, Transport};

/// A client that has not finished its TLS handshake by then is cut off; a slow one takes well under a second.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For `Settings::header_timeout`.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Descriptors that connections leave to files and peers; etcd's reserve.
const DESCRIPTORS_RESERVED: usize = 150;
/// Pause after a failed accept: without descriptors it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Streams that a client reset before they were looked at; above it the connection is closed. Watches of a busy API server are
/// canceled by the hundred.
const PENDING_RESETS_MAX: usize = 4096;

/// What a client may send on a connection before it is read. h2 closes a connection whose small unread frames exceed half of it,
/// which a burst of thousands of requests on one connection must not reach.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {url}: {source}{remedy}")]
    Bind { url: Url, source: io::Error, remedy: &'static str },
    #[error("{url} wants TLS but no certificate was given")]
    NoTls { url: Url },
}

/// How connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub keepalive: Keepalive,
    /// Streams that one connection may have open.
    pub streams_max: u32,
    /// A client must have sent the first words of HTTP/2, or the headers of HTTP/1, by then: who says nothing would keep its place among
    /// the connections for ever.
    pub header_timeout: Duration,
}

/// Accepts connections on any number of listeners until it is stopped. Clones share it.
#[derive(Clone)]
pub struct Server {
    settings: Settings,
    metrics: Arc<Metrics>,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: Arc<Drain>,
    stopping: CancellationToken,
    closing: CancellationToken,
}

impl Server {
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Server {
        let connections = Arc::new(Semaphore::new(connections_max()));
        let (stopping, closing) = (CancellationToken::new(), CancellationToken::new());
        let drain = Arc::new(Drain::default());
        Server { settings, metrics, connections, tasks: TaskTracker::new(), drain, stopping, closing }
    }

    /// Ends connections when this asks for it.
    pub fn drained_by(self, drain: Arc<Drain>) -> Server {
        Server { drain, ..self }
    }

    /// Serves what comes in on this listener; must be called inside the runtime.
    pub fn serve(&self, listener: Listener, service: Service) {
        tracing::info!(url = %listener.url(), "serving client traffic");
        let acceptor = Acceptor {
            builder: builder(&self.settings),
            header_timeout: self.settings.header_timeout,
            metrics: self.metrics.clone(),
            connections: self.connections.clone(),
            tasks: self.tasks.clone(),
            drain: self.drain.clone(),
            stopping: self.stopping.clone(),
            closing: self.closing.clone(),
            service,
        };
        self.tasks.spawn(acceptor.run(listener));
    }

    /// Refuses new connections and requests, waits up to `grace` for those that run, then closes all connections.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "requests did not end in time; closing their connections");
            self.closing.cancel();
            self.tasks.wait().await;
        }
    }
}

/// Connections that the limit of descriptors allows.
fn connections_max() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    limit.saturating_sub(DESCRIPTORS_RESERVED).max(1)
}

fn builder(settings: &Settings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(settings.keepalive.interval)
        .keep_alive_timeout(settings.keepalive.timeout)
        // gRPC has no use for the date, and it is in every answer.
        .auto_date_header(false);
    builder
}

/// What one listener's connections share.
#[derive(Clone)]
struct Acceptor {
    builder: Builder<TokioExecutor>,
    header_timeout: Duration,
    metrics: Arc<Metrics>,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: Arc<Drain>,
    stopping: CancellationToken,
    closing: CancellationToken,
    service: Service,
}

impl Acceptor {
    async fn run(self, listener: Listener) {
        let tls = listener.tls().cloned().map(TlsAcceptor::from);
        loop {
            let accept = async {
                let permit = self.connections.clone().acquire_owned().await.expect("it is never closed");
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                accepted = accept => accepted,
                () = self.stopping.cancelled() => return,
            };
            match accepted {
                Ok(stream) => {
                    let (acceptor, tls) = (self.clone(), tls.clone());
                    self.tasks.spawn(async move {
                        acceptor.connection(stream, tls).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(url = %listener.url(), %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(&self, stream: Stream, tls: Option<TlsAcceptor>) {
        let transport = match tls {
            None => Transport::Plain(stream),
            Some(tls) => match self.handshake(tls, stream).await {
                Some(transport) => transport,
                None => return,
            },
        };
        let _counted = self.drain.connected();
        let connected = &self.metrics.network.client_connections;
        connected.inc();
        self.http(transport).await;
        connected.dec();
    }

    async fn handshake(&self, tls: TlsAcceptor, stream: Stream) -> Option<Transport> {
        let remote = stream.remote();
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
        let reason = tokio::select! {
            result = handshake => match result {
                Ok(Ok(stream)) => return Some(Transport::Tls(Box::new(stream))),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the handshake took longer than {HANDSHAKE_TIMEOUT:?}"),
            },
            () = self.stopping.cancelled() => return None,
        };
        tracing::warn!(remote, reason, "rejected connection");
        None
    }

    async fn http(&self, transport: Transport) {
        let (io, rpc, begun) = Counted::new(transport, self.metrics.clone());
        let service = self.service.clone().of_connection(rpc);
        let connection = self.builder.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let asked_to_go = async {
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = self.drain.due() => {}
            }
        };
        // hyper has a limit for headers, but none for the bytes by which it tells one HTTP from the other.
        let silent = async {
            tokio::time::sleep(self.header_timeout).await;
            if begun.is_done() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silent => {
                tracing::debug!("a client said nothing for {:?}", self.header_timeout);
                return;
            }
            () = asked_to_go => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.closing.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            // A client that goes away is ordinary.
            tracing::debug!(%error, "connection ended");
        }
    }
}

#[cfg(test)]
mod tests;
