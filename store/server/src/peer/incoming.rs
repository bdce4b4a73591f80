//! Accepts peers' connections, checks who they are, and hands their frames on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use prost::Message;
use quorate_api::admin;
use quorate_core::log::MemberId;
use quorate_core::node::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use super::frame::FRAME_BYTES_MAX;
use super::handshake::{self, Channel, Hello};
use super::{Call, Frame, Local, Peers, Reply, Stream, lifeline};
use crate::inbox::{Inbox, Offered, Source};

/// TLS and the handshake must be through by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// While the inbox has no room, a connection offers its frame again this often; TCP holds the peer back meanwhile, and what finds no
/// room there is dropped (`peer/queue`), which raft permits.
const BEHIND_PAUSE: Duration = Duration::from_millis(1);

/// A call of another member, to be answered.
pub struct IncomingCall {
    pub from: MemberId,
    pub call: Call,
    pub reply: oneshot::Sender<Reply>,
}

/// A snapshot that another member wants to send.
pub struct IncomingSnapshot {
    pub from: MemberId,
    pub stream: Stream,
}

/// Accepts peers on one listener until it is dropped. `tls` says whether the listener's URL is https.
pub async fn serve(
    listener: TcpListener,
    tls: bool,
    peers: Peers,
    calls: mpsc::Sender<IncomingCall>,
    snapshots: mpsc::Sender<IncomingSnapshot>,
) {
    loop {
        let (tcp, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: connections that end make room.
                tracing::warn!(%error, "cannot accept a peer's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (peers, calls, snapshots) = (peers.clone(), calls.clone(), snapshots.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(tcp, tls, &peers, calls, snapshots).await {
                tracing::warn!(%remote, %error, "a peer's connection ended");
            }
        });
    }
}

async fn connection(
    tcp: TcpStream,
    tls: bool,
    peers: &Peers,
    calls: mpsc::Sender<IncomingCall>,
    snapshots: mpsc::Sender<IncomingSnapshot>,
) -> Result<(), handshake::Error> {
    tcp.set_nodelay(true)?;
    lifeline::guard(&tcp)?;
    let greeted = tokio::time::timeout(HANDSHAKE_TIMEOUT, greet(tcp, tls, peers.local())).await;
    let (stream, hello) = greeted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match hello.channel {
        Channel::Discover => tell_configuration(stream, peers.local()).await,
        Channel::Frames => {
            let from = hello.from;
            let ended = read_frames(stream, hello, peers, calls).await;
            if ended.is_err() {
                peers.local().metrics.peers.not_received(from);
            }
            ended
        }
        Channel::Snapshot => {
            let _ = snapshots.send(IncomingSnapshot { from: hello.from, stream }).await;
            Ok(())
        }
    }
}

/// Tells a member that was added which cluster and which members it joins.
async fn tell_configuration(mut stream: Stream, local: &Local) -> Result<(), handshake::Error> {
    let membership = local.membership.load();
    let configuration = admin::Configuration {
        cluster_id: local.cluster_id,
        index: membership.index(),
        members: membership.members().map(|member| member.to_message()).collect(),
        ..Default::default()
    };
    let data = configuration.encode_to_vec();
    stream.write_u32(u32::try_from(data.len()).map_err(|_| handshake::Error::Malformed("too many members"))?).await?;
    stream.write_all(&data).await?;
    stream.flush().await?;
    Ok(())
}

async fn greet(tcp: TcpStream, tls: bool, local: &Arc<Local>) -> Result<(Stream, Hello), handshake::Error> {
    let mut stream: Stream = match (&local.tls, tls) {
        (Some(plane), true) => Box::new(TlsAcceptor::from(plane.server.clone()).accept(tcp).await?),
        _ => Box::new(tcp),
    };
    let hello = handshake::receive(&mut stream).await?;
    let level = u32::try_from(local.feature_level.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
    let refusal = hello.check(local.cluster_id, local.member_id, level, &local.membership.load()).err();
    handshake::answer(&mut stream, refusal.as_ref()).await?;
    match refusal {
        None => Ok((stream, hello)),
        Some(refusal) => Err(handshake::Error::Refused(refusal.to_string())),
    }
}

async fn read_frames(
    stream: Stream,
    hello: Hello,
    peers: &Peers,
    calls: mpsc::Sender<IncomingCall>,
) -> Result<(), handshake::Error> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    peers.links().update(hello.from, |link| {
        (link.feature_level, link.protocol) = (hello.feature_level, hello.protocol_max);
    });
    let inbox = peers.local().inbox.clone();
    let mut visit = None;
    let mut buffer = BytesMut::with_capacity(64 << 10);
    loop {
        let Some(body) = next_frame(&mut reader, &mut buffer).await? else { return Ok(()) };
        let bytes = body.len();
        peers.links().update(hello.from, |link| link.received_bytes += bytes as u64 + 4);
        let frame = Frame::decode(body.freeze()).map_err(|error| handshake::Error::Refused(error.to_string()))?;
        let event = match frame {
            Frame::Raft(message) if message.from() != hello.from => {
                return Err(handshake::Error::Malformed("it sends messages in another member's name"));
            }
            Frame::Raft(message) => Event::Message(message),
            Frame::Forward { sequence, term, proposals } => {
                Event::Forwarded { from: hello.from, boot: hello.boot, sequence, term, proposals }
            }
            Frame::Refused { proposals } => Event::Refused { proposals },
            Frame::Call { number, call } => {
                answer_call(peers.clone(), hello.from, number, call, &calls);
                continue;
            }
            Frame::Reply { number, reply } => {
                peers.replied(number, reply);
                continue;
            }
            Frame::Reachable(word) => {
                // The one before ends only now that this one is noted.
                visit = peers.visit(hello.from, word).or(visit.take());
                continue;
            }
            Frame::Ping { sent } => {
                if peers.local().membership.load().is_removed(hello.from) {
                    // It may not have heard of it; when it calls again, the handshake says so.
                    return Err(handshake::Error::Refused(handshake::Refusal::Removed(hello.from).to_string()));
                }
                writer.write_u64(sent).await?;
                writer.flush().await?;
                continue;
            }
        };
        if !deliver(&inbox, event, bytes).await {
            return Ok(());
        }
    }
}

/// Waits until the inbox takes the event; false when the driver has stopped.
async fn deliver(inbox: &Inbox, mut event: Event, bytes: usize) -> bool {
    loop {
        match inbox.offer(Source::Peers, event, bytes) {
            Offered::Taken => return true,
            Offered::Closed => return false,
            Offered::Full(back) => event = back,
        }
        tokio::time::sleep(BEHIND_PAUSE).await;
    }
}

/// Hands the call on, and its reply back over the connection in the other direction.
fn answer_call(peers: Peers, from: MemberId, number: u64, call: Call, calls: &mpsc::Sender<IncomingCall>) {
    let (reply, answered) = oneshot::channel();
    if calls.try_send(IncomingCall { from, call, reply }).is_err() {
        let busy = Reply::Failed(quorate_api::Error::RequestTooManyRequests);
        peers.queue(from, Frame::Reply { number, reply: busy });
        return;
    }
    tokio::spawn(async move {
        if let Ok(reply) = answered.await {
            peers.queue(from, Frame::Reply { number, reply });
        }
    });
}

/// The next frame's body; `None` when the peer hung up between two frames.
async fn next_frame(
    reader: &mut (impl AsyncReadExt + Unpin),
    buffer: &mut BytesMut,
) -> Result<Option<BytesMut>, io::Error> {
    loop {
        if buffer.len() >= 4 {
            let length = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::other(format!("a frame of {length} bytes, at most {FRAME_BYTES_MAX}")));
            }
            if buffer.len() >= 4 + length {
                let mut frame = buffer.split_to(4 + length);
                return Ok(Some(frame.split_off(4)));
            }
            buffer.reserve(4 + length - buffer.len());
        }
        if reader.read_buf(buffer).await? == 0 {
            if buffer.is_empty() {
                return Ok(None);
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
