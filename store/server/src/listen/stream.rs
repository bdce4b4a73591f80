//! A connection's bytes: TCP or a socket file, plain or TLS, counted once it is known to carry gRPC.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::metrics::Metrics;

pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub enum Transport {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

/// Length of what a client of HTTP/2 sends first (RFC 9113, 3.4). No request of HTTP/1.1, which names its host, is shorter.
const PREFACE_BYTES: usize = 24;

/// Counts what passes while `rpc` is set.
pub struct Counted {
    transport: Transport,
    rpc: Arc<AtomicBool>,
    begun: Arc<Begun>,
    metrics: Arc<Metrics>,
}

/// How far a client has come with its first words.
#[derive(Debug, Default)]
pub struct Begun {
    received: AtomicUsize,
}

impl Begun {
    /// Whether it has said which HTTP it speaks.
    pub fn is_done(&self) -> bool {
        self.received.load(Ordering::Relaxed) >= PREFACE_BYTES
    }

    fn received(&self, bytes: usize) {
        if !self.is_done() {
            self.received.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Stream {
    /// The other side, for the log.
    pub fn remote(&self) -> String {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().map_or_else(|error| error.to_string(), |at| at.to_string()),
            Stream::Unix(_) => "unix".to_owned(),
        }
    }
}

impl Counted {
    /// The counting transport, its switch, and what is known of the connection's begin.
    pub fn new(transport: Transport, metrics: Arc<Metrics>) -> (Counted, Arc<AtomicBool>, Arc<Begun>) {
        let (rpc, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(Begun::default()));
        (Counted { transport, rpc: rpc.clone(), begun: begun.clone(), metrics }, rpc, begun)
    }

    fn sent(&self, bytes: usize) {
        if self.rpc.load(Ordering::Relaxed) {
            self.metrics.network.client_sent_bytes.inc_by(bytes as u64);
        }
    }
}

macro_rules! delegate {
    ($type:ty, $self:ident, $inner:ident, $($variant:pat => $pin:expr),+) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant => $pin.poll_read(cx, buf)),+ }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($variant => $pin.poll_write(cx, buf)),+ }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($variant => $pin.poll_write_vectored(cx, bufs)),+ }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $($variant => $inner.is_write_vectored()),+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant => $pin.poll_flush(cx)),+ }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant => $pin.poll_shutdown(cx)),+ }
            }
        }
    };
}

delegate!(Stream, self, inner, Stream::Tcp(inner) => Pin::new(inner), Stream::Unix(inner) => Pin::new(inner));
delegate!(Transport, self, inner, Transport::Plain(inner) => Pin::new(inner), Transport::Tls(inner) => Pin::new(inner));

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.transport).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        this.begun.received(bytes);
        if this.rpc.load(Ordering::Relaxed) {
            this.metrics.network.client_received_bytes.inc_by(bytes as u64);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.transport).poll_write(cx, buf))?;
        this.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.transport).poll_write_vectored(cx, bufs))?;
        this.sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}
