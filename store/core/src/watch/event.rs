//! An event in wire format, made once when it is published (or read from the log) and shared by everyone it is sent to.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::encoded_len_varint;
use quorate_api::mvccpb;

/// How much larger than its event a kept previous value may be. The ring charges each event as if it had one of that size,
/// so that values looked up later cannot grow it.
pub(super) const PREVIOUS_SLACK_BYTES: usize = 512;

/// All events of one revision, in order.
#[derive(Debug)]
pub struct Block {
    pub revision: i64,
    pub events: Box<[Encoded]>,
}

/// One event: its wire bytes without the previous value, and what matching needs to know.
#[derive(Debug)]
pub struct Encoded {
    delete: bool,
    /// The put that began the key's life: there is no previous value to look for.
    create: bool,
    body: Bytes,
    key: Range<usize>,
    /// The key's row before this revision in wire format, once somebody asked for it; `Some(None)` = there was none.
    previous: OnceLock<Option<Bytes>>,
}

impl Encoded {
    /// `kv` is the row after the event: for a delete only its key and mod revision.
    pub fn new(delete: bool, kv: mvccpb::KeyValue) -> Encoded {
        assert!(!kv.key.is_empty(), "an event has a key: empty keys are refused before they are proposed");
        let create = !delete && kv.create_revision == kv.mod_revision;
        let (key_bytes, kv_bytes) = (kv.key.len(), kv.encoded_len());
        let kind = if delete { mvccpb::event::EventType::Delete } else { mvccpb::event::EventType::Put };
        let event = mvccpb::Event { r#type: kind.into(), kv: Some(kv), prev_kv: None };
        // Fields are written in the order of their numbers: the type unless it is 0, then the row, whose first field is the key.
        let start = usize::from(delete) * 2 + 1 + varint_bytes(kv_bytes) + 1 + varint_bytes(key_bytes);
        let body = Bytes::from(event.encode_to_vec());
        Encoded { delete, create, body, key: start..start + key_bytes, previous: OnceLock::new() }
    }

    pub fn is_delete(&self) -> bool {
        self.delete
    }

    /// Whether the key had no row before this event, so that no previous value needs to be looked for.
    pub fn is_create(&self) -> bool {
        self.create
    }

    pub fn key(&self) -> &[u8] {
        &self.body[self.key.clone()]
    }

    /// The event's wire bytes without a previous value.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The previous value if somebody looked it up before and it was small enough to keep.
    pub fn previous(&self) -> Option<&Option<Bytes>> {
        self.previous.get()
    }

    /// Keeps a previous value for the next stream that wants it, if it is not much larger than the event itself (that is
    /// what the ring charges for it).
    pub fn keep_previous(&self, previous: &Option<Bytes>) {
        if previous.as_ref().is_none_or(|bytes| bytes.len() <= self.body.len() + PREVIOUS_SLACK_BYTES) {
            // Two streams may look it up at once; both find the same row, so the loser changes nothing.
            let _ = self.previous.set(previous.clone());
        }
    }

    /// Bytes that the event may come to hold: body, kept previous value, and the struct.
    pub(super) fn charge(&self) -> usize {
        2 * self.body.len() + PREVIOUS_SLACK_BYTES + size_of::<Encoded>()
    }
}

fn varint_bytes(length: usize) -> usize {
    encoded_len_varint(length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: Vec<u8>, value: Vec<u8>, create_revision: i64, mod_revision: i64) -> mvccpb::KeyValue {
        mvccpb::KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version: 1, lease: 0 }
    }

    #[test]
    fn the_key_is_found_in_the_wire_bytes_whatever_the_lengths() {
        for (key_bytes, value_bytes) in [(1, 0), (127, 1), (128, 16_000), (16_383, 20_000), (16_384, 3_000_000)] {
            for delete in [false, true] {
                let row = kv(vec![7; key_bytes], vec![9; value_bytes], 3, 5);
                let event = Encoded::new(delete, row.clone());
                assert_eq!(event.key(), &row.key[..], "{key_bytes} {value_bytes} {delete}");
                let decoded = mvccpb::Event::decode(event.body().clone()).unwrap();
                assert_eq!(decoded.kv, Some(row));
                assert_eq!(decoded.r#type, i32::from(delete));
            }
        }
    }

    #[test]
    fn only_the_put_that_creates_a_key_has_surely_nothing_before_it() {
        assert!(Encoded::new(false, kv(b"k".to_vec(), vec![], 5, 5)).is_create());
        assert!(!Encoded::new(false, kv(b"k".to_vec(), vec![], 4, 5)).is_create());
        assert!(!Encoded::new(true, kv(b"k".to_vec(), vec![], 0, 5)).is_create());
    }

    #[test]
    fn a_previous_value_is_kept_unless_it_outgrows_what_the_ring_charges() {
        let event = Encoded::new(false, kv(b"k".to_vec(), vec![0; 100], 4, 5));
        event.keep_previous(&Some(Bytes::from(vec![0; 10_000])));
        assert_eq!(event.previous(), None);
        let small = Some(Bytes::from(vec![0; 100]));
        event.keep_previous(&small);
        assert_eq!(event.previous(), Some(&small));
    }
}
