//! A raft message between members, and our own encoding of it: peers send these bytes, and no byte from the network reaches
//! protobuf 2.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::eraftpb::{self, MessageType};

use super::convert;
use crate::log::{ConfState, Entry, EntryKind, MemberId, SnapshotMeta, Term};

/// Entries in one message that a receiver accepts; one message is at most a mebibyte of data, or one large entry.
const ENTRIES_MAX: u32 = 1 << 20;
/// Members in a snapshot's configuration that a receiver accepts.
const MEMBERS_MAX: u32 = 1 << 10;

/// A message to or from another member.
#[derive(Debug, Clone, PartialEq)]
pub struct Message(eraftpb::Message);

/// The bytes are no message; the connection that brought them is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("raft message ends {missing} bytes early")]
    Truncated { missing: usize },
    #[error("raft message of kind {kind} is unknown")]
    Kind { kind: u8 },
    #[error("raft message has {count} {what}, at most {max} are accepted")]
    TooMany { what: &'static str, count: u32, max: u32 },
    #[error("{0}")]
    Malformed(String),
}

/// Kinds on the wire; part of the peer protocol, never renumbered. Local kinds have none.
const KINDS: [(u8, MessageType); 13] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgSnapshot),
    (6, MessageType::MsgHeartbeat),
    (7, MessageType::MsgHeartbeatResponse),
    (8, MessageType::MsgTransferLeader),
    (9, MessageType::MsgTimeoutNow),
    (10, MessageType::MsgReadIndex),
    (11, MessageType::MsgReadIndexResp),
    (12, MessageType::MsgRequestPreVote),
    (13, MessageType::MsgRequestPreVoteResponse),
];

impl Message {
    pub(super) fn from_raft(message: eraftpb::Message) -> Message {
        Message(message)
    }

    pub(super) fn into_raft(self) -> eraftpb::Message {
        self.0
    }

    pub fn to(&self) -> MemberId {
        self.0.to
    }

    pub fn from(&self) -> MemberId {
        self.0.from
    }

    pub fn term(&self) -> Term {
        self.0.term
    }

    /// Whether a leader sends entries in it.
    pub fn has_entries(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgAppend && !self.0.entries.is_empty()
    }

    /// Bytes of the entries that it carries.
    pub fn entry_bytes(&self) -> usize {
        self.0.entries.iter().map(|entry| entry.data.len()).sum()
    }

    /// How many entries it carries.
    #[cfg(test)]
    pub fn entries(&self) -> usize {
        self.0.entries.len()
    }

    /// The point of a snapshot message; its files go first, on their own channel.
    pub fn snapshot(&self) -> Option<SnapshotMeta> {
        (self.0.get_msg_type() == MessageType::MsgSnapshot).then(|| convert::snapshot_meta(self.0.get_snapshot()))
    }

    pub fn encode(&self, out: &mut BytesMut) {
        let message = &self.0;
        let kind = KINDS
            .iter()
            .find(|(_, kind)| *kind == message.get_msg_type())
            .map(|(wire, _)| *wire)
            .expect("raft sends no local message");
        out.put_u8(kind);
        for field in [
            message.to,
            message.from,
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.request_snapshot,
            message.reject_hint,
        ] {
            out.put_u64(field);
        }
        out.put_u8(u8::from(message.reject));
        out.put_i64(message.priority);
        put_bytes(out, &message.context);
        out.put_u32(u32::try_from(message.entries.len()).expect("a message holds at most a mebibyte of entries"));
        for entry in message.entries.iter() {
            put_entry(out, entry);
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            put_snapshot(out, &convert::snapshot_meta(message.get_snapshot()));
        }
    }

    /// # Errors
    /// The bytes are no message of this version.
    pub fn decode(mut data: Bytes) -> Result<Message, DecodeError> {
        let data = &mut data;
        let wire = take(data, 1)?.get_u8();
        let kind = KINDS.iter().find(|(known, _)| *known == wire).ok_or(DecodeError::Kind { kind: wire })?.1;
        let mut head = take(data, 9 * 8 + 1 + 8)?;
        let mut message = eraftpb::Message::default();
        message.set_msg_type(kind);
        message.to = head.get_u64();
        message.from = head.get_u64();
        message.term = head.get_u64();
        message.log_term = head.get_u64();
        message.index = head.get_u64();
        message.commit = head.get_u64();
        message.commit_term = head.get_u64();
        message.request_snapshot = head.get_u64();
        message.reject_hint = head.get_u64();
        message.reject = head.get_u8() != 0;
        message.priority = head.get_i64();
        message.context = take_bytes(data)?;
        let count = take_count(data, "entries", ENTRIES_MAX)?;
        let mut entries = Vec::with_capacity(count.min(1024) as usize);
        for _ in 0..count {
            entries.push(take_entry(data)?);
        }
        message.set_entries(entries.into());
        if kind == MessageType::MsgSnapshot {
            message.set_snapshot(convert::raft_snapshot(&take_snapshot(data)?));
        }
        if !data.is_empty() {
            return Err(DecodeError::Malformed(format!("{} bytes after the message", data.len())));
        }
        Ok(Message(message))
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("entries and contexts are far below 4 GiB"));
    out.put_slice(bytes);
}

fn put_entry(out: &mut BytesMut, entry: &eraftpb::Entry) {
    out.put_u8(u8::from(entry.get_entry_type() != eraftpb::EntryType::EntryNormal));
    out.put_u64(entry.term);
    out.put_u64(entry.index);
    put_bytes(out, &entry.data);
}

fn put_snapshot(out: &mut BytesMut, meta: &SnapshotMeta) {
    out.put_u64(meta.index);
    out.put_u64(meta.term);
    let ConfState { voters, learners, outgoing, learners_next, auto_leave } = &meta.conf_state;
    for ids in [voters, learners, outgoing, learners_next] {
        out.put_u32(u32::try_from(ids.len()).expect("a configuration has few members"));
        for id in ids {
            out.put_u64(*id);
        }
    }
    out.put_u8(u8::from(*auto_leave));
}

fn take(data: &mut Bytes, length: usize) -> Result<Bytes, DecodeError> {
    if data.len() < length {
        return Err(DecodeError::Truncated { missing: length - data.len() });
    }
    Ok(data.split_to(length))
}

fn take_bytes(data: &mut Bytes) -> Result<Bytes, DecodeError> {
    let length = take(data, 4)?.get_u32() as usize;
    take(data, length)
}

fn take_count(data: &mut Bytes, what: &'static str, max: u32) -> Result<u32, DecodeError> {
    let count = take(data, 4)?.get_u32();
    if count > max { Err(DecodeError::TooMany { what, count, max }) } else { Ok(count) }
}

fn take_entry(data: &mut Bytes) -> Result<eraftpb::Entry, DecodeError> {
    let mut head = take(data, 17)?;
    let kind = if head.get_u8() == 0 { EntryKind::Normal } else { EntryKind::Membership };
    let (term, index) = (head.get_u64(), head.get_u64());
    Ok(convert::raft_entry(&Entry { index, term, kind, data: take_bytes(data)? }))
}

fn take_snapshot(data: &mut Bytes) -> Result<SnapshotMeta, DecodeError> {
    let mut head = take(data, 16)?;
    let (index, term) = (head.get_u64(), head.get_u64());
    let mut ids = || -> Result<Vec<u64>, DecodeError> {
        let count = take_count(data, "members", MEMBERS_MAX)?;
        let ids = (0..count).map(|_| Ok(take(data, 8)?.get_u64())).collect::<Result<Vec<u64>, DecodeError>>()?;
        if ids.is_sorted_by(|a, b| a < b) {
            Ok(ids)
        } else {
            Err(DecodeError::Malformed(format!("members {ids:x?} of a snapshot do not ascend")))
        }
    };
    let (voters, learners, outgoing, learners_next) = (ids()?, ids()?, ids()?, ids()?);
    let auto_leave = take(data, 1)?.get_u8() != 0;
    Ok(SnapshotMeta { index, term, conf_state: ConfState { voters, learners, outgoing, learners_next, auto_leave } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append() -> Message {
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        message.to = 2;
        message.from = 1;
        message.term = 7;
        message.log_term = 6;
        message.index = 41;
        message.commit = 40;
        message.context = Bytes::from_static(b"read context");
        let entry = |index, kind| Entry { index, term: 7, kind, data: Bytes::from(vec![index as u8; 300]) };
        message.set_entries(
            [entry(42, EntryKind::Normal), entry(43, EntryKind::Membership)].iter().map(convert::raft_entry).collect(),
        );
        Message(message)
    }

    fn snapshot() -> Message {
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(convert::raft_snapshot(&SnapshotMeta {
            index: 100,
            term: 3,
            conf_state: ConfState { voters: vec![1, 2], learners: vec![3], ..Default::default() },
        }));
        Message(message)
    }

    #[test]
    fn a_message_reads_back_as_it_was_sent() {
        for message in [append(), snapshot()] {
            let mut data = BytesMut::new();
            message.encode(&mut data);
            assert_eq!(Message::decode(data.freeze()), Ok(message));
        }
    }

    #[test]
    fn a_configuration_out_of_order_is_refused() {
        let mut data = BytesMut::new();
        snapshot().encode(&mut data);
        let one_then_two = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        let at = data.windows(16).position(|window| window == one_then_two).unwrap();
        data[at + 7] = 3;
        assert!(matches!(Message::decode(data.freeze()), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn every_cut_of_a_message_is_refused() {
        for message in [append(), snapshot()] {
            let mut data = BytesMut::new();
            message.encode(&mut data);
            let data = data.freeze();
            for length in 0..data.len() {
                let error = Message::decode(data.slice(..length));
                assert!(error.is_err(), "the first {length} of {} bytes were taken for a message", data.len());
            }
        }
    }
}
