//! Opens a connection to a peer's URL: TCP, TLS for https, the handshake.

use std::io;
use std::time::Duration;

use quorate_core::log::MemberId;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Local;
use super::handshake::{self, Channel, FEATURE_LEVEL, Hello, PROTOCOL_MAX, PROTOCOL_MIN};

/// How long connecting, TLS and the handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Either a plain or a TLS stream.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
pub type Stream = Box<dyn Duplex>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("peer URL {0} is not http://host:port or https://host:port")]
    Url(String),
    #[error("peer URL {0} wants TLS; give this member --peer-cert-file, --peer-key-file and --peer-trusted-ca-file")]
    NoTls(String),
    #[error("not connected after {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
}

/// Connects to `url` of member `to`.
///
/// # Errors
/// The address, the network, TLS, or the peer's refusal.
pub async fn connect(local: &Local, to: MemberId, url: &str, channel: Channel) -> Result<Stream, Error> {
    tokio::time::timeout(CONNECT_TIMEOUT, open(local, to, url, channel)).await.unwrap_or(Err(Error::Timeout))
}

async fn open(local: &Local, to: MemberId, url: &str, channel: Channel) -> Result<Stream, Error> {
    let parsed = url::Url::parse(url).map_err(|_| Error::Url(url.to_owned()))?;
    let host = parsed.host_str().ok_or_else(|| Error::Url(url.to_owned()))?.trim_matches(['[', ']']);
    let port = parsed.port_or_known_default().ok_or_else(|| Error::Url(url.to_owned()))?;
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let mut stream: Stream = match (parsed.scheme(), &local.tls) {
        ("http", _) => Box::new(tcp),
        ("https", Some(plane)) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Url(url.to_owned()))?;
            Box::new(TlsConnector::from(plane.client.clone()).connect(name, tcp).await?)
        }
        ("https", None) => return Err(Error::NoTls(url.to_owned())),
        _ => return Err(Error::Url(url.to_owned())),
    };
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
    handshake::call(&mut stream, &hello).await?;
    Ok(stream)
}
