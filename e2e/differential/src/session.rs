//! One side of the comparison: its servers, connections and watch streams, and what it calls things by numbers of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, Value};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::Error;
use crate::names::Word;
use crate::server::Server;
use crate::step::{CLIENTS, Metadata, fill};
use crate::stream::WatchStream;
use crate::wire::{self, Method, RawCodec};

/// No answer takes longer, also on a busy machine.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at what a server does in the background.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Watchers that are behind, by both servers' metrics.
const BEHIND: &str = "etcd_debugging_mvcc_slow_watcher_total";
/// Compactions that an etcd has carried out since it was started.
const COMPACTED: &str = "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count";

/// Field 1000, a varint of 1.
const UNKNOWN_FIELD: [u8; 3] = [0xc0, 0x3e, 1];
/// Field 1000, bytes, of which more are announced than follow.
const CUT_FIELD: [u8; 4] = [0xc2, 0x3e, 9, 0];
/// What a name stands for that nothing has yet.
const UNKNOWN: i64 = 998;

/// How a call ended that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: tonic::Code,
    pub text: String,
}

impl Status {
    pub fn of(status: &tonic::Status) -> Status {
        Status { code: status.code(), text: status.message().to_owned() }
    }

    /// A stream that its server ended without an error.
    pub fn ended() -> Status {
        Status { code: tonic::Code::Ok, text: String::new() }
    }

    pub fn undecodable(error: &dyn std::fmt::Display) -> Status {
        Status { code: tonic::Code::Internal, text: format!("(judge) the answer cannot be decoded: {error}") }
    }
}

/// The answer to a call: its messages, one unless it streams, and the error at their end.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub messages: Vec<DynamicMessage>,
    pub error: Option<Status>,
}

/// Numbers that this side has for the words of a sequence.
#[derive(Debug, Default, Clone)]
pub struct Names {
    /// The leases whose ids the server chose, in order.
    pub leases: Vec<i64>,
    /// The members that were added, in order.
    pub members: Vec<u64>,
    /// The members that the side was founded with; the first is `self`.
    pub founders: Vec<u64>,
    pub cluster: u64,
    pub client_urls: Vec<String>,
}

pub struct Session {
    servers: Vec<Server>,
    channels: Vec<Channel>,
    pub streams: BTreeMap<usize, WatchStream>,
    pub names: Names,
    _folder: TempDir,
}

impl Session {
    /// Starts fresh servers. Client n speaks to member n, or all to the only one.
    ///
    /// # Errors
    /// They do not come up.
    pub async fn start(program: &std::path::Path, members: usize, flags: &[String]) -> Result<Session, Error> {
        // In memory where the machine has it: neither server syncs, and what is compared is not the disk.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.map_err(Error::io("make a folder in", memory))?;
        let servers = Server::start_all(program, members, flags, &folder).await?;
        let mut session = Session {
            channels: Vec::new(),
            streams: BTreeMap::new(),
            names: Names { client_urls: servers.iter().map(Server::url).collect(), ..Names::default() },
            servers,
            _folder: folder,
        };
        session.connect().await?;
        session.introduce().await?;
        Ok(session)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        self.channels.clear();
        for client in 0..CLIENTS {
            let url = self.servers[client % self.servers.len()].url();
            let endpoint = Endpoint::from_shared(url.clone()).expect("the URL was made of a port");
            let endpoint = endpoint.initial_stream_window_size(4 << 20).initial_connection_window_size(8 << 20);
            self.channels.push(endpoint.connect().await.map_err(|source| Error::Connect { url, source })?);
        }
        Ok(())
    }

    /// Learns the ids of the members, and that the cluster has a leader.
    async fn introduce(&mut self) -> Result<(), Error> {
        for client in 0..self.servers.len() {
            let method = wire::method("KV.Range").expect("every etcd has it");
            let request = DynamicMessage::parse_text_format(method.request.clone(), "key: \"a\"")
                .expect("a range of one key is well formed");
            let outcome = self.call(client, method, &request, None).await;
            let Some(answer) = outcome.messages.first().filter(|_| outcome.error.is_none()) else {
                let url = self.servers[client].url();
                return Err(Error::Introduce { url, reason: format!("{:?}", outcome.error) });
            };
            self.names.founders.push(wire::number(answer, &["header", "member_id"]).cast_unsigned());
            self.names.cluster = wire::number(answer, &["header", "cluster_id"]).cast_unsigned();
        }
        Ok(())
    }

    pub fn is_cluster(&self) -> bool {
        self.servers.len() > 1
    }

    /// A request as this side is sent it: words become this side's numbers.
    pub fn resolve(&self, request: &DynamicMessage, now: i64, compacted: i64) -> DynamicMessage {
        let mut request = request.clone();
        fill(&mut request);
        wire::visit(&mut request, &mut |_, value| {
            let number = match value {
                Value::I64(number) => *number,
                Value::U64(number) => number.cast_signed(),
                _ => return,
            };
            let known = match Word::of(number) {
                Some(Word::Now(offset)) => now + offset,
                Some(Word::Compacted(offset)) => compacted + offset,
                Some(Word::Lease(n)) => {
                    n.checked_sub(1).and_then(|n| self.names.leases.get(n)).copied().unwrap_or(UNKNOWN)
                }
                Some(Word::Member(0)) => self.names.founders.first().copied().unwrap_or_default().cast_signed(),
                Some(Word::Member(n)) => self.names.members.get(n - 1).map_or(UNKNOWN, |id| id.cast_signed()),
                None => return,
            };
            match value {
                Value::I64(number) => *number = known,
                Value::U64(number) => *number = known.cast_unsigned(),
                _ => {}
            }
        });
        request
    }

    /// Makes a call and waits for all of its answer.
    pub async fn call(
        &self,
        client: usize,
        method: &'static Method,
        request: &DynamicMessage,
        metadata: Option<Metadata>,
    ) -> Outcome {
        let mut messages = Vec::new();
        let answered = self.answer(client, method, request, metadata, &mut messages);
        let error = match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(())) => None,
            Ok(Err(status)) => Some(status),
            Err(_) => Some(Status {
                code: tonic::Code::DeadlineExceeded,
                text: format!("(judge) no answer within {ANSWER_TIMEOUT:?}"),
            }),
        };
        Outcome { messages, error }
    }

    async fn answer(
        &self,
        client: usize,
        method: &'static Method,
        request: &DynamicMessage,
        metadata: Option<Metadata>,
        messages: &mut Vec<DynamicMessage>,
    ) -> Result<(), Status> {
        let mut grpc = Grpc::new(self.channels[client].clone()).max_decoding_message_size(usize::MAX);
        let gone = |error: tonic::transport::Error| Status { code: tonic::Code::Unavailable, text: error.to_string() };
        grpc.ready().await.map_err(gone)?;
        let mut bytes = request.encode_to_vec();
        match metadata {
            Some(Metadata::UnknownField) => bytes.extend(UNKNOWN_FIELD),
            Some(Metadata::Cut) => bytes.extend(CUT_FIELD),
            _ => {}
        }
        let bytes = Bytes::from(bytes);
        let path = method.path.clone();
        let failed = |status: tonic::Status| Status::of(&status);
        let mut push = |bytes: Bytes| match DynamicMessage::decode(method.response.clone(), bytes) {
            Ok(message) => {
                messages.push(message);
                Ok(())
            }
            Err(error) => Err(Status::undecodable(&error)),
        };
        if !method.server_streams {
            let response = grpc.unary(with(bytes, metadata), path, RawCodec).await.map_err(failed)?;
            return push(response.into_inner());
        }
        let response = if method.client_streams {
            grpc.streaming(with(tokio_stream::once(bytes), metadata), path, RawCodec).await
        } else {
            grpc.server_streaming(with(bytes, metadata), path, RawCodec).await
        };
        let mut stream = response.map_err(failed)?.into_inner();
        while let Some(bytes) = stream.message().await.map_err(failed)? {
            push(bytes)?;
        }
        Ok(())
    }

    /// The watch stream of a number, opened when it is new.
    pub fn stream(&mut self, number: usize, metadata: Option<Metadata>) -> &WatchStream {
        let channel = &self.channels[number % CLIENTS];
        let method = wire::method("Watch.Watch").expect("every etcd has it");
        self.streams.entry(number).or_insert_with(|| WatchStream::open(channel.clone(), method, with((), metadata)))
    }

    /// Waits until no watcher is behind, so that what it is sent from now on comes one revision a message.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub async fn settle(&self) -> Result<(), Error> {
        self.wait_while(BEHIND, |behind| behind > 0).await
    }

    /// Waits until an etcd has carried out so many compactions since it was started. It does that after it has answered, and meanwhile
    /// HashKV counts other rows from one moment to the next.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub async fn compacted(&self, count: u64) -> Result<(), Error> {
        self.wait_while(COMPACTED, |done| done < count).await
    }

    /// Looks at a metric of every server until it is as wanted, for as long as an answer may take at most.
    async fn wait_while(&self, name: &str, is_unsettled: impl Fn(u64) -> bool) -> Result<(), Error> {
        let started = std::time::Instant::now();
        for server in &self.servers {
            while started.elapsed() < ANSWER_TIMEOUT && is_unsettled(metric(server, name).await?) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Ends the streams, and kills and starts the servers again on what they have on disk, one after the other.
    ///
    /// # Errors
    /// They do not come back.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.streams.clear();
        for server in &mut self.servers {
            server.restart().await?;
        }
        self.connect().await
    }

    /// The end of the log of a server that has ended by itself.
    pub fn ended(&mut self) -> Option<String> {
        self.servers.iter_mut().find_map(|server| server.has_ended().then(|| server.log_tail()))
    }
}

/// What a server says of a metric without labels that counts.
async fn metric(server: &Server, name: &str) -> Result<u64, Error> {
    let url = server.url();
    let page =
        page(url.trim_start_matches("http://"), "/metrics").await.map_err(Error::io("read /metrics of", &url))?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let known = line.and_then(|value| value.parse().ok());
    known.ok_or_else(|| Error::Metrics { url, reason: format!("they say {line:?} of {name}") })
}

/// A page of a server, with its head.
async fn page(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn with<T>(message: T, metadata: Option<Metadata>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = |bytes: &[u8]| MetadataValue::<Ascii>::try_from(bytes).expect("no byte of it is a control character");
    let (name, value) = match metadata {
        Some(Metadata::HasLeader) => ("hasleader", value(b"true")),
        Some(Metadata::Version) => ("client-api-version", value(b"3.7")),
        Some(Metadata::BadVersion) => ("client-api-version", value(b"3.\xff7")),
        Some(Metadata::Token) => ("token", value(b"nobody.12")),
        Some(Metadata::UnknownField | Metadata::Cut) | None => return request,
    };
    request.metadata_mut().insert(name, value);
    request
}
