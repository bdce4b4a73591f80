//! Turns events into messages: out of the ring, or read from the log for watchers that are behind it, with the previous
//! values that watchers asked for.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quorate_api::etcdserverpb as pb;

use super::Port;
use crate::mvcc::{self, EventKind, EventLimits, Revision};
use crate::watch::event::{Block, Encoded};
use crate::watch::feed::encode;
use crate::watch::message::{Message, Picked, fragments};
use crate::watch::stream::{Delivery, MESSAGE_REVISIONS_MAX, Removed, Stream};

/// Revisions taken out of the ring at once for live watchers. A stream's requests are handled between two chunks.
const RING_REVISIONS_MAX: usize = 256;

/// Bytes of wanted events after which a chunk ends: what one message may grow to when a client is behind.
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
pub(super) fn live<P: Port>(port: &P, stream: &mut Stream) -> Result<Vec<Message>, P::Error> {
    let Some((from, to)) = stream.live() else { return Ok(Vec::new()) };
    let blocks = port.ring(|ring| ring.range(from, to, RING_REVISIONS_MAX, CHUNK_BYTES_MAX));
    match blocks {
        Some(blocks) => {
            assert!(!blocks.is_empty(), "revision {from} was dispatched, so it was published");
            let deliveries = stream.deliver_live(&blocks).deliveries;
            messages(port, stream, &blocks, deliveries)
        }
        None => {
            stream.fall_behind();
            Ok(Vec::new())
        }
    }
}

/// Delivers the next chunk of the ring to the lagging watchers; `None` when the ring does not reach back to them.
pub(super) fn lagging<P: Port>(port: &P, stream: &mut Stream) -> Result<Option<Vec<Message>>, P::Error> {
    let Some(from) = stream.lagging() else { return Ok(Some(Vec::new())) };
    let (blocks, head) = port.ring(|ring| {
        let head = ring.head();
        (ring.range(from, head, MESSAGE_REVISIONS_MAX, usize::MAX), head)
    });
    let Some(mut blocks) = blocks else { return Ok(None) };
    blocks.truncate(one_chunk(stream, &blocks));
    let through = blocks.last().map_or(head, |block| block.revision);
    let deliveries = stream.deliver_lagging(&blocks, through, head).deliveries;
    messages(port, stream, &blocks, deliveries).map(Some)
}

/// How many of the blocks make one chunk for the lagging watchers. What nobody wants counts for nothing, so that what others write
/// does not tear a watcher's messages apart.
fn one_chunk(stream: &Stream, blocks: &[Arc<Block>]) -> usize {
    let mut bytes = 0;
    let fits = blocks.iter().take_while(|block| {
        let fits = bytes < CHUNK_BYTES_MAX;
        let wanted = block.events.iter().filter(|e| stream.lagging_wants(block.revision, e.key(), e.is_delete()));
        bytes += wanted.map(|event| event.body().len()).sum::<usize>();
        fits
    });
    fits.count()
}

/// Reads the next chunk of the log for the lagging watchers.
pub(super) fn catch_up<P: Port>(port: &P, stream: &mut Stream) -> Result<CaughtUp, P::Error> {
    let (view, state) = port.view()?;
    // What is in the rows and not yet published waits: a header shows no revision that the cursor cannot reach.
    let published = port.published().min(state.revision);
    let compacted = state.compact_revision;
    let mut caught_up = CaughtUp { removed: stream.cancel_compacted(compacted), compacted, ..CaughtUp::default() };
    let Some(from) = stream.lagging().filter(|from| *from <= published) else { return Ok(caught_up) };
    let to = published.min(from + LOG_REVISIONS_MAX - 1);
    let limits = EventLimits { events_max: MESSAGE_REVISIONS_MAX, bytes_max: CHUNK_BYTES_MAX };
    let mut wanted =
        |revision: i64, key: &[u8], kind: EventKind| stream.lagging_wants(revision, key, kind == EventKind::Delete);
    let read = mvcc::events_where(&view, Revision::new(from, 0), to, limits, &mut wanted)?;
    let block = |(revision, events): (i64, Vec<Encoded>)| Arc::new(Block { revision, events: events.into() });
    let blocks: Vec<Arc<Block>> = encode(read.events).into_iter().map(block).collect();
    let deliveries = stream.deliver_lagging(&blocks, read.next_main - 1, published).deliveries;
    caught_up.messages = messages(port, stream, &blocks, deliveries)?;
    Ok(caught_up)
}

fn messages<P: Port>(
    port: &P,
    stream: &mut Stream,
    blocks: &[Arc<Block>],
    deliveries: Vec<Delivery>,
) -> Result<Vec<Message>, P::Error> {
    let mut previous = Previous { port, view: None, compacted: port.compacted() };
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
        let header = Some(port.header(stream.stamp(revision)));
        let message = Message { head: pb::WatchResponse { header, watch_id, ..Default::default() }, events: picked };
        if fragment {
            made.extend(fragments(message, port.fragment_bytes()));
        } else {
            made.push(message);
        }
    }
    Ok(made)
}

/// Looks up what keys held before a revision, with one view for all events of a chunk, made when it is first needed.
struct Previous<'a, P: Port> {
    port: &'a P,
    view: Option<(P::View, mvcc::State)>,
    compacted: i64,
}

impl<P: Port> Previous<'_, P> {
    /// The key's row at the revision before that of the event: never an earlier change of the same revision, and nothing
    /// when that revision is compacted by now, whether its rows are still there or not.
    fn of(&mut self, revision: i64, event: &Encoded) -> Result<Option<Bytes>, P::Error> {
        let before = revision - 1;
        if event.is_create() || before < self.compacted {
            return Ok(None);
        }
        if let Some(kept) = event.previous() {
            return Ok(kept.clone());
        }
        let (view, state) = match &mut self.view {
            Some(view) => view,
            none => none.insert(self.port.view()?),
        };
        if before < state.compact_revision {
            return Ok(None);
        }
        let row = mvcc::value_at(view, event.key(), before)?;
        let row = row.map(|kv| Bytes::from(kv.encode_to_vec()));
        event.keep_previous(&row);
        Ok(row)
    }
}
