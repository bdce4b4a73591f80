//! A watch stream: its requests, and what has come over it, which is taken off once both servers agree on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost_reflect::DynamicMessage;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::Channel;

use crate::session::Status;
use crate::wire::{Method, RawCodec};

/// Requests that wait to be sent: a sequence waits for the answer of each.
const REQUESTS_MAX: usize = 16;

pub struct WatchStream {
    requests: mpsc::Sender<Bytes>,
    received: Arc<Received>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Received {
    taken: Mutex<Taken>,
    changed: Notify,
}

/// What has come since the servers last agreed.
#[derive(Default, Clone)]
pub struct Taken {
    pub messages: Vec<DynamicMessage>,
    /// How the stream ended, if it did.
    pub end: Option<Status>,
}

impl WatchStream {
    pub fn open(channel: Channel, method: &'static Method, request: tonic::Request<()>) -> WatchStream {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let received = Arc::new(Received::default());
        let (metadata, extensions, ()) = request.into_parts();
        let request = tonic::Request::from_parts(metadata, extensions, ReceiverStream::new(receiver));
        let task = tokio::spawn(receive(channel, method, request, Arc::clone(&received)));
        WatchStream { requests, received, task }
    }

    /// Sends a message; on a stream that has ended it goes nowhere, which the stream's end tells.
    pub async fn send(&self, message: Bytes) {
        let _ = self.requests.send(message).await;
    }

    pub fn pending(&self) -> Taken {
        self.received.lock().clone()
    }

    /// Takes off the first messages, which the servers agreed on.
    pub fn agree(&self, messages: usize) {
        self.received.lock().messages.drain(..messages);
    }

    /// Waits for anything new since the last call.
    pub async fn changed(&self) {
        self.received.changed.notified().await;
    }
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    channel: Channel,
    method: &'static Method,
    request: tonic::Request<ReceiverStream<Bytes>>,
    received: Arc<Received>,
) {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    let opened = match grpc.ready().await {
        Ok(()) => grpc.streaming(request, method.path.clone(), RawCodec).await,
        Err(error) => Err(tonic::Status::unavailable(error.to_string())),
    };
    let end = match opened {
        Ok(response) => {
            let mut messages = response.into_inner();
            loop {
                match messages.message().await {
                    Ok(Some(bytes)) => {
                        match DynamicMessage::decode(method.response.clone(), bytes) {
                            Ok(message) => received.lock().messages.push(message),
                            Err(error) => break Status::undecodable(&error),
                        }
                        received.changed.notify_one();
                    }
                    Ok(None) => break Status::ended(),
                    Err(status) => break Status::of(&status),
                }
            }
        }
        Err(status) => Status::of(&status),
    };
    received.lock().end = Some(end);
    received.changed.notify_one();
}
