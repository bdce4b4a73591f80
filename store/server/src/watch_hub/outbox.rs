//! The queue between a stream's task and its client. It is bounded in bytes by the task, which makes no more events while
//! the queue is above its mark, and takes no more requests while answers to earlier ones wait.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use quorate_core::watch::Message;
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::Status;

use super::{Counters, lock};

/// A stream with this much waiting gets no more events until its client has read some. Together with one chunk of events it
/// is all that a client that does not read can hold; the events' bytes are shared by the streams they go to.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// Answers to requests (created, canceled) that may wait before the next request is read.
const WAITING_ANSWERS_MAX: usize = 1024;

/// The task's end.
pub(super) struct Outbox(Arc<Shared>);

/// The client's end: what the RPC answers with. Dropping it ends the task.
pub struct Responses(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the task: there is room, or the client is gone.
    drained: Notify,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    answers: usize,
    /// The client is gone.
    abandoned: bool,
    /// The task has ended; the status, if not OK, is told after the messages.
    ended: Option<Option<Status>>,
    reader: Option<Waker>,
}

pub(super) fn outbox(counters: Arc<Counters>) -> (Outbox, Responses) {
    let shared = Arc::new(Shared { queue: Mutex::default(), drained: Notify::new(), counters });
    (Outbox(Arc::clone(&shared)), Responses(shared))
}

fn is_answer(message: &Message) -> bool {
    message.head.created || message.head.canceled
}

impl Shared {
    fn count(&self, added: usize, removed: usize) {
        let change = i64::try_from(added).unwrap_or(i64::MAX) - i64::try_from(removed).unwrap_or(i64::MAX);
        self.counters.pending_events.fetch_add(change, Ordering::Relaxed);
    }
}

impl Outbox {
    pub fn push(&self, message: Message) {
        let mut queue = lock(&self.0.queue);
        if queue.abandoned {
            return;
        }
        self.0.count(message.events.len(), 0);
        queue.bytes += message.charge();
        queue.answers += usize::from(is_answer(&message));
        queue.messages.push_back(message);
        if let Some(reader) = queue.reader.take() {
            drop(queue);
            reader.wake();
        }
    }

    /// Drops the events that wait for a watcher that is no more.
    pub fn purge(&self, watch_id: i64) {
        let mut queue = lock(&self.0.queue);
        let Queue { messages, bytes, .. } = &mut *queue;
        messages.retain(|message| {
            let keep = is_answer(message) || message.head.watch_id != watch_id;
            if !keep {
                *bytes -= message.charge();
                self.0.count(0, message.events.len());
            }
            keep
        });
    }

    pub fn has_room(&self) -> bool {
        lock(&self.0.queue).bytes < WAITING_BYTES_MAX
    }

    pub fn takes_requests(&self) -> bool {
        lock(&self.0.queue).answers < WAITING_ANSWERS_MAX
    }

    pub fn is_abandoned(&self) -> bool {
        lock(&self.0.queue).abandoned
    }

    /// Returns when the client has read something since the last call, or is gone.
    pub async fn drained(&self) {
        self.0.drained.notified().await;
    }

    /// The stream is over; `None` is a clean end.
    pub fn end(&self, status: Option<Status>) {
        let mut queue = lock(&self.0.queue);
        queue.ended.get_or_insert(status);
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Stream for Responses {
    type Item = Result<Message, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = lock(&self.0.queue);
        if let Some(message) = queue.messages.pop_front() {
            let (had_room, took_requests) = (queue.bytes < WAITING_BYTES_MAX, queue.answers < WAITING_ANSWERS_MAX);
            queue.bytes -= message.charge();
            queue.answers -= usize::from(is_answer(&message));
            let room = !had_room && queue.bytes < WAITING_BYTES_MAX;
            let requests = !took_requests && queue.answers < WAITING_ANSWERS_MAX;
            drop(queue);
            self.0.count(0, message.events.len());
            self.0.counters.events_total.fetch_add(message.events.len() as u64, Ordering::Relaxed);
            if room || requests {
                self.0.drained.notify_one();
            }
            return Poll::Ready(Some(Ok(message)));
        }
        match &mut queue.ended {
            Some(status) => Poll::Ready(status.take().map(Err)),
            None => {
                queue.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        queue.abandoned = true;
        let dropped = std::mem::take(&mut queue.messages);
        self.0.count(0, dropped.iter().map(|message| message.events.len()).sum());
        drop(queue);
        self.0.drained.notify_one();
    }
}
