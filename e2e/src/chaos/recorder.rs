//! Reads the true history: one watch of all keys from the first revision, that goes on at the next revision, on another
//! member, whenever its stream ends or falls silent.

use std::time::{Duration, Instant};

use quorate_api::etcdserverpb::WatchResponse;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

use super::Error;
use super::board::Board;
use super::endpoints::Endpoints;
use super::stream::{Stream, everything};
use super::wire;
use crate::history::Event;

/// A stream without a word for so long is left for another: its member may be cut off.
const SILENCE: Duration = Duration::from_millis(1_500);

/// A recorder that cannot reach the end of the history for so long, though all members serve, has lost events.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);

/// After a stream that could not be opened.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Between two looks at how far the history is recorded.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub struct Recorder {
    task: JoinHandle<Vec<Event>>,
    board: Board,
}

impl Recorder {
    pub fn start(endpoints: &Endpoints, board: &Board, seed: u64) -> Recorder {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7ec0_4de4 << 32);
        let recording = Recording { endpoints: endpoints.clone(), board: board.clone(), rng, events: Vec::new() };
        Recorder { task: tokio::spawn(recording.run()), board: board.clone() }
    }

    /// Waits until the history up to a revision is recorded, and returns all of it. The board must be stopped.
    pub async fn end(self, revision: i64) -> Result<Vec<Event>, Error> {
        let started = Instant::now();
        while self.board.recorded() < revision {
            if started.elapsed() > CATCH_UP_WITHIN {
                let what = format!("recording the history from revision {} to {revision}", self.board.recorded());
                return Err(Error::Late { what, waited: CATCH_UP_WITHIN, logs: "the members' folder".into() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.board.record(i64::MAX);
        Ok(self.task.await.expect("the recorder neither panics nor is aborted"))
    }
}

struct Recording {
    endpoints: Endpoints,
    board: Board,
    rng: ChaCha8Rng,
    events: Vec<Event>,
}

impl Recording {
    async fn run(mut self) -> Vec<Event> {
        while self.board.recorded() < i64::MAX {
            let member = self.rng.random_range(0..self.endpoints.len());
            if self.follow(member).await.is_none() {
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
        self.events
    }

    /// One stream to its end; `None` if it could not be opened.
    async fn follow(&mut self, member: usize) -> Option<()> {
        let next = self.events.last().map_or(2, |event| event.revision + 1);
        let (from, end) = everything();
        let mut stream = Stream::open(&self.endpoints, member, from, end, next).await?;
        while self.board.recorded() < i64::MAX {
            let response = match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(Some(response)) if !response.canceled => response,
                Ok(_) => return Some(()),
                // Nothing may have happened, which a progress message would have told.
                Err(_) => return Some(()),
            };
            self.take(response);
        }
        Some(())
    }

    /// Without fragments a response holds whole revisions.
    fn take(&mut self, response: WatchResponse) {
        let seen = self.board.now();
        self.events.extend(response.events.into_iter().map(|event| wire::event(event, seen)));
        if let Some(last) = self.events.last() {
            self.board.record(last.revision);
            self.board.saw(last.revision);
        }
    }
}
