//! Counts and times a call from its start to its last trailer, and gives two of tonic's answers etcd's words.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tonic::{Code, Status};

use super::held::{Built, Held, Sent};
use crate::memory::Charge;
use crate::metrics::{Kind, Method};

/// A call that is counted; one that is dropped before it ended counts as canceled.
pub struct Observation {
    method: Arc<Method>,
    at: Instant,
    warning: Duration,
    ended: bool,
}

impl Observation {
    pub fn start(method: Arc<Method>, warning_unary: Duration) -> Observation {
        method.started();
        Observation { method, at: Instant::now(), warning: warning_unary, ended: false }
    }

    fn end(&mut self, code: i32) {
        if self.ended {
            return;
        }
        self.ended = true;
        let took = self.at.elapsed();
        self.method.handled(code, took.as_secs_f64());
        if self.method.kind() != Kind::Unary {
            return;
        }
        self.method.received(1);
        self.method.sent(u64::from(code == Code::Ok as i32));
        if took > self.warning && !self.warning.is_zero() {
            let (took, limit) = (format!("{took:?}"), format!("{:?}", self.warning));
            tracing::warn!(method = self.method.path(), took, expected_duration = limit, code, "request took too long");
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.end(Code::Cancelled as i32);
    }
}

/// A call on its way to its answer.
pub struct Call {
    state: State,
    observation: Option<Observation>,
    held: Option<Held>,
}

enum State {
    Running(BoxFuture<'static, Result<Response<tonic::body::Body>, Infallible>>),
    /// `None` once it was given out.
    Refused(Option<Response<tonic::body::Body>>),
}

impl Call {
    pub fn running(
        answer: BoxFuture<'static, Result<Response<tonic::body::Body>, Infallible>>,
        observation: Option<Observation>,
        held: Option<Held>,
    ) -> Call {
        Call { state: State::Running(answer), observation, held }
    }

    /// A call that is answered with an error without reaching its service.
    pub fn refused(observation: Option<Observation>, status: &Status) -> Call {
        Call { state: State::Refused(Some(status.clone().into_http())), observation, held: None }
    }
}

impl Future for Call {
    type Output = Response<Outbound>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Outbound>> {
        let this = self.get_mut();
        let mut response = match &mut this.state {
            State::Running(answer) => match ready!(answer.as_mut().poll(cx)) {
                Ok(response) => response,
                Err(never) => match never {},
            },
            State::Refused(response) => response.take().expect("a future is not polled after it was ready"),
        };
        let mut observation = this.observation.take();
        if let Some(code) = code(response.headers()) {
            let code = say_as_etcd(code, response.headers_mut());
            if let Some(observation) = &mut observation {
                observation.end(code);
            }
        }
        let built = response.extensions_mut().remove::<Built>();
        let held = this.held.take();
        Poll::Ready(response.map(|body| Outbound { body, observation, held, _built: built }))
    }
}

fn code(headers: &HeaderMap) -> Option<i32> {
    headers.get(Status::GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// A request above the size that is read is refused in the words of Go's gRPC.
fn say_as_etcd(code: i32, headers: &mut HeaderMap) -> i32 {
    const TOO_LARGE: &str = "Error,%20decoded%20message%20length%20too%20large:";
    if code != Code::OutOfRange as i32 {
        return code;
    }
    let Some(text) = headers.get(Status::GRPC_MESSAGE).and_then(|text| text.to_str().ok()) else { return code };
    let Some(rest) = text.strip_prefix(TOO_LARGE) else { return code };
    let rest = rest.replace("%20", " ");
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    let (found, limit) = (numbers.next().unwrap_or("?"), numbers.next().unwrap_or("?"));
    let text = format!("grpc:%20received%20message%20larger%20than%20max%20({found}%20vs.%20{limit})");
    let text = HeaderValue::try_from(text).expect("digits and plain ASCII are a header");
    let code = Code::ResourceExhausted as i32;
    headers.insert(Status::GRPC_MESSAGE, text);
    headers.insert(Status::GRPC_STATUS, code.into());
    code
}

/// The body of an answer; its trailers end the observation.
pub struct Outbound {
    body: tonic::body::Body,
    observation: Option<Observation>,
    held: Option<Held>,
    /// The answer before it is encoded, if it is large.
    _built: Option<Built>,
}

impl Body for Outbound {
    type Data = Sent;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Sent>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(observation) = &mut this.observation {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        observation.end(code(trailers).unwrap_or(Code::Unknown as i32));
                    } else if observation.method.kind() != Kind::Unary
                        && let Some(data) = frame.data_ref()
                    {
                        observation.method.sent(Messages::default().count(data));
                    }
                }
                Some(Err(status)) => observation.end(status.code() as i32),
                None => {}
            }
        }
        let held = this.held.as_ref();
        let sent = |data: Bytes| match held {
            Some(held) => held.sends(data),
            None => Sent::from(data),
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(sent))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request; the messages of a stream are counted as they arrive. It fails only because its client ended the call or the
/// connection, whatever hyper calls it; tonic takes that for the end of the requests.
pub struct Inbound {
    body: Incoming,
    counting: Option<(Arc<Method>, Messages)>,
    /// Of a call with one request, which is held until the call has ended.
    received: Option<Arc<Charge>>,
}

impl Inbound {
    pub fn new(body: Incoming, observation: Option<&Observation>, held: Option<&Held>) -> Inbound {
        let method = observation.map(|observation| &observation.method);
        let streams = method.is_some_and(|method| method.kind() == Kind::BidiStream);
        let received = held.filter(|_| !streams).map(Held::received);
        let counting = method.filter(|method| method.kind() != Kind::Unary);
        Inbound { body, counting: counting.map(|method| (method.clone(), Messages::default())), received }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let (Some(received), Some(Ok(frame))) = (&this.received, &frame)
            && let Some(data) = frame.data_ref()
        {
            received.add(data.len());
        }
        if let Some((method, messages)) = &mut this.counting
            && let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            method.received(messages.count(data));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::cancelled(error.to_string()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counts the messages of a byte stream by their prefixes (a flag and four bytes of length), however it is cut.
#[derive(Debug, Default)]
struct Messages {
    prefix: [u8; Self::PREFIX],
    prefix_read: usize,
    /// Bytes of the current message that are still to come.
    rest: usize,
}

impl Messages {
    const PREFIX: usize = 5;

    /// The messages that begin in these bytes.
    fn count(&mut self, mut data: &[u8]) -> u64 {
        let mut count = 0;
        while !data.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(data.len());
                data.advance(skipped);
                self.rest -= skipped;
                continue;
            }
            self.prefix[self.prefix_read] = data[0];
            self.prefix_read += 1;
            data.advance(1);
            if self.prefix_read == Self::PREFIX {
                let [_, a, b, c, d] = self.prefix;
                self.rest = u32::from_be_bytes([a, b, c, d]) as usize;
                self.prefix_read = 0;
                count += 1;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for length in [0u32, 1, 300, 7, 0] {
            stream.push(0);
            stream.extend(length.to_be_bytes());
            stream.extend(vec![9; length as usize]);
        }
        for size in 1..stream.len() {
            let mut messages = Messages::default();
            let count: u64 = stream.chunks(size).map(|chunk| messages.count(chunk)).sum();
            assert_eq!(count, 5, "in chunks of {size}");
        }
    }
}
