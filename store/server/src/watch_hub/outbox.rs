//! The queue between a stream's task and its client, with who waits for whom. What it holds is `quorate_core::watch::Queue`.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use quorate_core::watch::{Message, Queue};
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::Status;

use super::{Counters, lock};

/// The task's end.
pub(super) struct Outbox(Arc<Shared>);

/// The client's end: what the RPC answers with. Dropping it ends the task.
pub struct Responses(Arc<Shared>);

struct Shared {
    ends: Mutex<Ends>,
    /// Wakes the task: there is room, or the client is gone.
    drained: Notify,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Ends {
    queue: Queue,
    /// The client is gone.
    abandoned: bool,
    /// The task has ended; the status, if not OK, is told after the messages.
    ended: Option<Option<Status>>,
    reader: Option<Waker>,
}

pub(super) fn outbox(counters: Arc<Counters>) -> (Outbox, Responses) {
    let shared = Arc::new(Shared { ends: Mutex::default(), drained: Notify::new(), counters });
    (Outbox(Arc::clone(&shared)), Responses(shared))
}

impl Shared {
    fn count(&self, added: usize, removed: usize) {
        let change = i64::try_from(added).unwrap_or(i64::MAX) - i64::try_from(removed).unwrap_or(i64::MAX);
        self.counters.pending_events.fetch_add(change, Ordering::Relaxed);
    }
}

impl Outbox {
    pub fn push(&self, message: Message) {
        let mut ends = lock(&self.0.ends);
        if ends.abandoned {
            return;
        }
        self.0.count(message.events.len(), 0);
        ends.queue.push(message);
        if let Some(reader) = ends.reader.take() {
            drop(ends);
            reader.wake();
        }
    }

    /// Drops the events that wait for a watcher that is no more.
    pub fn purge(&self, watch_id: i64) {
        let dropped = lock(&self.0.ends).queue.purge(watch_id);
        self.0.count(0, dropped);
    }

    pub fn has_room(&self) -> bool {
        lock(&self.0.ends).queue.has_room()
    }

    pub fn takes_requests(&self) -> bool {
        lock(&self.0.ends).queue.takes_requests()
    }

    pub fn is_abandoned(&self) -> bool {
        lock(&self.0.ends).abandoned
    }

    /// Returns when the client has read something since the last call, or is gone.
    pub async fn drained(&self) {
        self.0.drained.notified().await;
    }

    /// The stream is over; `None` is a clean end.
    pub fn end(&self, status: Option<Status>) {
        let mut ends = lock(&self.0.ends);
        ends.ended.get_or_insert(status);
        if let Some(reader) = ends.reader.take() {
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
        let mut ends = lock(&self.0.ends);
        let (had_room, took_requests) = (ends.queue.has_room(), ends.queue.takes_requests());
        if let Some(message) = ends.queue.pop() {
            let room = !had_room && ends.queue.has_room();
            let requests = !took_requests && ends.queue.takes_requests();
            drop(ends);
            self.0.count(0, message.events.len());
            self.0.counters.events_total.fetch_add(message.events.len() as u64, Ordering::Relaxed);
            if room || requests {
                self.0.drained.notify_one();
            }
            return Poll::Ready(Some(Ok(message)));
        }
        match &mut ends.ended {
            Some(status) => Poll::Ready(status.take().map(Err)),
            None => {
                ends.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        let mut ends = lock(&self.0.ends);
        ends.abandoned = true;
        let dropped = ends.queue.clear();
        self.0.count(0, dropped);
        drop(ends);
        self.0.drained.notify_one();
    }
}
