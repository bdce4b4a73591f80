//! What goes over the wire to a watching client: etcd's WatchResponse, with its events as the bytes that all streams share.

use bytes::{BufMut, Bytes};
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use quorate_api::etcdserverpb as pb;

/// What a message is charged to its stream beyond the bytes of its events.
pub const CONTROL_BYTES: usize = 256;

/// Wire tags, as (field number << 3) | length-delimited.
const TAG_EVENTS: u8 = 11 << 3 | 2;
const TAG_PREVIOUS: u8 = 3 << 3 | 2;

/// An event on its way to one watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    pub body: Bytes,
    /// The key's row before the event's revision, in wire format.
    pub previous: Option<Bytes>,
}

/// One WatchResponse. Everything but the events stands in `head`, whose own `events` stay empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    pub head: pb::WatchResponse,
    pub events: Vec<Picked>,
}

impl Picked {
    fn event_bytes(&self) -> usize {
        self.body.len() + self.previous.as_ref().map_or(0, |previous| delimited_bytes(previous.len()))
    }

    /// Bytes in a message, with tag and length.
    fn wire_bytes(&self) -> usize {
        delimited_bytes(self.event_bytes())
    }
}

impl Message {
    /// Length on the wire.
    pub fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.events.iter().map(Picked::wire_bytes).sum::<usize>()
    }

    /// Bytes that waiting to be sent holds.
    pub fn charge(&self) -> usize {
        CONTROL_BYTES + self.events.iter().map(|event| event.event_bytes() + size_of::<Picked>()).sum::<usize>()
    }

    /// Appends the message in wire format. Events are the last field by number, so the order is that of any encoder.
    pub fn encode(&self, to: &mut impl BufMut) {
        assert!(self.head.events.is_empty(), "events travel as shared bytes");
        self.head.encode_raw(to);
        for event in &self.events {
            to.put_u8(TAG_EVENTS);
            encode_varint(event.event_bytes() as u64, to);
            to.put_slice(&event.body);
            if let Some(previous) = &event.previous {
                to.put_u8(TAG_PREVIOUS);
                encode_varint(previous.len() as u64, to);
                to.put_slice(previous);
            }
        }
    }
}

fn delimited_bytes(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// Splits a message that is longer than `limit` bytes, each part with one event at least and all but the last marked as a
/// fragment. One event is never split, however large.
pub fn fragments(message: Message, limit: usize) -> Vec<Message> {
    if message.events.len() < 2 || message.encoded_len() < limit {
        return vec![message];
    }
    let Message { head, events } = message;
    let head = pb::WatchResponse { fragment: true, ..head };
    let empty_bytes = head.encoded_len();
    let mut parts: Vec<Message> = Vec::new();
    let mut bytes = usize::MAX;
    for event in events {
        bytes = bytes.saturating_add(event.wire_bytes());
        if bytes >= limit {
            bytes = empty_bytes + event.wire_bytes();
            parts.push(Message { head: head.clone(), events: Vec::new() });
        }
        let part = parts.last_mut().expect("the first event begins a part");
        part.events.push(event);
    }
    let last = parts.last_mut().expect("there are events");
    last.head.fragment = false;
    parts
}

#[cfg(test)]
mod tests {
    use quorate_api::mvccpb;

    use super::*;

    fn kv(revision: i64, value_bytes: usize) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: "key".into(),
            mod_revision: revision,
            value: vec![1; value_bytes].into(),
            ..Default::default()
        }
    }

    fn response(value_bytes: &[usize]) -> pb::WatchResponse {
        let events = value_bytes.iter().map(|bytes| mvccpb::Event {
            r#type: 0,
            kv: Some(kv(8, *bytes)),
            prev_kv: (bytes % 2 == 1).then(|| kv(7, bytes / 2)),
        });
        pb::WatchResponse {
            header: Some(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 8, raft_term: 3 }),
            watch_id: 4,
            events: events.collect(),
            ..Default::default()
        }
    }

    fn message(response: &pb::WatchResponse) -> Message {
        let events = response.events.iter().map(|event| Picked {
            body: mvccpb::Event { prev_kv: None, ..event.clone() }.encode_to_vec().into(),
            previous: event.prev_kv.as_ref().map(|kv| kv.encode_to_vec().into()),
        });
        Message { head: pb::WatchResponse { events: vec![], ..response.clone() }, events: events.collect() }
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(bytes.len(), message.encoded_len());
        bytes
    }

    #[test]
    fn shared_bytes_make_the_same_message_as_the_generated_encoder() {
        for values in [&[][..], &[0], &[1], &[120, 121, 20_000, 20_001, 0]] {
            let response = response(values);
            assert_eq!(encoded(&message(&response)), response.encode_to_vec(), "{values:?}");
        }
    }

    #[test]
    fn a_long_message_is_split_below_the_limit_and_a_single_event_never() {
        let cases: [(&[usize], usize, &[usize]); 5] = [
            (&[10, 10, 10], 10_000, &[3]),
            (&[100, 100, 100], 200, &[1, 1, 1]),
            (&[100, 100, 100], 300, &[2, 1]),
            (&[5_000, 10, 10], 300, &[1, 2]),
            (&[5_000], 300, &[1]),
        ];
        for (values, limit, expected) in cases {
            let whole = response(values);
            let parts = fragments(message(&whole), limit);
            let counts: Vec<usize> = parts.iter().map(|part| part.events.len()).collect();
            assert_eq!(counts, expected, "{values:?} {limit}");
            let (last, others) = parts.split_last().unwrap();
            assert!(!last.head.fragment && others.iter().all(|part| part.head.fragment));
            assert!(parts.iter().all(|part| part.events.len() == 1 || part.encoded_len() < limit));
            let events: Vec<Picked> = parts.iter().flat_map(|part| part.events.clone()).collect();
            assert_eq!(events, message(&whole).events);
        }
    }
}
