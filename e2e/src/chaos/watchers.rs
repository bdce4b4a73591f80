//! Watches whose every event is compared with the history: on each member one of everything, that goes on where it was, and
//! short ones of a few keys from revisions in the past.

use std::time::Duration;

use bytes::Bytes;
use quorate_api::etcdserverpb::WatchResponse;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

use super::board::Board;
use super::endpoints::Endpoints;
use super::stream::{Stream, everything};
use super::wire;
use crate::history::{Session, digest};

/// A stream without a word for so long is left: its member may be cut off.
const SILENCE: Duration = Duration::from_secs(2);

/// After a stream that could not be opened or has ended.
const AFTER_END: Duration = Duration::from_millis(100);

/// A short watch stays so long at most.
const SHORT_MS_MAX: u64 = 3_000;

/// How far back a short watch starts.
const PAST_MAX: i64 = 2_000;

/// Of this many responses one is followed by a request for progress.
const ASK_PROGRESS_ONE_IN: u32 = 20;

/// Running watchers.
pub struct Watchers {
    tasks: Vec<JoinHandle<Vec<Session>>>,
}

impl Watchers {
    pub fn start(endpoints: &Endpoints, board: &Board, seed: u64) -> Watchers {
        let mut tasks = Vec::new();
        for member in 0..endpoints.len() {
            for short in [false, true] {
                let seed = seed ^ (member as u64 * 2 + u64::from(short) + 1) << 40;
                let rng = ChaCha8Rng::seed_from_u64(seed);
                let watcher = Watcher { member, short, endpoints: endpoints.clone(), board: board.clone(), rng };
                tasks.push(tokio::spawn(watcher.run()));
            }
        }
        Watchers { tasks }
    }

    /// Every watch that was; they end when the board is stopped.
    pub async fn end(self) -> Vec<Session> {
        let mut sessions = Vec::new();
        for task in self.tasks {
            sessions.extend(task.await.expect("a watcher neither panics nor is aborted"));
        }
        sessions
    }
}

struct Watcher {
    member: usize,
    short: bool,
    endpoints: Endpoints,
    board: Board,
    rng: ChaCha8Rng,
}

impl Watcher {
    async fn run(mut self) -> Vec<Session> {
        let mut sessions = Vec::new();
        // Where the long watch goes on.
        let mut next = 2;
        while !self.board.is_stopped() {
            let mut session = self.plan(next);
            let stream = Stream::open(
                &self.endpoints,
                self.member,
                session.from.clone(),
                session.end.clone(),
                session.start_revision,
            );
            if let Some(stream) = stream.await {
                let compacted = self.follow(stream, &mut session).await;
                let seen = session.seen.last().map_or(session.start_revision, |(revision, _)| revision + 1);
                next = seen.max(compacted);
                sessions.push(session);
            } else if next <= self.board.compacted() {
                // The creation of a watch below the compact revision is refused.
                next = self.board.compacted() + 1;
            }
            tokio::time::sleep(AFTER_END).await;
        }
        sessions
    }

    fn plan(&mut self, next: i64) -> Session {
        let name = format!("m{}", self.member + 1);
        if !self.short {
            let (from, end) = everything();
            return session(format!("the watch of {name} from revision {next}"), from, end, next);
        }
        let newest = self.board.newest();
        // The start at the newest revision and one in the future belong to it.
        let start = newest + 2 - self.rng.random_range(0..PAST_MAX);
        let start = start.max(self.board.compacted() + 1).max(2);
        let tens = self.rng.random_range(0..4_u32);
        let (from, end) = (format!("k/{tens}").into(), format!("k/{}", tens + 1).into());
        session(format!("a watch of k/{tens}… on {name} from revision {start}"), from, end, start)
    }

    /// Follows a stream to its end; the compact revision if that is what ended it, else 0.
    async fn follow(&mut self, mut stream: Stream, session: &mut Session) -> i64 {
        let short = Duration::from_millis(self.rng.random_range(100..SHORT_MS_MAX));
        let end = if self.short { self.board.now() + short } else { Duration::MAX };
        while self.board.now() < end {
            let response = tokio::select! {
                () = self.board.stopped() => return 0,
                response = tokio::time::timeout(SILENCE, stream.next()) => response,
            };
            let Ok(Some(response)) = response else { return 0 };
            if response.canceled {
                return response.compact_revision;
            }
            take(session, response);
            if self.rng.random_ratio(1, ASK_PROGRESS_ONE_IN) {
                stream.ask_progress();
            }
        }
        0
    }
}

fn session(watcher: String, from: Bytes, end: Bytes, start_revision: i64) -> Session {
    Session { watcher, from, end, start_revision, seen: Vec::new(), told: 0 }
}

fn take(session: &mut Session, response: WatchResponse) {
    if response.events.is_empty() && !response.created {
        // Progress: everything up to the header's revision has been delivered.
        session.told = session.told.max(response.header.unwrap_or_default().revision);
    }
    session.seen.extend(response.events.into_iter().map(|event| {
        let event = wire::event(event, Duration::ZERO);
        (event.revision, digest(&event.key, event.row.as_ref()))
    }));
}
