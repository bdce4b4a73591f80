//! One client stream: reads its requests, and makes messages for as long as the client takes them. The decisions are those of
//! `quorate_core::watch::Session`.

use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_api::Error;
use quorate_api::etcdserverpb as pb;
use quorate_core::watch::{Next, Port, Session};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::dispatch::Wake;
use super::outbox::{Outbox, Responses, outbox};
use super::source::{Failed, Member};
use super::{Hub, Source, WatchHub};

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
        let (outbox, responses) = outbox(Arc::clone(&self.0.counters), &self.0.budget);
        let (place, wake) = self.0.open();
        let member = Member { hub: Arc::clone(&self.0), source, place };
        let session = Session::new(member.dispatched());
        let task = Task {
            member,
            wake,
            outbox,
            session,
            counted: (0, 0),
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

struct Task<S: Source> {
    member: Member<S>,
    wake: Arc<Wake>,
    outbox: Outbox,
    session: Session,
    /// Watchers and slow watchers as they stand in the hub's counters.
    counted: (usize, usize),
    progress: Pin<Box<Sleep>>,
}

/// Why a stream ends.
enum End {
    ClientGone,
    With(Status),
}

impl From<Failed> for End {
    fn from(Failed(error): Failed) -> End {
        End::With(error.into())
    }
}

impl<S: Source> Drop for Task<S> {
    fn drop(&mut self) {
        self.session.close(&self.member);
        self.member.hub.close(self.member.place);
        self.count();
    }
}

impl<S: Source> Task<S> {
    /// Tells the hub's counters what changed since the last call.
    fn count(&mut self) {
        let watchers = self.session.watchers();
        let now = (watchers.len(), watchers.lagging_len());
        let change = |before: usize, now: usize| {
            i64::try_from(now).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
        };
        let counters = &self.member.hub.counters;
        counters.watchers.fetch_add(change(self.counted.0, now.0), Ordering::Relaxed);
        counters.slow_watchers.fetch_add(change(self.counted.1, now.1), Ordering::Relaxed);
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
            self.outbox.fail(status);
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
        let catch_ups = Arc::clone(&self.member.hub.catch_ups);
        let stopped = self.member.hub.stopped.clone();
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
                () = stopped.cancelled() => Err(Failed(Error::NoLeader).into()),
                status = &mut lost => Err(End::With(status)),
                request = requests.next(), if !half_closed && self.outbox.takes_requests() => match request {
                    Some(Ok(request)) => {
                        self.handle(request);
                        Ok(())
                    }
                    Some(Err(status)) => Err(End::With(status)),
                    None => {
                        half_closed = true;
                        Ok(())
                    }
                },
                permit = Arc::clone(&catch_ups).acquire_owned(), if next.read_log => match permit {
                    Ok(permit) => self.catch_up(permit).await,
                    Err(_) => Err(Failed(Error::Stopped).into()),
                },
                () = self.wake.notify.notified(), if room && !next.more => Ok(()),
                () = self.outbox.drained() => Ok(()),
                () = self.progress.as_mut() => {
                    self.session.tick(&self.member);
                    self.progress.as_mut().reset(next_tick(&self.member.hub));
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
    fn deliver(&mut self) -> Result<Next, Failed> {
        // In this order: see the session.
        let dispatched = self.member.dispatched();
        let (messages, next) = self.session.deliver(&self.member, dispatched, self.wake.take())?;
        messages.into_iter().for_each(|message| self.outbox.push(message));
        Ok(next)
    }

    /// Reads a chunk of the log on a thread for blocking work.
    async fn catch_up(&mut self, permit: OwnedSemaphorePermit) -> Result<(), End> {
        let member = self.member.clone();
        let mut session = std::mem::replace(&mut self.session, Session::new(0));
        let reading = tokio::task::spawn_blocking(move || {
            let read = session.catch_up(&member);
            drop(permit);
            (session, read)
        });
        let (session, read) = match reading.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(Failed(Error::Stopped).into()),
            },
        };
        self.session = session;
        read?.into_iter().for_each(|message| self.outbox.push(message));
        Ok(())
    }

    fn handle(&mut self, request: pb::WatchRequest) {
        let handled = self.session.handle(&self.member, request);
        if let Some(watch_id) = handled.purge {
            self.outbox.purge(watch_id);
        }
        handled.messages.into_iter().for_each(|message| self.outbox.push(message));
    }
}
