//! Opens a connection to a peer's URL: TCP, TLS for https, the handshake.

use std::io;
use std::time::Duration;

use prost::Message;
use quorate_api::admin;
use quorate_core::log::MemberId;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::handshake::{self, Channel, FEATURE_LEVEL, Hello, PROTOCOL_MAX, PROTOCOL_MIN};
use super::{Local, lifeline};
use crate::tls::Plane;

/// How long TCP may take to connect. A packet that is lost is sent again after 1 s, the next one after 2 s more.
const TCP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connecting, TLS and the handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A configuration of a few members is a kilobyte.
const CONFIGURATION_BYTES_MAX: u32 = 1 << 20;

/// Either a plain or a TLS stream.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
pub type Stream = Box<dyn Duplex>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("peer URL {0} is not http://host:port or https://host:port")]
    Url(String),
    #[error(
        "peer URL {0} wants TLS; give this member --peer-cert-file, --peer-key-file and --peer-trusted-ca-file, or --peer-auto-tls where the others have it"
    )]
    NoTls(String),
    #[error("no answer within {} s", TCP_TIMEOUT.as_secs())]
    Unanswered,
    #[error("not connected after {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
}

/// An open connection.
pub struct Connected {
    pub stream: Stream,
    /// The highest protocol that the other side speaks.
    pub protocol: u16,
}

/// Connects to `url` of member `to`.
///
/// # Errors
/// The address, the network, TLS, or the peer's refusal.
pub async fn connect(local: &Local, to: MemberId, url: &str, channel: Channel) -> Result<Connected, Error> {
    let hello = Hello {
        channel,
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        feature_level: FEATURE_LEVEL,
        cluster_id: local.cluster_id,
        from: local.member_id,
        to,
        boot: local.boot,
        disk_id: local.disk_id.clone(),
    };
    in_time(open(local.tls.as_ref(), url, &hello)).await
}

/// Asks the member at `url` for its configuration; for a member that knows nothing but addresses yet.
///
/// # Errors
/// The address, the network, TLS, or something that is no peer.
pub async fn discover(tls: Option<&Plane>, url: &str) -> Result<admin::Configuration, Error> {
    let hello = Hello {
        channel: Channel::Discover,
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        feature_level: FEATURE_LEVEL,
        cluster_id: 0,
        from: 0,
        to: 0,
        boot: 0,
        disk_id: String::new(),
    };
    in_time(async {
        let Connected { mut stream, .. } = open(tls, url, &hello).await?;
        let length = stream.read_u32().await?;
        if length > CONFIGURATION_BYTES_MAX {
            return Err(handshake::Error::Malformed("its configuration is too long").into());
        }
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data).await?;
        admin::Configuration::decode(data.as_slice())
            .map_err(|_| handshake::Error::Malformed("its configuration does not decode").into())
    })
    .await
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(CONNECT_TIMEOUT, work).await.unwrap_or(Err(Error::Timeout))
}

async fn open(tls: Option<&Plane>, url: &str, hello: &Hello) -> Result<Connected, Error> {
    let parsed = url::Url::parse(url).map_err(|_| Error::Url(url.to_owned()))?;
    let host = parsed.host_str().ok_or_else(|| Error::Url(url.to_owned()))?.trim_matches(['[', ']']);
    let port = parsed.port_or_known_default().ok_or_else(|| Error::Url(url.to_owned()))?;
    let connected = tokio::time::timeout(TCP_TIMEOUT, TcpStream::connect((host, port))).await;
    let tcp = connected.map_err(|_| Error::Unanswered)??;
    tcp.set_nodelay(true)?;
    lifeline::guard(&tcp)?;
    let mut stream: Stream = match (parsed.scheme(), tls) {
        ("http", _) => Box::new(tcp),
        ("https", Some(plane)) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Url(url.to_owned()))?;
            Box::new(TlsConnector::from(plane.client.clone()).connect(name, tcp).await?)
        }
        ("https", None) => return Err(Error::NoTls(url.to_owned())),
        _ => return Err(Error::Url(url.to_owned())),
    };
    let protocol = handshake::call(&mut stream, hello).await?;
    Ok(Connected { stream, protocol })
}
