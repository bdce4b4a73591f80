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
use crate::memory::{Budget, Charge, Part};

/// The task's end.
pub(super) struct Outbox(Arc<Shared>);

/// The client's end: what the RPC answers with. Dropping it ends the task.
pub struct Responses(Arc<Shared>);

struct Shared {
    ends: Mutex<Ends>,
    /// Wakes the task: there is room, or the client is gone.
    drained: Notify,
    counters: Arc<Counters>,
    budget: Arc<Budget>,
    /// What waits here.
    charge: Charge,
}

#[derive(Default)]
struct Ends {
    queue: Queue,
    /// The client is gone.
    abandoned: bool,
    task: TaskState,
    reader: Option<Waker>,
    /// The task was told that there is no room, and waits to hear that there is.
    starved: bool,
}

/// What becomes of the task at the other end.
#[derive(Default)]
enum TaskState {
    #[default]
    Runs,
    /// Nothing is told of it after the messages.
    Ended,
    /// The status is told after the messages, once.
    Failed(Status),
}

pub(super) fn outbox(counters: Arc<Counters>, budget: &Arc<Budget>) -> (Outbox, Responses) {
    let (budget, charge) = (Arc::clone(budget), budget.charge(Part::Watches, 0));
    let shared = Arc::new(Shared { ends: Mutex::default(), drained: Notify::new(), counters, budget, charge });
    (Outbox(Arc::clone(&shared)), Responses(shared))
}

impl Shared {
    /// With a full budget a stream gets its next events when its client has read what waits: until then it falls behind, and reads
    /// what it missed from the log.
    fn has_room(&self, ends: &Ends) -> bool {
        ends.queue.has_room() && (ends.queue.is_empty() || !self.budget.is_full())
    }

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
        self.0.charge.set(ends.queue.bytes());
        if let Some(reader) = ends.reader.take() {
            drop(ends);
            reader.wake();
        }
    }

    /// Drops the events that wait for a watcher that is no more.
    pub fn purge(&self, watch_id: i64) {
        let mut ends = lock(&self.0.ends);
        let dropped = ends.queue.purge(watch_id);
        self.0.charge.set(ends.queue.bytes());
        drop(ends);
        self.0.count(0, dropped);
    }

    pub fn has_room(&self) -> bool {
        let mut ends = lock(&self.0.ends);
        let room = self.0.has_room(&ends);
        ends.starved = !room;
        room
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

    /// The stream is over, for this reason.
    pub fn fail(&self, status: Status) {
        self.end(TaskState::Failed(status));
    }

    /// Of two ends the first counts.
    fn end(&self, state: TaskState) {
        let mut ends = lock(&self.0.ends);
        if matches!(ends.task, TaskState::Runs) {
            ends.task = state;
        }
        if let Some(reader) = ends.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.end(TaskState::Ended);
    }
}

impl Stream for Responses {
    type Item = Result<Message, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut ends = lock(&self.0.ends);
        let took_requests = ends.queue.takes_requests();
        if let Some(message) = ends.queue.pop() {
            self.0.charge.set(ends.queue.bytes());
            let room = ends.starved && self.0.has_room(&ends);
            ends.starved &= !room;
            let requests = !took_requests && ends.queue.takes_requests();
            drop(ends);
            self.0.count(0, message.events.len());
            self.0.counters.events_total.fetch_add(message.events.len() as u64, Ordering::Relaxed);
            if room || requests {
                self.0.drained.notify_one();
            }
            return Poll::Ready(Some(Ok(message)));
        }
        if matches!(ends.task, TaskState::Runs) {
            ends.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut ends.task, TaskState::Ended) {
            TaskState::Failed(status) => Poll::Ready(Some(Err(status))),
            TaskState::Runs | TaskState::Ended => Poll::Ready(None),
        }
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        let mut ends = lock(&self.0.ends);
        ends.abandoned = true;
        let dropped = ends.queue.clear();
        self.0.charge.set(0);
        self.0.count(0, dropped);
        drop(ends);
        self.0.drained.notify_one();
    }
}
