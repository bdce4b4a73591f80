//! Keeps one connection to a peer and writes its frames.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};
use quorate_core::log::{Index, MemberId};
use quorate_core::membership::Word;
use quorate_core::node::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::connection::{self, Connected, connect};
use super::handshake::{self, Channel, PROTOCOL_REACHABLE};
use super::queue::Queued;
use super::{Frame, Links, Local};
use crate::inbox::Input;

/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(100);
/// How often the round trip is measured.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Frames are gathered into one write up to this many bytes.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// So long what waits for a peer that left the configuration may still be written. A leader that is removed goes when those that stay
/// tell it that they know of its removal: without this they would apply it and take that answer with them. As long as the driver
/// stays after the removal.
const LINGER: Duration = Duration::from_secs(1);
/// A peer that fails for the same reason is logged this often, not at every try.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Errors of a peer that are logged in this time; its URLs may each fail in a way of their own.
const ERRORS_MAX: usize = 4;

/// Runs until the peer leaves the configuration, and then until what waits for it is written.
pub(super) async fn run(
    local: Arc<Local>,
    links: Arc<Links>,
    id: MemberId,
    urls: Vec<String>,
    mut frames: mpsc::Receiver<Queued>,
    gone: oneshot::Receiver<()>,
) {
    tokio::select! {
        () = keep_connected(&local, &links, id, &urls, &mut frames) => {}
        () = async { let _ = gone.await; tokio::time::sleep(LINGER).await } => {}
    }
}

async fn keep_connected(
    local: &Local,
    links: &Links,
    id: MemberId,
    urls: &[String],
    frames: &mut mpsc::Receiver<Queued>,
) {
    let mut failing = Failing::default();
    for url in urls.iter().cycle() {
        match connect(local, id, url, Channel::Frames).await {
            Ok(connected) => {
                failing = Failing::default();
                tracing::info!(remote = format!("{id:x}"), url, "established connection to peer");
                links.update_known(id, |link| link.connected_since = Some(Instant::now()));
                let ended = write_frames(connected, local, links, id, frames).await;
                if frames.is_closed() {
                    // Its place may be another task's already.
                    return;
                }
                links.update_known(id, |link| link.connected_since = None);
                local.metrics.peers.disconnected(local.member_id, id);
                local.inbox.push(Input::Event(Event::Unreachable { id }));
                if let Err(error) = ended {
                    local.metrics.peers.not_sent(id, 1);
                    tracing::warn!(remote = format!("{id:x}"), %error, "lost connection to peer");
                }
            }
            Err(error) => {
                if let connection::Error::Handshake(handshake::Error::Removed(_)) = error {
                    local.removed.send_replace(true);
                }
                if failing.is_news(&error.to_string(), Instant::now()) {
                    tracing::warn!(remote = format!("{id:x}"), url, %error, "cannot connect to peer");
                }
                drop_waiting(local, id, frames);
                if frames.is_closed() {
                    return;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What was logged lately of a peer that cannot be reached, `ERRORS_MAX` errors at most.
#[derive(Debug, Default)]
struct Failing {
    logged: Vec<(String, Instant)>,
}

impl Failing {
    /// Whether to log the error, which is then noted as logged: it was not for `LOG_EVERY`. A try may take seconds or none at all, so tries
    /// are not what is counted.
    fn is_news(&mut self, error: &str, now: Instant) -> bool {
        self.logged.retain(|(_, at)| now - *at < LOG_EVERY);
        let is_news = self.logged.len() < ERRORS_MAX && self.logged.iter().all(|(text, _)| text != error);
        if is_news {
            self.logged.push((error.to_owned(), now));
        }
        is_news
    }
}

/// What waited while nobody was there is old; raft sends anew. Forwards were not sent, so they go back.
fn drop_waiting(local: &Local, id: MemberId, frames: &mut mpsc::Receiver<Queued>) {
    let mut raft = false;
    let mut dropped = 0;
    while let Ok(queued) = frames.try_recv() {
        dropped += 1;
        match queued.frame {
            Frame::Forward { proposals, .. } => {
                local.inbox.push(Input::Event(Event::Refused { proposals }));
            }
            Frame::Raft(message) => {
                raft = true;
                if message.snapshot().is_some() {
                    local.inbox.push(Input::Event(Event::SnapshotSent { id, installed: false }));
                }
            }
            _ => {}
        }
    }
    if dropped > 0 {
        local.metrics.peers.not_sent(id, dropped);
    }
    if raft {
        local.inbox.push(Input::Event(Event::Unreachable { id }));
    }
}

/// Writes frames until the connection breaks (`Err`) or the queue is closed (`Ok`).
async fn write_frames(
    Connected { stream, protocol }: Connected,
    local: &Local,
    links: &Links,
    id: MemberId,
    frames: &mut mpsc::Receiver<Queued>,
) -> Result<(), std::io::Error> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut buffer = BytesMut::with_capacity(64 << 10);
    // Index of the configuration by which the peer was told where this member is reached.
    let mut told = None;
    // Answers to pings; they may come in parts.
    let mut answers = BytesMut::with_capacity(64);
    let mut ping = tokio::time::interval(PING_INTERVAL);
    let began = Instant::now();
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let Some(queued) = frame else {
                    // Closing with its answers unread would reset the connection, and take with it what the peer has not read.
                    writer.shutdown().await?;
                    while reader.read_buf(&mut answers).await? > 0 {
                        answers.clear();
                    }
                    return Ok(());
                };
                put(&mut buffer, &queued.frame);
                while buffer.len() < WRITE_BYTES_MAX {
                    let Ok(queued) = frames.try_recv() else { break };
                    put(&mut buffer, &queued.frame);
                }
            }
            _ = ping.tick() => {
                let sent = u64::try_from(began.elapsed().as_nanos()).unwrap_or(0);
                put(&mut buffer, &Frame::Ping { sent });
                if protocol >= PROTOCOL_REACHABLE {
                    told = put_reachable(&mut buffer, local, told);
                }
            }
            // The peer answers pings on this connection; reading also notices that it hung up.
            read = reader.read_buf(&mut answers) => {
                if read? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                while answers.len() >= 8 {
                    let now = began.elapsed().saturating_sub(Duration::from_nanos(answers.get_u64()));
                    local.metrics.peers.round_trip(id, now);
                    links.update_known(id, |link| {
                        link.round_trip = if link.round_trip.is_zero() { now } else { (link.round_trip * 7 + now) / 8 };
                    });
                }
                continue;
            }
        }
        let bytes = buffer.len() as u64;
        writer.write_all_buf(&mut buffer).await?;
        writer.flush().await?;
        links.update_known(id, |link| link.sent_bytes += bytes);
    }
}

/// Says where this member is reached, unless it was `told` by this configuration. Returns the index of the configuration that the peer
/// knows it by now.
fn put_reachable(buffer: &mut BytesMut, local: &Local, told: Option<Index>) -> Option<Index> {
    let Some(word) = Word::new(local.member_id, &local.membership.load(), told) else { return told };
    let index = word.index;
    put(buffer, &Frame::Reachable(word));
    Some(index)
}

fn put(buffer: &mut BytesMut, frame: &Frame) {
    let at = buffer.len();
    buffer.put_u32(0);
    frame.encode(buffer);
    let length = u32::try_from(buffer.len() - at - 4).expect("frames are bounded far below 4 GiB");
    buffer[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_peer_is_logged_when_the_error_is_another_one_and_now_and_then() {
        let (mut failing, start) = (Failing::default(), Instant::now());
        assert!(failing.is_news("refused", start));
        assert!(!failing.is_news("refused", start + LOG_EVERY / 2));
        assert!(failing.is_news("timed out", start + LOG_EVERY / 2));
        assert!(!failing.is_news("timed out", start + LOG_EVERY));
        assert!(failing.is_news("timed out", start + LOG_EVERY * 3 / 2));
    }

    #[test]
    fn errors_that_take_turns_are_logged_no_more_often_than_one() {
        let (mut failing, start) = (Failing::default(), Instant::now());
        let tries = (0..20).map(|turn| ["refused", "timed out"][turn % 2]);
        assert_eq!(tries.filter(|error| failing.is_news(error, start)).collect::<Vec<_>>(), ["refused", "timed out"]);
        let numbered = (0..20).filter(|number| failing.is_news(&format!("error {number}"), start));
        assert_eq!(numbered.count(), ERRORS_MAX - 2, "whatever they say");
    }
}
