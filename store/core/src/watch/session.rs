//! A client's stream as the member serves it: requests in, messages out, in the order in which they must be sent. What waits,
//! locks or has tasks is the shell's, behind [`Port`].

mod chunk;

use quorate_api::etcdserverpb::{self as pb, watch_request::RequestUnion};

use super::message::Message;
use super::range::KeyRange;
use super::ring::Ring;
use super::stream::{NO_WATCH_ID, Now, Progress, Rejection, Removed, Stream};
use crate::backend::View;
use crate::mvcc;

/// The member around a session.
pub trait Port {
    type View: View;
    type Error: From<mvcc::Error>;

    /// Looks into the ring of recent events.
    fn ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T;

    /// The newest revision whose events are in the ring (or were, or nobody watched).
    fn published(&self) -> i64;

    fn compacted(&self) -> i64;

    /// Streams were woken for all events up to here.
    fn dispatched(&self) -> i64;

    /// From now on the stream is woken for this range; returns how far events were dispatched before.
    fn watch(&self, range: &KeyRange) -> i64;

    fn unwatch(&self, range: &KeyRange);

    /// The rows as they are now, and their revisions.
    ///
    /// # Errors
    /// The database's.
    fn view(&self) -> Result<(Self::View, mvcc::State), Self::Error>;

    /// A header of this member that shows exactly this revision.
    fn header(&self, revision: i64) -> pb::ResponseHeader;

    /// From this size on a message is split for watchers that asked for fragments.
    fn fragment_bytes(&self) -> usize;
}

/// What a session does after a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Next {
    /// There is more to deliver at once.
    pub more: bool,
    /// Lagging watchers need the log: call `catch_up`, which blocks on the disk.
    pub read_log: bool,
}

/// What a request led to.
#[derive(Debug, Default)]
pub struct Handled {
    /// The watcher whose events that still wait are dropped, before `messages` are sent.
    pub purge: Option<i64>,
    pub messages: Vec<Message>,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    watchers: Stream,
    /// Live and lagging watchers take turns.
    lagging_next: bool,
}

impl Session {
    /// A session without watchers that is not yet woken for anything.
    pub fn new(dispatched: i64) -> Session {
        Session { watchers: Stream::new(dispatched), lagging_next: false }
    }

    pub fn watchers(&self) -> &Stream {
        &self.watchers
    }

    /// Makes at most one chunk of messages. `dispatched` was read before `wanted` was taken: what is dispatched in between must
    /// not be taken for seen.
    ///
    /// # Errors
    /// The port's.
    pub fn deliver<P: Port>(
        &mut self,
        port: &P,
        dispatched: i64,
        wanted: Option<(i64, i64)>,
    ) -> Result<(Vec<Message>, Next), P::Error> {
        self.watchers.advance(wanted, dispatched);
        let lagging = self.watchers.lagging().is_some();
        self.lagging_next = lagging && (!self.lagging_next || !self.watchers.is_pending());
        let mut read_log = false;
        let mut messages = Vec::new();
        if self.lagging_next {
            match chunk::lagging(port, &mut self.watchers)? {
                Some(made) => messages = made,
                None => read_log = true,
            }
        }
        if !self.lagging_next || read_log {
            // Live watchers do not wait for those that need the log.
            messages = chunk::live(port, &mut self.watchers)?;
        }
        self.tell_progress(port, &mut messages);
        let more = self.watchers.is_pending() || (self.watchers.lagging_len() > 0 && !read_log);
        Ok((messages, Next { more, read_log }))
    }

    /// Reads the next chunk of the log for the lagging watchers. Blocks on the disk.
    ///
    /// # Errors
    /// The port's.
    pub fn catch_up<P: Port>(&mut self, port: &P) -> Result<Vec<Message>, P::Error> {
        let chunk::CaughtUp { messages, removed, compacted } = chunk::catch_up(port, &mut self.watchers)?;
        let mut all: Vec<Message> =
            removed.into_iter().map(|removed| end_compacted(port, removed, compacted)).collect();
        all.extend(messages);
        self.tell_progress(port, &mut all);
        Ok(all)
    }

    /// The progress timer ticked; what it leads to comes with the next chunk.
    pub fn tick<P: Port>(&mut self, port: &P) {
        self.watchers.tick(port.published());
    }

    pub fn handle<P: Port>(&mut self, port: &P, request: pb::WatchRequest) -> Handled {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(port, request),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(port, request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => {
                self.watchers.request_progress(port.published());
                Handled::default()
            }
            None => Handled::default(),
        }
    }

    /// Ends every watcher, as when the stream ends.
    pub fn close<P: Port>(&mut self, port: &P) {
        for removed in self.watchers.close() {
            unwatch(port, &removed);
        }
    }

    fn create<P: Port>(&mut self, port: &P, request: pb::WatchCreateRequest) -> Handled {
        let start = request.start_revision;
        let admitted = match self.watchers.admit(request) {
            Ok(admitted) => admitted,
            Err(rejection) => return self.reject(port, rejection),
        };
        // First woken for the range, then told where the store stands: nothing falls between.
        let dispatched = if admitted.unwatched { port.watch(&admitted.range) } else { port.dispatched() };
        let published = port.published();
        let compacted = port.compacted();
        let created = self.watchers.create(admitted, Now { published, dispatched });
        let head = pb::WatchResponse { watch_id: created.watch_id, created: true, ..Default::default() };
        let mut messages = vec![self.answer(port, head, created.revision)];
        if start != 0 && start < compacted {
            let removed = self.watchers.cancel_compacted(compacted);
            messages.extend(removed.into_iter().map(|removed| end_compacted(port, removed, compacted)));
        }
        Handled { purge: None, messages }
    }

    fn reject<P: Port>(&mut self, port: &P, rejection: Rejection) -> Handled {
        let head = pb::WatchResponse {
            watch_id: NO_WATCH_ID,
            created: true,
            canceled: true,
            cancel_reason: rejection.to_string(),
            ..Default::default()
        };
        Handled { purge: None, messages: vec![self.answer(port, head, port.published())] }
    }

    /// A client cancels: whatever waits for the watcher is dropped, and nothing follows.
    fn cancel<P: Port>(&mut self, port: &P, watch_id: i64) -> Handled {
        let Some(removed) = self.watchers.cancel(watch_id) else { return Handled::default() };
        unwatch(port, &removed);
        let head = pb::WatchResponse { watch_id, canceled: true, ..Default::default() };
        Handled { purge: Some(watch_id), messages: vec![self.answer(port, head, port.published())] }
    }

    fn tell_progress<P: Port>(&mut self, port: &P, messages: &mut Vec<Message>) {
        for Progress { watch_id, revision } in self.watchers.take_progress() {
            messages.push(self.answer(port, pb::WatchResponse { watch_id, ..Default::default() }, revision));
        }
    }

    fn answer<P: Port>(&mut self, port: &P, head: pb::WatchResponse, revision: i64) -> Message {
        let header = Some(port.header(self.watchers.stamp(revision)));
        Message { head: pb::WatchResponse { header, ..head }, events: Vec::new() }
    }
}

fn unwatch<P: Port>(port: &P, removed: &Removed) {
    if removed.unwatched {
        port.unwatch(&removed.range);
    }
}

/// A watcher needs what is compacted: it ends, with the revision from which on a new one may start. As in etcd the header shows
/// no revision.
fn end_compacted<P: Port>(port: &P, removed: Removed, compact_revision: i64) -> Message {
    unwatch(port, &removed);
    let head = pb::WatchResponse {
        header: Some(port.header(0)),
        watch_id: removed.watch_id,
        canceled: true,
        compact_revision,
        ..Default::default()
    };
    Message { head, events: Vec::new() }
}
