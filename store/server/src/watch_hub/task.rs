//! One client stream: reads its requests, and makes messages for as long as the client takes them.

use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, watch_request::RequestUnion};
use quorate_core::watch::{Message, NO_WATCH_ID, Now, Progress, Rejection, Removed, Stream as Watchers};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::dispatch::Wake;
use super::outbox::{Outbox, Responses, outbox};
use super::{Hub, Source, WatchHub, chunk};

/// The jitter of the progress interval: at most this part of it is added.
const JITTER_DIVISOR: u32 = 10;

impl WatchHub {
    /// Serves one stream: `requests` as the client sends them, and the answer to pass on. `lost` completes when the stream
    /// must end for a reason of its own, such as a lost leader. Call it inside a tokio runtime.
    pub fn serve<S, R, L>(&self, source: S, requests: R, lost: L) -> Responses
    where
        S: Source,
        R: Stream<Item = Result<pb::WatchRequest, Status>> + Send + Unpin + 'static,
        L: Future<Output = Status> + Send + 'static,
    {
        let (outbox, responses) = outbox(Arc::clone(&self.0.counters));
        let (place, wake) = self.0.open();
        let watchers = Watchers::new(self.0.dispatched.load(Ordering::Acquire));
        let task = Task {
            hub: Arc::clone(&self.0),
            source,
            place,
            wake,
            outbox,
            watchers,
            counted: (0, 0),
            lagging_next: false,
            progress: Box::pin(tokio::time::sleep_until(next_tick(&self.0))),
        };
        tokio::spawn(task.run(requests, lost));
        responses
    }
}

fn next_tick(hub: &Hub) -> Instant {
    let interval = hub.settings.progress_interval;
    let jitter = interval.mul_f64(rand::random::<f64>() / f64::from(JITTER_DIVISOR));
    Instant::now() + interval + jitter
}

struct Task<S> {
    hub: Arc<Hub>,
    source: S,
    place: usize,
    wake: Arc<Wake>,
    outbox: Outbox,
    watchers: Watchers,
    /// Watchers and slow watchers as they stand in the hub's counters.
    counted: (usize, usize),
    /// Live and lagging watchers take turns.
    lagging_next: bool,
    progress: Pin<Box<Sleep>>,
}

/// What a task does after a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Next {
    /// There is more to deliver at once.
    more: bool,
    /// Lagging watchers need the log; a permit first.
    read_log: bool,
}

/// Why a stream ends.
enum End {
    ClientGone,
    With(Status),
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::With(error.into())
    }
}

impl<S> Drop for Task<S> {
    fn drop(&mut self) {
        for Removed { range, unwatched, .. } in self.watchers.close() {
            if unwatched {
                self.hub.unwatch(self.place, &range);
            }
        }
        self.hub.close(self.place);
        self.count();
    }
}

impl<S> Task<S> {
    /// Tells the hub's counters what changed since the last call.
    fn count(&mut self) {
        let now = (self.watchers.len(), self.watchers.lagging_len());
        let change = |before: usize, now: usize| {
            i64::try_from(now).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
        };
        self.hub.counters.watchers.fetch_add(change(self.counted.0, now.0), Ordering::Relaxed);
        self.hub.counters.slow_watchers.fetch_add(change(self.counted.1, now.1), Ordering::Relaxed);
        self.counted = now;
    }
}

impl<S: Source> Task<S> {
    async fn run<R, L>(mut self, requests: R, lost: L)
    where
        R: Stream<Item = Result<pb::WatchRequest, Status>> + Unpin,
        L: Future<Output = Status>,
    {
        if let End::With(status) = self.serve(requests, lost).await {
            self.outbox.end(Some(status));
        }
    }

    async fn serve<R, L>(&mut self, mut requests: R, lost: L) -> End
    where
        R: Stream<Item = Result<pb::WatchRequest, Status>> + Unpin,
        L: Future<Output = Status>,
    {
        let mut lost = std::pin::pin!(lost);
        // A client that has said all it wants may go on listening.
        let mut half_closed = false;
        let catch_ups = Arc::clone(&self.hub.catch_ups);
        let stopped = self.hub.stopped.clone();
        loop {
            if self.outbox.is_abandoned() {
                return End::ClientGone;
            }
            let room = self.outbox.has_room();
            let next = if room {
                match self.deliver() {
                    Ok(next) => next,
                    Err(error) => return error.into(),
                }
            } else {
                Next::default()
            };
            self.count();
            let done = tokio::select! {
                () = stopped.cancelled() => Err(Error::NoLeader.into()),
                status = &mut lost => Err(End::With(status)),
                request = requests.next(), if !half_closed && self.outbox.takes_requests() => match request {
                    Some(Ok(request)) => self.handle(request),
                    Some(Err(status)) => Err(End::With(status)),
                    None => {
                        half_closed = true;
                        Ok(())
                    }
                },
                permit = Arc::clone(&catch_ups).acquire_owned(), if next.read_log => match permit {
                    Ok(permit) => self.catch_up(permit).await,
                    Err(_) => Err(Error::Stopped.into()),
                },
                () = self.wake.notify.notified(), if room && !next.more => Ok(()),
                () = self.outbox.drained() => Ok(()),
                () = self.progress.as_mut() => {
                    self.tick();
                    Ok(())
                }
                () = future::ready(()), if next.more => {
                    tokio::task::consume_budget().await;
                    Ok(())
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Makes at most one chunk of messages.
    fn deliver(&mut self) -> Result<Next, Error> {
        // In this order: what is dispatched in between must not be taken for seen.
        let dispatched = self.hub.dispatched.load(Ordering::Acquire);
        self.watchers.advance(self.wake.take(), dispatched);
        let lagging = self.watchers.lagging().is_some();
        self.lagging_next = lagging && (!self.lagging_next || !self.watchers.is_pending());
        let mut read_log = false;
        let mut messages = Vec::new();
        if self.lagging_next {
            match chunk::lagging(&self.hub, &self.source, &mut self.watchers)? {
                Some(made) => messages = made,
                None => read_log = true,
            }
        }
        if !self.lagging_next || read_log {
            // Live watchers do not wait for those that need the log.
            messages = chunk::live(&self.hub, &self.source, &mut self.watchers)?;
        }
        messages.into_iter().for_each(|message| self.outbox.push(message));
        self.tell_progress();
        let more = self.watchers.is_pending() || (self.watchers.lagging_len() > 0 && !read_log);
        Ok(Next { more, read_log })
    }

    fn tell_progress(&mut self) {
        for Progress { watch_id, revision } in self.watchers.take_progress() {
            self.answer(pb::WatchResponse { watch_id, ..Default::default() }, revision);
        }
    }

    /// Reads a chunk of the log on a thread for blocking work.
    async fn catch_up(&mut self, permit: OwnedSemaphorePermit) -> Result<(), End> {
        let (hub, source) = (Arc::clone(&self.hub), self.source.clone());
        let mut watchers = std::mem::replace(&mut self.watchers, Watchers::new(0));
        let reading = tokio::task::spawn_blocking(move || {
            let read = chunk::catch_up(&hub, &source, &mut watchers);
            drop(permit);
            (watchers, read)
        });
        let (watchers, read) = match reading.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(Error::Stopped.into()),
            },
        };
        self.watchers = watchers;
        let caught_up = read?;
        for removed in caught_up.removed {
            self.compacted(removed, caught_up.compacted);
        }
        caught_up.messages.into_iter().for_each(|message| self.outbox.push(message));
        self.tell_progress();
        Ok(())
    }

    fn tick(&mut self) {
        self.watchers.tick(self.hub.published.load(Ordering::Acquire));
        self.progress.as_mut().reset(next_tick(&self.hub));
    }

    fn handle(&mut self, request: pb::WatchRequest) -> Result<(), End> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => {
                self.watchers.request_progress(self.hub.published.load(Ordering::Acquire));
            }
            None => {}
        }
        Ok(())
    }

    fn create(&mut self, request: pb::WatchCreateRequest) {
        let start = request.start_revision;
        let admitted = match self.watchers.admit(request) {
            Ok(admitted) => admitted,
            Err(rejection) => return self.reject(rejection),
        };
        // First woken for the range, then told where the store stands: nothing falls between.
        let dispatched = if admitted.unwatched {
            self.hub.watch(self.place, &admitted.range)
        } else {
            self.hub.dispatched.load(Ordering::Acquire)
        };
        let published = self.hub.published.load(Ordering::Acquire);
        let compacted = self.hub.compacted.load(Ordering::Acquire);
        let created = self.watchers.create(admitted, Now { published, dispatched });
        let head = pb::WatchResponse { watch_id: created.watch_id, created: true, ..Default::default() };
        self.answer(head, created.revision);
        if start != 0 && start < compacted {
            for removed in self.watchers.cancel_compacted(compacted) {
                self.compacted(removed, compacted);
            }
        }
    }

    fn reject(&mut self, rejection: Rejection) {
        let head = pb::WatchResponse {
            watch_id: NO_WATCH_ID,
            created: true,
            canceled: true,
            cancel_reason: rejection.to_string(),
            ..Default::default()
        };
        self.answer(head, self.hub.published.load(Ordering::Acquire));
    }

    /// A client cancels: whatever waits for the watcher is dropped, and nothing follows.
    fn cancel(&mut self, watch_id: i64) {
        let Some(removed) = self.watchers.cancel(watch_id) else { return };
        self.outbox.purge(watch_id);
        self.unwatch(&removed);
        let head = pb::WatchResponse { watch_id, canceled: true, ..Default::default() };
        self.answer(head, self.hub.published.load(Ordering::Acquire));
    }

    /// A watcher needs what is compacted: it ends, with the revision from which on a new one may start.
    fn compacted(&mut self, removed: Removed, compact_revision: i64) {
        self.unwatch(&removed);
        let head = pb::WatchResponse {
            header: Some(self.source.header(0)),
            watch_id: removed.watch_id,
            canceled: true,
            compact_revision,
            ..Default::default()
        };
        self.outbox.push(Message { head, events: Vec::new() });
    }

    fn unwatch(&self, removed: &Removed) {
        if removed.unwatched {
            self.hub.unwatch(self.place, &removed.range);
        }
    }

    fn answer(&mut self, head: pb::WatchResponse, revision: i64) {
        let header = Some(self.source.header(self.watchers.stamp(revision)));
        self.outbox.push(Message { head: pb::WatchResponse { header, ..head }, events: Vec::new() });
    }
}
