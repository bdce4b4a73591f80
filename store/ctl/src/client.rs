//! A client of etcd's API that other crates use too: one gRPC channel over several endpoints, TLS by PEM files, user and
//! password or token. The generated clients come from [`Client::kv`] and its siblings.
//!
//! The channel speaks to one endpoint at a time. When that connection breaks, the next request connects anew, trying
//! every endpoint once, beginning after the broken one. Requests are never repeated here: whether one may be is for the
//! caller to know.

pub mod connector;
pub mod discovery;
mod dns;
mod retry;
pub mod tls;

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use quorate_api::admin::admin_client::AdminClient;
use quorate_api::admin::recovery_client::RecoveryClient;
use quorate_api::etcdserverpb::AuthenticateRequest;
use quorate_api::etcdserverpb::auth_client::AuthClient;
use quorate_api::etcdserverpb::cluster_client::ClusterClient;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::lease_client::LeaseClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_api::etcdserverpb::watch_client::WatchClient;
use quorate_api::health::health_client::HealthClient;
use quorate_api::v3electionpb::election_client::ElectionClient;
use quorate_api::v3lockpb::lock_client::LockClient;

pub use retry::repeat_read;

/// etcd's client sends no message above this unless told otherwise.
const REQUEST_BYTES_MAX_DEFAULT: usize = 2 * 1024 * 1024;
/// Pause after every endpoint refused, before all are tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port`, `http://host:port` or `https://host:port`; without a scheme TLS is used if `tls` is set.
    pub endpoints: Vec<String>,
    pub tls: Option<tls::Options>,
    /// For TCP and TLS to one endpoint.
    pub dial_timeout: Duration,
    /// Idle time after which the connection is probed; zero = never.
    pub keepalive_time: Duration,
    /// Silence after a probe that ends the connection.
    pub keepalive_timeout: Duration,
    /// 0 = 2 MiB.
    pub request_bytes_max: usize,
    /// 0 = no limit.
    pub response_bytes_max: usize,
    pub credentials: Option<Credentials>,
}

/// Who the client is to the server's authorization.
#[derive(Debug, Clone)]
pub enum Credentials {
    Password { user: String, password: String },
    Token(String),
}

impl Options {
    /// etcdctl's defaults for the given endpoints, without TLS.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Options {
        Options {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            dial_timeout: Duration::from_secs(2),
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            request_bytes_max: 0,
            response_bytes_max: 0,
            credentials: None,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("etcdclient: no available endpoints")]
    NoEndpoints,
    #[error("endpoint {endpoint:?} is not host:port, http://host:port or https://host:port")]
    Endpoint { endpoint: String },
    #[error("endpoint {endpoint:?} needs TLS: give --cacert, or --insecure-skip-tls-verify for tests")]
    TlsMissing { endpoint: String },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Discovery(#[from] discovery::Error),
    /// No endpoint took the connection; the reasons, one an endpoint.
    #[error("cannot connect to {0}")]
    Connect(String),
    #[error("context deadline exceeded")]
    DeadlineExceeded,
    #[error("{}", .0.message())]
    Authenticate(Status),
    #[error("the token is not valid in a header: it must be visible ASCII")]
    Token,
}

impl Error {
    /// etcdctl's exit code: 2 for a connection, 128 for what the caller gave.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NoEndpoints => 2,
            Error::Endpoint { .. } | Error::TlsMissing { .. } | Error::Tls(_) | Error::Token => 128,
            Error::Discovery(_) | Error::Connect(_) | Error::DeadlineExceeded | Error::Authenticate(_) => 1,
        }
    }
}

/// Adds the token, once there is one, to every request.
#[derive(Debug, Clone, Default)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// What the generated clients run on.
pub type Service = InterceptedService<Channel, Token>;

/// A connection to a cluster; cheap to clone, all clones share the channel.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    service: Service,
    request_bytes_max: usize,
    response_bytes_max: usize,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident, $client:ident;)*) => {
        impl Client {
            $($(#[$doc])* pub fn $name(&self) -> $client<Service> {
                $client::new(self.service.clone())
                    .max_encoding_message_size(self.request_bytes_max)
                    .max_decoding_message_size(self.response_bytes_max)
            })*
        }
    };
}

clients! {
    kv, KvClient;
    watch, WatchClient;
    lease, LeaseClient;
    cluster, ClusterClient;
    maintenance, MaintenanceClient;
    auth, AuthClient;
    lock, LockClient;
    election, ElectionClient;
    health, HealthClient;
    recovery, RecoveryClient;
    /// Only where a member serves it: on its own address.
    admin, AdminClient;
}

impl Client {
    /// Connects to the first endpoint that answers, trying each once.
    pub async fn connect(options: &Options) -> Result<Client, Error> {
        let connector = connector::Connector::new(options)?;
        let mut endpoint = connector.endpoint()?;
        if !options.keepalive_time.is_zero() {
            endpoint = endpoint
                .http2_keep_alive_interval(options.keepalive_time)
                .keep_alive_timeout(options.keepalive_timeout)
                .keep_alive_while_idle(true);
        }
        let channel = endpoint
            .connect_with_connector(connector.service())
            .await
            .map_err(|error| Error::Connect(connector::innermost(&error)))?;
        let or = |bytes: usize, default| if bytes == 0 { default } else { bytes };
        let client = Client {
            service: InterceptedService::new(channel.clone(), Token::default()),
            channel,
            request_bytes_max: or(options.request_bytes_max, REQUEST_BYTES_MAX_DEFAULT),
            response_bytes_max: or(options.response_bytes_max, usize::MAX),
        };
        client.authenticate(options.credentials.as_ref()).await
    }

    /// Connects, trying all endpoints again and again until `deadline`; `failed` hears of each vain round.
    pub async fn connect_until(
        options: &Options,
        deadline: Instant,
        mut failed: impl FnMut(&str),
    ) -> Result<Client, Error> {
        loop {
            match tokio::time::timeout_at(deadline, Client::connect(options)).await {
                Err(_) => return Err(Error::DeadlineExceeded),
                Ok(Err(Error::Connect(reason))) => failed(&reason),
                Ok(done) => return done,
            }
            if tokio::time::timeout_at(deadline, tokio::time::sleep(RECONNECT_PAUSE)).await.is_err() {
                return Err(Error::DeadlineExceeded);
            }
        }
    }

    async fn authenticate(mut self, credentials: Option<&Credentials>) -> Result<Client, Error> {
        let token = match credentials {
            None => return Ok(self),
            Some(Credentials::Token(token)) => token.clone(),
            Some(Credentials::Password { user, password }) => {
                let request = AuthenticateRequest { name: user.clone(), password: password.clone() };
                match self.auth().authenticate(request).await {
                    Ok(response) => response.into_inner().token,
                    // A cluster without authentication takes everyone, as with etcd's client.
                    Err(status) if status.message() == quorate_api::Error::AuthNotEnabled.message() => return Ok(self),
                    Err(status) => return Err(Error::Authenticate(status)),
                }
            }
        };
        let token = MetadataValue::try_from(token).map_err(|_| Error::Token)?;
        self.service = InterceptedService::new(self.channel.clone(), Token(Some(token)));
        Ok(self)
    }
}
