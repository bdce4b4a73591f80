//! The recent events of a member and who looks on: what publishing changes, and what is gone when nobody watches.

use super::event::Encoded;
use super::ring::{Limits, Ring};
use crate::mvcc;

/// Events by revision, ready for the ring.
pub type Published = Vec<(i64, Vec<Encoded>)>;

/// The ring, kept only while there are streams.
#[derive(Debug)]
pub struct Feed {
    ring: Ring,
    streams: usize,
}

impl Feed {
    /// A feed over a store that stands at `revision`.
    pub fn new(revision: i64, limits: Limits) -> Feed {
        Feed { ring: Ring::new(revision, limits), streams: 0 }
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Open streams. Without any the ring stays empty and publishing costs nothing.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Opens a stream. The first one's answer is the revision up to which nobody had to be woken before.
    pub fn open(&mut self) -> Option<i64> {
        self.streams += 1;
        (self.streams == 1).then(|| self.ring.head())
    }

    /// A stream ended.
    pub fn close(&mut self) {
        assert!(self.streams > 0, "only an open stream is closed");
        self.streams -= 1;
        if self.streams == 0 {
            let head = self.ring.head();
            self.ring.clear(head);
        }
    }

    /// The store is at `revision` now, through these events; `None` when nobody watched as they would have been encoded. A
    /// stream that opened since finds them gone from the ring and reads them from the log.
    pub fn publish(&mut self, revision: i64, events: Option<Published>) {
        match events {
            Some(blocks) => blocks.into_iter().for_each(|(revision, events)| self.ring.push(revision, events)),
            None => self.ring.clear(revision),
        }
        assert_eq!(self.ring.head(), revision, "the last event is of the newest revision");
    }

    /// The store was replaced by a snapshot at `revision`: what lies between is only in its log.
    pub fn reset(&mut self, revision: i64) {
        self.ring.clear(revision);
    }
}

/// Encodes events, ascending by revision, and groups them by it.
pub fn encode(events: Vec<mvcc::Event>) -> Published {
    let mut blocks: Published = Vec::new();
    for event in events {
        let encoded = Encoded::new(event.kind == mvcc::EventKind::Delete, event.kv);
        match blocks.last_mut().filter(|(revision, _)| *revision == event.revision.main) {
            Some((_, block)) => block.push(encoded),
            None => blocks.push((event.revision.main, vec![encoded])),
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use quorate_api::mvccpb::KeyValue;

    use super::*;

    fn events(revision: i64) -> Published {
        let kv = KeyValue { key: "k".into(), mod_revision: revision, ..Default::default() };
        vec![(revision, vec![Encoded::new(false, kv)])]
    }

    #[test]
    fn the_ring_is_kept_only_while_somebody_watches() {
        let mut feed = Feed::new(3, Limits::DEFAULT);
        feed.publish(5, None);
        assert_eq!((feed.open(), feed.open()), (Some(5), None));
        feed.publish(6, Some(events(6)));
        assert_eq!((feed.ring().tail(), feed.ring().head()), (5, 6));
        feed.close();
        assert_eq!(feed.ring().tail(), 5, "one stream is left");
        feed.close();
        assert_eq!((feed.ring().tail(), feed.ring().head()), (6, 6));
    }

    #[test]
    fn events_that_were_not_encoded_are_gone_from_the_ring() {
        let mut feed = Feed::new(3, Limits::DEFAULT);
        feed.open();
        feed.publish(4, None);
        assert!(feed.ring().range(4, 4, 1, 1).is_none());
    }
}
