//! `watch`: prints changes as they happen, and runs a command for each. All watches of one invocation share one stream;
//! when it breaks, a new one goes on behind the last revision that was seen, so that nothing is missed or seen twice.

mod exec;
mod target;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Duration;

use bytes::Bytes;
use quorate_api::etcdserverpb::watch_request::RequestUnion;
use quorate_api::etcdserverpb::{WatchProgressRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use super::{Context, connect};
use crate::Error;
use crate::client::Client;
use crate::flags;
use crate::render::watch::is_progress;
use crate::txn::operation::arguments;
use target::Target;
pub use target::{DETAILS, FLAGS};

/// Pause before a broken stream is opened anew. It is, until the user has enough: a watch outlives any outage.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// Asks a member that loses its leader to end the stream, instead of going quiet.
const REQUIRE_LEADER: &str = "hasleader";
/// Requests that wait for the stream; a person does not type ahead of it.
const REQUESTS_MAX: usize = 16;

pub async fn run(context: &Context) -> Result<(), Error> {
    context.settings.format.refuse_table()?;
    let interactive = context.parsed.bool(&target::INTERACTIVE);
    let mut watch = Watch { context, targets: BTreeMap::new(), next_id: 1, lines: None, interrupted: false };
    if interactive {
        watch.lines = Some(lines_of_stdin());
    } else {
        watch.add(Target::new(&context.parsed, &context.environment)?);
    }
    let client = connect(&context.settings.client, Instant::now() + context.settings.command_timeout).await?;
    tokio::select! {
        done = watch.follow(client) => done,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    }
}

/// Lines come from a thread of their own, since reading them cannot be waited for together with a stream.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

struct Watch<'a> {
    context: &'a Context,
    /// By the id that the server knows them under.
    targets: BTreeMap<i64, Target>,
    next_id: i64,
    /// Commands of an interactive watch.
    lines: Option<mpsc::Receiver<String>>,
    /// Nothing was heard since the stream broke.
    interrupted: bool,
}

/// What a line of an interactive watch asks for.
enum Line {
    Watch(Box<Target>),
    Progress,
    /// Nothing that can be done; already said.
    Refused,
}

impl Watch<'_> {
    fn add(&mut self, target: Target) -> WatchRequest {
        let id = self.next_id;
        self.next_id += 1;
        let request = target.create(id);
        self.targets.insert(id, target);
        request
    }

    async fn follow(&mut self, mut client: Client) -> Result<(), Error> {
        let mut options = self.context.settings.client.clone();
        loop {
            while self.targets.is_empty() {
                if let Line::Watch(target) = self.next_line().await? {
                    self.add(*target);
                }
            }
            let error = match self.follow_stream(&client).await {
                Err(error) if may_pass(&error) => error,
                done => return done,
            };
            // Once an outage, which may be long.
            if !std::mem::replace(&mut self.interrupted, true) {
                eprintln!("Watch interrupted ({error}), trying again");
            }
            tokio::time::sleep(REOPEN_PAUSE).await;
            // The member may be up and yet cut off from the others: the next endpoint gets its turn.
            options.endpoints.rotate_left(1);
            if let Ok(other) = Client::connect(&options).await {
                client = other;
            }
        }
    }

    async fn follow_stream(&mut self, client: &Client) -> Result<(), Error> {
        let ended = || Status::unavailable("the stream of events ended");
        // The server may answer the opening only with the first watch, which therefore goes ahead.
        let first: Vec<WatchRequest> = self.targets.iter().map(|(id, target)| target.create(*id)).collect();
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let mut service = client.watch();
        let stream = tokio_stream::iter(first).chain(ReceiverStream::new(queue));
        let mut request = Request::new(stream);
        request.metadata_mut().insert(REQUIRE_LEADER, MetadataValue::from_static("true"));
        let mut responses = service.watch(request).await?.into_inner();
        loop {
            tokio::select! {
                response = responses.message() => self.handle(response?.ok_or_else(ended)?).await?,
                line = self.next_line() => {
                    let request = match line? {
                        Line::Watch(target) => self.add(*target),
                        Line::Progress => WatchRequest {
                            request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
                        },
                        Line::Refused => continue,
                    };
                    requests.send(request).await.map_err(|_| ended())?;
                }
            }
        }
    }

    async fn handle(&mut self, response: WatchResponse) -> Result<(), Error> {
        self.interrupted = false;
        if response.canceled {
            return self.canceled(&response);
        }
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if let Some(target) = self.targets.get_mut(&response.watch_id) {
            target.seen(&response, revision);
        }
        if response.created || (is_progress(&response) && revision == 0) {
            return Ok(());
        }
        self.context.print(&response)?;
        if let Some(target) = self.targets.get(&response.watch_id) {
            for event in &response.events {
                exec::run(&target.command, revision, event).await?;
            }
        }
        Ok(())
    }

    fn canceled(&mut self, response: &WatchResponse) -> Result<(), Error> {
        use crate::render::Format;
        use quorate_api::Error as Api;
        if self.context.settings.format != Format::Simple {
            self.context.print(response)?;
        }
        let reason = match (response.compact_revision, response.cancel_reason.as_str()) {
            (1.., _) => Api::Compacted.message(),
            (_, "") => Api::FutureRev.message(),
            (_, reason) => reason,
        };
        eprintln!("watch was canceled ({reason})");
        self.targets.remove(&response.watch_id);
        if self.lines.is_some() { Ok(()) } else { Err(Error::WatchCanceled) }
    }

    /// The next line of standard input; never, without an interactive watch.
    async fn next_line(&mut self) -> Result<Line, Error> {
        let Some(lines) = &mut self.lines else { return std::future::pending().await };
        let line = lines.recv().await.ok_or(Error::WatchInputEnded)?;
        let refused = |reason: &str| {
            eprintln!("Invalid command {line} ({reason})");
            Ok(Line::Refused)
        };
        let arguments: Vec<Bytes> = arguments(&line).map_err(Error::Txn)?;
        match arguments.split_first().map(|(name, arguments)| (name.as_ref(), arguments)) {
            None => {
                eprintln!("Invalid command: {line} (watch and progress supported)");
                Ok(Line::Refused)
            }
            Some((b"progress", _)) => Ok(Line::Progress),
            Some((b"watch", arguments)) => {
                let parsed = flags::parse(&[FLAGS], arguments).map_err(Error::FlagInLine)?;
                match Target::new(&parsed, &self.context.environment) {
                    Ok(target) => Ok(Line::Watch(Box::new(target))),
                    Err(_) if arguments.is_empty() => refused("command type or key is not provided"),
                    Err(error) => refused(&error.to_string()),
                }
            }
            Some(_) => refused("only support watch"),
        }
    }
}

/// Whether another attempt may succeed: the connection broke, or the member cannot serve just now.
fn may_pass(error: &Error) -> bool {
    let Error::Rpc(status) = error else { return false };
    let broke_here = std::error::Error::source(status).is_some();
    broke_here || matches!(status.code(), Code::Unavailable | Code::Internal)
}
