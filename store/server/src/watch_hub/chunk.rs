//! Turns events into messages: out of the ring, or read from the log for watchers that are behind it, with the previous
//! values that watchers asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use prost::Message as _;
use quorate_api::Error;
use quorate_api::etcdserverpb as pb;
use quorate_core::mvcc::{self, EventLimits, Revision};
use quorate_core::watch::{
    Block, Delivery, Encoded, MESSAGE_REVISIONS_MAX, Message, Picked, Removed, Stream, fragments,
};

use super::{Hub, Source, encode};

/// Revisions taken out of the ring at once. A stream's task handles requests of its client between two chunks.
const RING_REVISIONS_MAX: usize = 256;

/// Event bytes after which a chunk ends: what one message may grow to when a client is behind.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Revisions of the log looked through at once, wanted or not: some ten milliseconds.
const LOG_REVISIONS_MAX: i64 = 10_000;

/// What a read of the log brought.
#[derive(Default)]
pub(super) struct CaughtUp {
    pub messages: Vec<Message>,
    /// Watchers that need what was compacted, and the compacted revision.
    pub removed: Vec<Removed>,
    pub compacted: i64,
}

/// Delivers the next chunk of the ring to the live watchers.
pub(super) fn live<S: Source>(hub: &Hub, source: &S, stream: &mut Stream) -> Result<Vec<Message>, Error> {
    let Some((from, to)) = stream.live() else { return Ok(Vec::new()) };
    let blocks = hub.recent().ring.range(from, to, RING_REVISIONS_MAX, CHUNK_BYTES_MAX);
    match blocks {
        Some(blocks) => {
            assert!(!blocks.is_empty(), "revision {from} was dispatched, so it was published");
            let deliveries = stream.deliver_live(&blocks).deliveries;
            messages(hub, source, stream, &blocks, deliveries)
        }
        None => {
            stream.fall_behind();
            Ok(Vec::new())
        }
    }
}

/// Delivers the next chunk of the ring to the lagging watchers; `None` when the ring does not reach back to them.
pub(super) fn lagging<S: Source>(hub: &Hub, source: &S, stream: &mut Stream) -> Result<Option<Vec<Message>>, Error> {
    let Some(from) = stream.lagging() else { return Ok(Some(Vec::new())) };
    let (blocks, head) = {
        let recent = hub.recent();
        let head = recent.ring.head();
        (recent.ring.range(from, head, RING_REVISIONS_MAX, CHUNK_BYTES_MAX), head)
    };
    let Some(blocks) = blocks else { return Ok(None) };
    let through = blocks.last().map_or(head, |block| block.revision);
    let deliveries = stream.deliver_lagging(&blocks, through, head).deliveries;
    messages(hub, source, stream, &blocks, deliveries).map(Some)
}

/// Reads the next chunk of the log for the lagging watchers. Blocks on the disk.
pub(super) fn catch_up<S: Source>(hub: &Hub, source: &S, stream: &mut Stream) -> Result<CaughtUp, Error> {
    let (view, state) = source.view()?;
    // What is in the rows and not yet published waits: a header shows no revision that the cursor cannot reach.
    let published = hub.published.load(Ordering::Acquire).min(state.revision);
    let compacted = state.compact_revision;
    let mut caught_up = CaughtUp { removed: stream.cancel_compacted(compacted), compacted, ..CaughtUp::default() };
    let Some(from) = stream.lagging().filter(|from| *from <= published) else { return Ok(caught_up) };
    let to = published.min(from + LOG_REVISIONS_MAX - 1);
    let limits = EventLimits { events_max: MESSAGE_REVISIONS_MAX, bytes_max: CHUNK_BYTES_MAX };
    let mut wanted = |key: &[u8]| stream.lagging_wants(key);
    let read = mvcc::events_where(&view, Revision::new(from, 0), to, limits, &mut wanted).map_err(failed)?;
    let block = |(revision, events): (i64, Vec<Encoded>)| Arc::new(Block { revision, events: events.into() });
    let blocks: Vec<Arc<Block>> = encode(read.events).into_iter().map(block).collect();
    let deliveries = stream.deliver_lagging(&blocks, read.next_main - 1, published).deliveries;
    caught_up.messages = messages(hub, source, stream, &blocks, deliveries)?;
    Ok(caught_up)
}

fn failed(error: mvcc::Error) -> Error {
    error.for_client().unwrap_or_else(|| Error::Unmapped(error.to_string()))
}

fn messages<S: Source>(
    hub: &Hub,
    source: &S,
    stream: &mut Stream,
    blocks: &[Arc<Block>],
    deliveries: Vec<Delivery>,
) -> Result<Vec<Message>, Error> {
    let mut previous = Previous { source, view: None, compacted: hub.compacted.load(Ordering::Acquire) };
    let mut made = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let Delivery { watch_id, prev_kv, fragment, revision, events } = delivery;
        let mut picked = Vec::with_capacity(events.len());
        for (block, event) in events {
            let block = &blocks[block as usize];
            let event = &block.events[event as usize];
            let previous = if prev_kv { previous.of(block.revision, event)? } else { None };
            picked.push(Picked { body: event.body().clone(), previous });
        }
        let header = Some(source.header(stream.stamp(revision)));
        let message = Message { head: pb::WatchResponse { header, watch_id, ..Default::default() }, events: picked };
        if fragment {
            made.extend(fragments(message, hub.settings.fragment_bytes));
        } else {
            made.push(message);
        }
    }
    Ok(made)
}

/// Looks up what keys held before a revision, with one view for all events of a chunk, made when it is first needed.
struct Previous<'a, S: Source> {
    source: &'a S,
    view: Option<(S::View, mvcc::State)>,
    compacted: i64,
}

impl<S: Source> Previous<'_, S> {
    /// The key's row at the revision before that of the event: never an earlier change of the same revision, and nothing
    /// when that revision is compacted by now, whether its rows are still there or not.
    fn of(&mut self, revision: i64, event: &Encoded) -> Result<Option<Bytes>, Error> {
        let before = revision - 1;
        if event.is_create() || before < self.compacted {
            return Ok(None);
        }
        if let Some(kept) = event.previous() {
            return Ok(kept.clone());
        }
        let (view, state) = match &mut self.view {
            Some(view) => view,
            none => none.insert(self.source.view()?),
        };
        if before < state.compact_revision {
            return Ok(None);
        }
        let row = mvcc::value_at(view, event.key(), before).map_err(failed)?;
        let row = row.map(|kv| Bytes::from(kv.encode_to_vec()));
        event.keep_previous(&row);
        Ok(row)
    }
}
