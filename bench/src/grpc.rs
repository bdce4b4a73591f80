//! The leanest unary gRPC client: HTTP/2 by the `h2` crate and the five bytes before a message, nothing else.
//!
//! Client and server share the machine, so every microsecond that the client takes lowers the throughput of both servers and
//! draws their ratio towards one.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use prost::Message;
use tokio::net::TcpStream;

use crate::error::{Error, Result};

/// Compression flag and length before each message.
const PREFIX: usize = 5;
/// Flow-control windows in bytes, so large that no answer waits for one.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// A handle to one connection; clones share it. Must be used within a `LocalSet`.
#[derive(Clone)]
pub struct Channel {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Channel {
    /// Connects and shakes hands. The connection ends with its last handle.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW).enable_push(false);
        let (sender, connection) = builder.handshake(socket).await?;
        // A broken connection shows in the calls over it.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Self { sender, address })
    }

    /// The address of a method, made once for many calls; `path` is like `/etcdserverpb.KV/Put`.
    pub fn method(&self, path: &'static str) -> Uri {
        let parts = Uri::builder().scheme("http").authority(self.address.to_string()).path_and_query(path);
        parts.build().expect("an address and a constant path are a valid URI")
    }

    /// One call: sends a framed message (see [`frame`]) and returns the message of the answer.
    pub async fn call(&mut self, method: &Uri, framed: Bytes) -> Result<Bytes> {
        poll_fn(|context| self.sender.poll_ready(context)).await?;
        let (answer, mut body) = self.sender.send_request(request(method), false)?;
        body.send_data(framed, true)?;
        let (head, mut body) = answer.await?.into_parts();
        let message = read(&mut body).await?;
        match body.trailers().await? {
            Some(trailers) => succeeded(&trailers)?,
            // An error without a message comes in the head alone.
            None => succeeded(&head.headers)?,
        }
        unframe(message)
    }
}

/// The message with its prefix.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).expect("requests of a few KiB are made here"));
    message.encode(&mut framed).expect("the buffer grows");
    framed.freeze()
}

fn request(method: &Uri) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = method.clone();
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    request
}

/// All data of a body; one piece, as it is nearly always, is not copied.
async fn read(body: &mut h2::RecvStream) -> Result<Bytes> {
    let mut whole = Bytes::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole = if whole.is_empty() { piece } else { Bytes::from([whole, piece].concat()) };
    }
    Ok(whole)
}

fn succeeded(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("(none)");
    match text("grpc-status") {
        "0" => Ok(()),
        status => Err(Error::Refused { status: status.into(), message: text("grpc-message").into() }),
    }
}

fn unframe(mut framed: Bytes) -> Result<Bytes> {
    let broken = |found: String| Error::WrongAnswer { operation: "a call", found };
    if framed.len() < PREFIX {
        return Err(broken(format!("{} bytes, fewer than the prefix of a message", framed.len())));
    }
    let (compressed, length) = (framed.get_u8(), framed.get_u32());
    if compressed != 0 || usize::try_from(length).ok() != Some(framed.len()) {
        return Err(broken(format!("flag {compressed} and length {length} before {} bytes", framed.len())));
    }
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use quorate_api::etcdserverpb::RangeRequest;

    use super::*;

    #[test]
    fn a_framed_message_is_read_back() {
        let message = RangeRequest { key: "a".into(), limit: 7, ..Default::default() };
        let read = RangeRequest::decode(unframe(frame(&message)).unwrap()).unwrap();
        assert_eq!(read, message);
    }

    #[test]
    fn a_broken_frame_is_refused() {
        for broken in [&[0, 0, 0][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 2, 9], &[0, 0, 0, 0, 0, 9]] {
            assert!(unframe(Bytes::copy_from_slice(broken)).is_err(), "{broken:?} was taken");
        }
    }

    #[test]
    fn only_status_zero_is_success() {
        let headers = |status| HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), status)]);
        assert!(succeeded(&headers(HeaderValue::from_static("0"))).is_ok());
        assert!(succeeded(&headers(HeaderValue::from_static("8"))).is_err());
        assert!(succeeded(&HeaderMap::new()).is_err());
    }
}
