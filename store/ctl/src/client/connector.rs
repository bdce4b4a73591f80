//! Opens connections for the channel: to one endpoint after the other until one answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;

use super::{Error, Options, tls};

/// One endpoint, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: String,
    /// `host:port` as given.
    authority: String,
    tls: bool,
}

/// A connection that is being opened.
type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

/// Knows every endpoint and which of them to try next.
#[derive(Clone)]
pub struct Connector {
    targets: Arc<[Target]>,
    /// Index of the endpoint that answered last; the next attempt after a failure begins behind it.
    last: Arc<AtomicUsize>,
    tls: Option<TlsConnector>,
    dial_timeout: Duration,
}

impl Connector {
    /// Parses the endpoints and reads the TLS files.
    pub fn new(options: &Options) -> Result<Connector, Error> {
        let targets = options
            .endpoints
            .iter()
            .map(|endpoint| Target::parse(endpoint, options.tls.is_some()))
            .collect::<Result<Arc<[Target]>, Error>>()?;
        if targets.is_empty() {
            return Err(Error::NoEndpoints);
        }
        if let (None, Some(target)) = (&options.tls, targets.iter().find(|target| target.tls)) {
            return Err(Error::TlsMissing { endpoint: target.authority.clone() });
        }
        let tls = match &options.tls {
            Some(tls) => Some(TlsConnector::from(Arc::new(tls::config(tls)?))),
            None => None,
        };
        // The first attempt begins at endpoint 0, which is behind the last one.
        let last = Arc::new(AtomicUsize::new(targets.len() - 1));
        Ok(Connector { targets, last, tls, dial_timeout: options.dial_timeout })
    }

    /// What tonic names in requests: the first endpoint, whichever one answers.
    pub fn endpoint(&self) -> Result<Endpoint, Error> {
        let Target { authority, tls, .. } = &self.targets[0];
        let error = |_| Error::Endpoint { endpoint: authority.clone() };
        let uri = |scheme| format!("{scheme}://{authority}").parse::<Uri>().map_err(error);
        // TLS is the connector's business; tonic would refuse an https address that it is not to encrypt itself.
        Ok(Endpoint::from(uri("http")?).origin(uri(if *tls { "https" } else { "http" })?))
    }

    /// The connector as the service that tonic wants.
    pub fn service(
        self,
    ) -> impl tower::Service<Uri, Response = TokioIo<Stream>, Error = io::Error, Future = Connecting> + Send + 'static
    {
        tower::service_fn(move |_| -> Connecting {
            let connector = self.clone();
            Box::pin(async move { connector.connect().await.map(TokioIo::new) })
        })
    }

    async fn connect(&self) -> io::Result<Stream> {
        let first = self.last.load(Ordering::Relaxed) + 1;
        let mut reasons = Vec::new();
        for index in (0..self.targets.len()).map(|offset| (first + offset) % self.targets.len()) {
            let target = &self.targets[index];
            let attempt = tokio::time::timeout(self.dial_timeout, self.dial(target)).await;
            match attempt.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))) {
                Ok(stream) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => reasons.push(format!("{} ({error})", target.authority)),
            }
        }
        Err(io::Error::other(reasons.join(", ")))
    }

    async fn dial(&self, target: &Target) -> io::Result<Stream> {
        let tcp = TcpStream::connect(&target.authority).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some(tls) if target.tls => {
                // DNS may end a name with the root's dot; certificates do not.
                let name = target.host.strip_suffix('.').unwrap_or(&target.host).to_owned();
                let name = ServerName::try_from(name).map_err(io::Error::other)?;
                Ok(Stream::Tls(Box::new(tls.connect(name, tcp).await?)))
            }
            _ => Ok(Stream::Plain(tcp)),
        }
    }
}

impl Target {
    /// Spaces around an endpoint are dropped, since people write `a, b`.
    fn parse(endpoint: &str, tls_by_default: bool) -> Result<Target, Error> {
        let error = || Error::Endpoint { endpoint: endpoint.to_owned() };
        let (scheme, authority) = match endpoint.trim().split_once("://") {
            Some((scheme, authority)) => (Some(scheme), authority.trim_end_matches('/')),
            None => (None, endpoint.trim()),
        };
        let tls = match scheme {
            None => tls_by_default,
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(error()),
        };
        let (host, port) = authority.rsplit_once(':').ok_or_else(error)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(error());
        }
        Ok(Target { host: host.to_owned(), authority: authority.to_owned(), tls })
    }
}

/// The reason at the bottom of an error, which is the one that [`Connector`] gave.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A connection with or without TLS.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_parse_with_and_without_scheme() {
        for (endpoint, by_default, authority, host, tls) in [
            ("127.0.0.1:2379", false, "127.0.0.1:2379", "127.0.0.1", false),
            ("127.0.0.1:2379", true, "127.0.0.1:2379", "127.0.0.1", true),
            ("http://localhost:1/", true, "localhost:1", "localhost", false),
            (" https://a.b:2 ", false, "a.b:2", "a.b", true),
            ("[::1]:2379", false, "[::1]:2379", "::1", false),
        ] {
            let expected = Target { host: host.into(), authority: authority.into(), tls };
            assert_eq!(Target::parse(endpoint, by_default).unwrap(), expected);
        }
        for endpoint in ["127.0.0.1", "ftp://a:1", ":2379", "a:x", "", "a:70000"] {
            assert!(matches!(Target::parse(endpoint, false), Err(Error::Endpoint { .. })), "{endpoint:?}");
        }
    }

    #[test]
    fn https_without_tls_files_is_refused_before_anything_is_sent() {
        let options = Options::new(["a:1", "https://b:2"]);
        assert!(matches!(Connector::new(&options), Err(Error::TlsMissing { endpoint }) if endpoint == "b:2"));
        assert!(matches!(Connector::new(&Options::new([""; 0])), Err(Error::NoEndpoints)));
    }

    #[tokio::test]
    async fn a_dead_endpoint_is_passed_over_and_the_good_one_found() {
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead_address = dead.local_addr().unwrap().to_string();
        drop(dead);
        let good = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options::new([dead_address.clone(), good.local_addr().unwrap().to_string()]);
        let connector = Connector::new(&options).unwrap();
        assert!(connector.connect().await.is_ok());
        assert_eq!(connector.last.load(Ordering::Relaxed), 1);

        drop(good);
        let error = connector.connect().await.err().unwrap().to_string();
        assert!(error.contains(&dead_address) && error.contains("refused"), "{error}");
    }
}
