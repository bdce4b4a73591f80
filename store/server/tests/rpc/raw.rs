//! HTTP/2 as a client that breaks its rules writes it: frames in the order that they are asked for, and nothing is read.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes of a reset.
pub const INTERNAL_ERROR: u32 = 2;
pub const CANCEL: u32 = 8;

/// A connection with one gRPC call on it. Dropping it closes the connection.
pub struct Call(TcpStream);

impl Call {
    pub async fn open(address: &str, path: &str) -> Call {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", address),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let block = headers.iter().flat_map(|(name, value)| literal(name, value)).collect::<Vec<u8>>();
        let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, &block)].concat();
        let mut call = Call(TcpStream::connect(address).await.unwrap());
        call.write(&opening).await;
        call
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub async fn send(&mut self, data: &[u8]) {
        self.write(&frame(DATA, 0, 1, data)).await;
    }

    /// As `send`, and nothing more comes.
    pub async fn send_last(&mut self, data: &[u8]) {
        self.write(&frame(DATA, END_STREAM, 1, data)).await;
    }

    pub async fn reset(&mut self, code: u32) {
        self.write(&frame(RST_STREAM, 0, 1, &code.to_be_bytes())).await;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field that no table knows.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[0, short(name)][..], name.as_bytes(), &[short(value)], value.as_bytes()].concat()
}
