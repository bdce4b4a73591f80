//! What comes from another member: frames (with raft messages in them) and the handshake's hello.

use bytes::{BufMut, Bytes, BytesMut};
use quorate::peer::handshake::{self, Channel, Hello};
use quorate::peer::{Call, Frame, Reply};
use quorate_core::command::CommandId;
use quorate_core::log::ConfState;
use quorate_core::membership::{Change, Proposed, Word};
use quorate_core::node::{Payload, Proposal};
use quorate_core::replica::Message;

/// A frame that is read writes bytes that read as the same frame.
pub fn frame(data: &[u8]) {
    let Ok(frame) = Frame::decode(Bytes::copy_from_slice(data)) else { return };
    let mut again = BytesMut::new();
    frame.encode(&mut again);
    let reread = Frame::decode(again.freeze()).expect("what a frame encodes to is a frame");
    assert_eq!(reread, frame);
    if let Frame::Raft(message) = &frame {
        let _ = (message.snapshot(), message.to(), message.from(), message.term());
    }
}

/// Any bytes in place of a hello end in a hello or an error, after a bounded number of them.
pub fn hello(data: &[u8]) {
    let mut stream = std::io::Cursor::new(data.to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let Ok(hello) = runtime.block_on(handshake::receive(&mut stream)) else { return };
    let mut again = std::io::Cursor::new(Vec::new());
    // The other side never answers: only what is written counts.
    let _ = runtime.block_on(handshake::call(&mut again, &hello));
    let mut written = std::io::Cursor::new(again.into_inner());
    let reread = runtime.block_on(handshake::receive(&mut written)).expect("what a hello writes is a hello");
    assert_eq!(reread, hello);
}

pub fn frame_seeds() -> Vec<Vec<u8>> {
    let id = CommandId { member: 1, boot: 2, counter: 3 };
    let change = Proposed { id, change: Change::Remove(7), expected_index: None, learners_max: 1 };
    let proposals = vec![
        Proposal { id, payload: Payload::Command(Bytes::from_static(b"command")) },
        Proposal { id, payload: Payload::Change(change) },
    ];
    let keys = vec![Bytes::from_static(b"a"), Bytes::new()];
    let mut frames = vec![
        Frame::Forward { sequence: 5, term: 6, proposals: proposals.clone() },
        Frame::Refused { proposals },
        Frame::Call { number: 1, call: Call::KeepAlive { id: -3 } },
        Frame::Call { number: 2, call: Call::TimeToLive { id: 4, keys: true } },
        Frame::Call { number: 3, call: Call::IsCaughtUp { member: 9 } },
        Frame::Reply { number: 1, reply: Reply::KeepAlive { ttl_seconds: 5 } },
        Frame::Reply { number: 2, reply: Reply::TimeToLive { ttl_seconds: 1, granted_seconds: 2, keys } },
        Frame::Reply { number: 3, reply: Reply::CaughtUp(true) },
        Frame::Reply { number: 4, reply: Reply::Failed(quorate_api::Error::NotLeader) },
        Frame::Ping { sent: 8 },
        Frame::Reachable(Word { index: 9, urls: vec!["https://a:2380".into()] }),
    ];
    frames.extend((1..=13).map(|kind| Frame::Raft(raft_message(kind))));
    let encoded = |frame: Frame| {
        let mut data = BytesMut::new();
        frame.encode(&mut data);
        data.to_vec()
    };
    frames.into_iter().map(encoded).collect()
}

/// A message of this kind on the wire, with two entries; the fields' places are part of the peer protocol.
fn raft_message(kind: u8) -> Message {
    let mut data = BytesMut::new();
    data.put_u8(kind);
    (1..=9).for_each(|field| data.put_u64(field));
    data.put_u8(1);
    data.put_i64(-1);
    data.put_u32(7);
    data.put_slice(b"context");
    data.put_u32(2);
    for kind in [0, 1] {
        data.put_u8(kind);
        data.put_u64(3);
        data.put_u64(4);
        data.put_u32(4);
        data.put_slice(b"data");
    }
    if kind == 5 {
        put_snapshot(&mut data, &ConfState { voters: vec![1, 2], learners: vec![3], ..Default::default() });
    }
    Message::decode(data.freeze()).expect("this is how a message is laid out")
}

fn put_snapshot(data: &mut BytesMut, state: &ConfState) {
    data.put_u64(100);
    data.put_u64(3);
    for ids in [&state.voters, &state.learners, &state.outgoing, &state.learners_next] {
        data.put_u32(u32::try_from(ids.len()).expect("a handful"));
        ids.iter().for_each(|id| data.put_u64(*id));
    }
    data.put_u8(0);
}

pub fn hello_seeds() -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let written = |channel| {
        let hello = Hello {
            channel,
            protocol_min: handshake::PROTOCOL_MIN,
            protocol_max: handshake::PROTOCOL_MAX,
            feature_level: handshake::FEATURE_LEVEL,
            cluster_id: 7,
            from: 2,
            to: 1,
            boot: 5,
            disk_id: "d2".into(),
        };
        let mut stream = std::io::Cursor::new(Vec::new());
        let _ = runtime.block_on(handshake::call(&mut stream, &hello));
        stream.into_inner()
    };
    [Channel::Frames, Channel::Snapshot, Channel::Discover].map(written).to_vec()
}
