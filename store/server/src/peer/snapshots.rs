//! Snapshots between members, each on a connection of its own: build one when raft asks, send it, receive one and hand it to raft.
//!
//! On the wire after the handshake, every part with its length (u32) before it: the raft message, the manifest; back comes how far an
//! interrupted transfer already got (file u32, offset u64); then chunks, an empty part as the end, and one byte back when all is
//! verified and durable. The receiver steps the raft message itself then, so raft hears of a snapshot only when it is there.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quorate_core::log::{MemberId, SnapshotMeta};
use quorate_core::node::Event;
use quorate_core::replica::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::handshake::Channel;
use super::schedule::{self, Schedule, Transfer};
use super::{IncomingSnapshot, Peers, Stream, connect};
use crate::backend::Backend;
use crate::directory::Directory;
use crate::inbox::{Inbox, Input};
use crate::snapshot::{
    self, CHUNK_BYTES_MAX, Chunk, Incoming, MANIFEST_BYTES_MAX, Manifest, Outgoing, Progress, Received,
};

/// Between two tries to build a snapshot, when the disk was full.
const BUILD_RETRY: Duration = Duration::from_secs(1);
/// A part is a chunk with its head, a manifest, or a raft message.
const PART_BYTES_MAX: usize =
    if MANIFEST_BYTES_MAX > 2 * CHUNK_BYTES_MAX { MANIFEST_BYTES_MAX } else { 2 * CHUNK_BYTES_MAX };
/// Snapshots that wait for raft to take them.
const RECEIVED_MAX: usize = 2;
const VERIFIED: u8 = 1;
/// The receiver verifies and syncs everything before it answers.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no snapshot is at hand")]
    NotBuilt,
    #[error("no connection to any peer URL: {0}")]
    Connect(String),
    #[error("a part of {length} bytes, at most {PART_BYTES_MAX} are accepted")]
    TooLong { length: usize },
    #[error("the first part is no snapshot message: {0}")]
    Message(String),
    #[error("the receiver did not verify it in time")]
    NotVerified,
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Snapshots(Arc<Shared>);

struct Shared {
    directory: Directory,
    peers: Peers,
    inbox: Arc<Inbox>,
    runtime: Handle,
    schedule: Schedule,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    built: Option<Arc<Outgoing>>,
    /// What arrived and waits for raft to take it, in order; raft may still take one when the next has arrived.
    received: VecDeque<Received>,
}

impl Snapshots {
    /// Each follower is sent to by this schedule.
    pub fn new(
        directory: Directory,
        peers: Peers,
        inbox: Arc<Inbox>,
        runtime: Handle,
        schedule: Schedule,
    ) -> Snapshots {
        Snapshots(Arc::new(Shared { directory, peers, inbox, runtime, schedule, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds a snapshot on a thread of its own, and reports it. A full disk is waited out.
    pub fn build(&self, backend: Arc<Backend>) {
        let this = self.clone();
        self.0.runtime.spawn_blocking(move || {
            loop {
                match Outgoing::build(&backend, &this.0.directory) {
                    Ok(built) => {
                        let meta = built.manifest().meta.clone();
                        tracing::info!(index = meta.index, bytes = built.manifest().bytes(), "built a snapshot");
                        this.state().built = Some(Arc::new(built));
                        this.0.inbox.push(Input::Event(Event::SnapshotBuilt { meta }));
                        return;
                    }
                    Err(error) => tracing::error!(%error, "cannot build a snapshot for a follower; trying again"),
                }
                std::thread::sleep(BUILD_RETRY);
                // Nobody takes it any more once the driver has stopped.
                if this.0.inbox.is_closed() {
                    return;
                }
            }
        });
    }

    /// Sends the snapshot that belongs to this raft message, and reports how it went.
    pub fn send(&self, message: Message) {
        let this = self.clone();
        let id = message.to();
        // Reading files blocks; the connection's writes are waited for on this same thread.
        self.0.runtime.spawn_blocking(move || {
            let handle = this.0.runtime.clone();
            let metrics = this.0.peers.local().metrics.clone();
            let transfer = metrics.transfers.send(id);
            let sent = handle.block_on(this.transfer(id, &message));
            match &sent {
                Ok(bytes) => {
                    transfer.done();
                    tracing::info!(to = format!("{id:x}"), bytes, "sent database snapshot");
                }
                Err(error) => {
                    drop(transfer);
                    tracing::warn!(to = format!("{id:x}"), %error, "cannot send a snapshot");
                }
            }
            this.0.inbox.push(Input::Event(Event::SnapshotSent { id, installed: sent.is_ok() }));
        });
    }

    async fn transfer(&self, to: MemberId, message: &Message) -> Result<u64, Error> {
        let built = self.state().built.clone().ok_or(Error::NotBuilt)?;
        if message.snapshot().map(|meta| meta.index) != Some(built.manifest().meta.index) {
            return Err(Error::NotBuilt);
        }
        let mut stream = self.connect(to).await?;
        let mut encoded = BytesMut::new();
        message.encode(&mut encoded);
        write_part(&mut stream, &encoded).await?;
        write_part(&mut stream, &built.manifest().encode()).await?;
        let file = stream.read_u32().await?;
        let offset = stream.read_u64().await?;
        let (index, total) = (built.manifest().meta.index, built.manifest().bytes());
        let mut bytes = 0;
        let mut began = Instant::now();
        for chunk in built.chunks(Progress { file, offset }) {
            let chunk = chunk?;
            let length = chunk.data.len() as u64;
            bytes += length;
            write_part(&mut stream, &chunk.encode()).await?;
            let sent = schedule::Chunk { bytes: length, took: began.elapsed() };
            let pause = self.0.schedule.pause(index, Transfer { sent: bytes, total }, sent);
            // A timer is late by up to a millisecond, which the next pause makes up for.
            began = match pause {
                Duration::ZERO => Instant::now(),
                pause => {
                    let due = began + sent.took + pause;
                    tokio::time::sleep_until(due.into()).await;
                    due
                }
            };
        }
        write_part(&mut stream, &[]).await?;
        stream.flush().await?;
        match tokio::time::timeout(VERIFY_TIMEOUT, stream.read_u8()).await {
            Ok(Ok(VERIFIED)) => Ok(bytes),
            Ok(Ok(_)) | Err(_) => Err(Error::NotVerified),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    async fn connect(&self, to: MemberId) -> Result<Stream, Error> {
        let mut last = "the member has no peer URL".to_owned();
        for url in self.0.peers.urls(to) {
            match connect(self.0.peers.local(), to, &url, Channel::Snapshot).await {
                Ok(connected) => return Ok(connected.stream),
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error::Connect(last))
    }

    /// Receives snapshots, one after the other. An interrupted one is continued when the same comes again.
    pub async fn receive_all(self, mut incoming: mpsc::Receiver<IncomingSnapshot>) {
        let mut partial: Option<Incoming> = None;
        while let Some(IncomingSnapshot { from, stream }) = incoming.recv().await {
            let this = self.clone();
            let runtime = self.0.runtime.clone();
            let before = partial.take();
            let task = tokio::task::spawn_blocking(move || {
                let mut partial = before;
                let metrics = this.0.peers.local().metrics.clone();
                let transfer = metrics.transfers.receive(from);
                let result = runtime.block_on(this.receive(stream, &mut partial));
                if result.is_ok() {
                    transfer.done();
                }
                (result, partial)
            });
            match task.await {
                Ok((Ok(meta), _)) => {
                    tracing::info!(from = format!("{from:x}"), index = meta.index, "received a snapshot");
                }
                Ok((Err(error), left)) => {
                    tracing::warn!(from = format!("{from:x}"), %error, "a snapshot did not arrive");
                    partial = left;
                }
                Err(error) => tracing::error!(%error, "receiving a snapshot failed"),
            }
        }
    }

    async fn receive(&self, mut stream: Stream, partial: &mut Option<Incoming>) -> Result<SnapshotMeta, Error> {
        let message =
            Message::decode(read_part(&mut stream).await?).map_err(|error| Error::Message(error.to_string()))?;
        if message.snapshot().is_none() {
            return Err(Error::Message("another kind".to_owned()));
        }
        let manifest = Manifest::decode(&read_part(&mut stream).await?)?;
        let incoming = match partial.take() {
            Some(incoming) if incoming.is_of(&manifest) => partial.insert(incoming),
            other => {
                if let Some(other) = other {
                    other.discard();
                }
                partial.insert(Incoming::begin(&self.0.directory, manifest)?)
            }
        };
        let progress = incoming.progress();
        stream.write_u32(progress.file).await?;
        stream.write_u64(progress.offset).await?;
        stream.flush().await?;
        let saving = self.0.peers.local().metrics.transfers.save.start_timer();
        loop {
            let part = read_part(&mut stream).await?;
            if part.is_empty() {
                break;
            }
            incoming.write(&Chunk::decode(part)?)?;
        }
        let received = incoming.finish()?;
        saving.observe_duration();
        *partial = None;
        let meta = received.meta().clone();
        self.keep(received);
        self.0.inbox.push(Input::Event(Event::Message(message)));
        stream.write_u8(VERIFIED).await?;
        stream.flush().await?;
        Ok(meta)
    }

    fn keep(&self, received: Received) {
        let mut state = self.state();
        state.received.push_back(received);
        if state.received.len() > RECEIVED_MAX
            && let Some(old) = state.received.pop_front()
        {
            // Raft had time for the others and did not take it.
            old.discard();
        }
    }

    /// The snapshot that raft took; it was received before raft heard of it.
    pub fn take_received(&self, meta: &SnapshotMeta) -> Option<Received> {
        let mut state = self.state();
        let same = |received: &Received| received.meta().index == meta.index && received.meta().term == meta.term;
        let at = state.received.iter().rposition(same)?;
        state.received.remove(at)
    }
}

async fn write_part(stream: &mut Stream, part: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(part.len()).map_err(|_| Error::TooLong { length: part.len() })?;
    stream.write_u32(length).await?;
    stream.write_all(part).await?;
    Ok(())
}

async fn read_part(stream: &mut Stream) -> Result<Bytes, Error> {
    let length = stream.read_u32().await? as usize;
    if length > PART_BYTES_MAX {
        return Err(Error::TooLong { length });
    }
    let mut part = vec![0; length];
    stream.read_exact(&mut part).await?;
    Ok(part.into())
}
