//! What travels on a peer connection: frames of our own, version 1. A frame is length u32 (by the length-delimited codec), kind u8 and
//! a payload; integers are big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_api::Error as ApiError;
use quorate_core::command::CommandId;
use quorate_core::integrity::{Point, Report};
use quorate_core::log::Term;
use quorate_core::membership::{Proposed, Word};
use quorate_core::node::{Payload, Proposal};
use quorate_core::replica::Message;

/// Largest frame that is read: a message of a mebibyte, or of one entry as large as any request may be.
pub const FRAME_BYTES_MAX: usize = 256 << 20;
/// Lists in a frame are at most this long.
const ITEMS_MAX: u32 = 1 << 20;

/// A question to the leader (or to any member) that is answered on the connection of the other direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    KeepAlive {
        id: i64,
    },
    TimeToLive {
        id: i64,
        keys: bool,
    },
    IsCaughtUp {
        member: u64,
    },
    /// Since protocol 2.
    Integrity,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 0 = no such lease.
    KeepAlive {
        ttl_seconds: i64,
    },
    /// -1 = no such lease.
    TimeToLive {
        ttl_seconds: i64,
        granted_seconds: i64,
        keys: Vec<Bytes>,
    },
    CaughtUp(bool),
    /// Since protocol 2.
    Integrity(Report),
    Failed(ApiError),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    Raft(Message),
    Forward {
        sequence: u64,
        term: Term,
        proposals: Vec<Proposal>,
    },
    Refused {
        proposals: Vec<Proposal>,
    },
    Call {
        number: u64,
        call: Call,
    },
    Reply {
        number: u64,
        reply: Reply,
    },
    /// Nanoseconds of the sender's own clock; the receiver gives the eight bytes back on the same connection.
    Ping {
        sent: u64,
    },
    /// Where the sender is reached. Since protocol 3.
    Reachable(Word),
}

impl Frame {
    /// What it holds in memory besides itself, about.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Frame::Raft(message) => message.entry_bytes(),
            Frame::Forward { proposals, .. } | Frame::Refused { proposals } => {
                proposals.iter().map(Proposal::bytes).sum()
            }
            Frame::Call { .. } | Frame::Reply { .. } | Frame::Ping { .. } | Frame::Reachable(_) => 0,
        }
    }
}

/// The bytes are no frame of this version; the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("frame of kind {0} is unknown")]
    Kind(u8),
    #[error("frame ends early")]
    Truncated,
    #[error("frame holds {count} items, at most {ITEMS_MAX} are accepted")]
    TooMany { count: u32 },
    #[error(transparent)]
    Message(#[from] quorate_core::replica::DecodeError),
    #[error("{0}")]
    Malformed(String),
}

const RAFT: u8 = 1;
const FORWARD: u8 = 2;
const REFUSED: u8 = 3;
const CALL: u8 = 4;
const REPLY: u8 = 5;
const PING: u8 = 6;
const REACHABLE: u8 = 7;

const COMMAND: u8 = 1;
const CHANGE: u8 = 2;

impl Frame {
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Frame::Raft(message) => {
                out.put_u8(RAFT);
                message.encode(out);
            }
            Frame::Forward { sequence, term, proposals } => {
                out.put_u8(FORWARD);
                out.put_u64(*sequence);
                out.put_u64(*term);
                put_proposals(out, proposals);
            }
            Frame::Refused { proposals } => {
                out.put_u8(REFUSED);
                put_proposals(out, proposals);
            }
            Frame::Call { number, call } => {
                out.put_u8(CALL);
                out.put_u64(*number);
                put_call(out, call);
            }
            Frame::Reply { number, reply } => {
                out.put_u8(REPLY);
                out.put_u64(*number);
                put_reply(out, reply);
            }
            Frame::Ping { sent } => {
                out.put_u8(PING);
                out.put_u64(*sent);
            }
            Frame::Reachable(Word { index, urls }) => {
                out.put_u8(REACHABLE);
                out.put_u64(*index);
                out.put_u32(length(urls.len()));
                urls.iter().for_each(|url| put_bytes(out, url.as_bytes()));
            }
        }
    }

    /// # Errors
    /// The bytes are no frame of this version.
    pub fn decode(mut data: Bytes) -> Result<Frame, DecodeError> {
        let data = &mut data;
        Ok(match take(data, 1)?.get_u8() {
            RAFT => Frame::Raft(Message::decode(std::mem::take(data))?),
            FORWARD => Frame::Forward { sequence: u64(data)?, term: u64(data)?, proposals: take_proposals(data)? },
            REFUSED => Frame::Refused { proposals: take_proposals(data)? },
            CALL => Frame::Call { number: u64(data)?, call: take_call(data)? },
            REPLY => Frame::Reply { number: u64(data)?, reply: take_reply(data)? },
            PING => Frame::Ping { sent: u64(data)? },
            REACHABLE => Frame::Reachable(Word {
                index: u64(data)?,
                urls: (0..count(data)?).map(|_| text(data)).collect::<Result<_, _>>()?,
            }),
            kind => return Err(DecodeError::Kind(kind)),
        })
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("what is sent is bounded far below 4 GiB")
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(length(bytes.len()));
    out.put_slice(bytes);
}

fn put_proposals(out: &mut BytesMut, proposals: &[Proposal]) {
    out.put_u32(length(proposals.len()));
    for Proposal { id, payload } in proposals {
        out.put_u64(id.member);
        out.put_u64(id.boot);
        out.put_u64(id.counter);
        match payload {
            Payload::Command(data) => {
                out.put_u8(COMMAND);
                put_bytes(out, data);
            }
            Payload::Change(proposed) => {
                out.put_u8(CHANGE);
                put_bytes(out, &proposed.encode());
            }
        }
    }
}

fn put_call(out: &mut BytesMut, call: &Call) {
    match call {
        Call::KeepAlive { id } => {
            out.put_u8(1);
            out.put_i64(*id);
        }
        Call::TimeToLive { id, keys } => {
            out.put_u8(2);
            out.put_i64(*id);
            out.put_u8(u8::from(*keys));
        }
        Call::IsCaughtUp { member } => {
            out.put_u8(3);
            out.put_u64(*member);
        }
        Call::Integrity => out.put_u8(4),
    }
}

fn put_reply(out: &mut BytesMut, reply: &Reply) {
    match reply {
        Reply::KeepAlive { ttl_seconds } => {
            out.put_u8(1);
            out.put_i64(*ttl_seconds);
        }
        Reply::TimeToLive { ttl_seconds, granted_seconds, keys } => {
            out.put_u8(2);
            out.put_i64(*ttl_seconds);
            out.put_i64(*granted_seconds);
            out.put_u32(length(keys.len()));
            for key in keys {
                put_bytes(out, key);
            }
        }
        Reply::CaughtUp(caught_up) => {
            out.put_u8(3);
            out.put_u8(u8::from(*caught_up));
        }
        Reply::Integrity(Report { since, points }) => {
            out.put_u8(5);
            out.put_i64(*since);
            out.put_u32(length(points.len()));
            for point in points {
                out.put_i64(point.revision);
                out.put_u64(point.hash);
            }
        }
        Reply::Failed(error) => {
            out.put_u8(4);
            put_bytes(out, error.message().as_bytes());
        }
    }
}

fn take(data: &mut Bytes, length: usize) -> Result<Bytes, DecodeError> {
    if data.len() < length { Err(DecodeError::Truncated) } else { Ok(data.split_to(length)) }
}

fn u64(data: &mut Bytes) -> Result<u64, DecodeError> {
    Ok(take(data, 8)?.get_u64())
}

fn i64(data: &mut Bytes) -> Result<i64, DecodeError> {
    Ok(take(data, 8)?.get_i64())
}

fn u8(data: &mut Bytes) -> Result<u8, DecodeError> {
    Ok(take(data, 1)?.get_u8())
}

fn bytes(data: &mut Bytes) -> Result<Bytes, DecodeError> {
    let length = take(data, 4)?.get_u32() as usize;
    take(data, length)
}

fn text(data: &mut Bytes) -> Result<String, DecodeError> {
    String::from_utf8(bytes(data)?.to_vec()).map_err(|error| DecodeError::Malformed(error.to_string()))
}

fn count(data: &mut Bytes) -> Result<u32, DecodeError> {
    let count = take(data, 4)?.get_u32();
    if count > ITEMS_MAX { Err(DecodeError::TooMany { count }) } else { Ok(count) }
}

fn take_proposals(data: &mut Bytes) -> Result<Vec<Proposal>, DecodeError> {
    let count = count(data)?;
    let mut proposals = Vec::with_capacity(count.min(1024) as usize);
    for _ in 0..count {
        let id = CommandId { member: u64(data)?, boot: u64(data)?, counter: u64(data)? };
        let kind = u8(data)?;
        let payload = bytes(data)?;
        let payload = match kind {
            COMMAND => Payload::Command(payload),
            CHANGE => {
                Payload::Change(Proposed::decode(payload).map_err(|error| DecodeError::Malformed(error.to_string()))?)
            }
            kind => return Err(DecodeError::Kind(kind)),
        };
        proposals.push(Proposal { id, payload });
    }
    Ok(proposals)
}

fn take_call(data: &mut Bytes) -> Result<Call, DecodeError> {
    Ok(match u8(data)? {
        1 => Call::KeepAlive { id: i64(data)? },
        2 => Call::TimeToLive { id: i64(data)?, keys: u8(data)? != 0 },
        3 => Call::IsCaughtUp { member: u64(data)? },
        4 => Call::Integrity,
        kind => return Err(DecodeError::Kind(kind)),
    })
}

fn take_reply(data: &mut Bytes) -> Result<Reply, DecodeError> {
    Ok(match u8(data)? {
        1 => Reply::KeepAlive { ttl_seconds: i64(data)? },
        2 => {
            let (ttl_seconds, granted_seconds) = (i64(data)?, i64(data)?);
            let keys = (0..count(data)?).map(|_| bytes(data)).collect::<Result<_, _>>()?;
            Reply::TimeToLive { ttl_seconds, granted_seconds, keys }
        }
        3 => Reply::CaughtUp(u8(data)? != 0),
        4 => {
            let text = String::from_utf8_lossy(&bytes(data)?).into_owned();
            Reply::Failed(ApiError::from_message(&text))
        }
        5 => {
            let since = i64(data)?;
            let point = |data: &mut Bytes| Ok(Point { revision: i64(data)?, hash: u64(data)? });
            let points = (0..count(data)?).map(|_| point(data)).collect::<Result<_, DecodeError>>()?;
            Reply::Integrity(Report { since, points })
        }
        kind => return Err(DecodeError::Kind(kind)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::membership::Change;

    fn frames() -> Vec<Frame> {
        let id = CommandId { member: 1, boot: 2, counter: 3 };
        let change = Proposed { id, change: Change::Remove(7), expected_index: Some(4), learners_max: 1 };
        let proposals = vec![
            Proposal { id, payload: Payload::Command(Bytes::from_static(b"command")) },
            Proposal { id, payload: Payload::Change(change) },
        ];
        let keys = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        vec![
            Frame::Forward { sequence: 5, term: 6, proposals: proposals.clone() },
            Frame::Refused { proposals },
            Frame::Call { number: 1, call: Call::KeepAlive { id: -3 } },
            Frame::Call { number: 2, call: Call::TimeToLive { id: 4, keys: true } },
            Frame::Call { number: 3, call: Call::IsCaughtUp { member: 9 } },
            Frame::Reply { number: 1, reply: Reply::KeepAlive { ttl_seconds: 5 } },
            Frame::Reply { number: 2, reply: Reply::TimeToLive { ttl_seconds: 1, granted_seconds: 2, keys } },
            Frame::Reply { number: 3, reply: Reply::CaughtUp(true) },
            Frame::Reply { number: 4, reply: Reply::Failed(ApiError::NotLeader) },
            Frame::Call { number: 5, call: Call::Integrity },
            Frame::Reply {
                number: 5,
                reply: Reply::Integrity(Report { since: 2, points: vec![Point { revision: 1000, hash: u64::MAX }] }),
            },
            Frame::Ping { sent: 8 },
            Frame::Reachable(Word { index: 9, urls: vec!["https://a:2380".into(), "https://b:2380".into()] }),
        ]
    }

    #[test]
    fn a_frame_reads_back_as_it_was_sent_and_no_part_of_it_does() {
        for frame in frames() {
            let mut data = BytesMut::new();
            frame.encode(&mut data);
            let data = data.freeze();
            assert_eq!(Frame::decode(data.clone()).unwrap(), frame);
            for cut in 0..data.len() {
                assert!(Frame::decode(data.slice(..cut)).is_err(), "{cut} bytes of {frame:?} were taken for a frame");
            }
        }
    }
}
