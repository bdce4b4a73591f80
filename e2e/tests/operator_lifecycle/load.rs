//! One put after the other, with a note of every failure and of every change of the term.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::common::Error;
use crate::world::Session;

/// Fewer puts show nothing.
const PUTS_MIN: u32 = 50;

/// A request that never left is sent again at most so many times.
const UNSENT_MAX: u32 = 3;

/// A load that runs until it is stopped.
pub struct Load {
    stop: oneshot::Sender<()>,
    seen: Arc<Seen>,
    task: JoinHandle<Record>,
}

/// Counters of a load that runs.
#[derive(Default)]
struct Seen {
    successes: AtomicU32,
    terms: AtomicU32,
}

/// What happened.
#[derive(Default)]
pub struct Record {
    puts: u32,
    /// When it was started, when it failed, and why.
    failures: Vec<(Instant, Instant, String)>,
    /// When a term was first seen.
    terms: Vec<(Instant, u64)>,
}

impl Load {
    pub fn start(session: Session) -> Self {
        let (stop, stopped) = oneshot::channel();
        let seen = Arc::new(Seen::default());
        Self { stop, seen: seen.clone(), task: tokio::spawn(run(session, stopped, seen)) }
    }

    /// Puts that succeeded so far.
    pub fn successes(&self) -> u32 {
        self.seen.successes.load(Ordering::Relaxed)
    }

    /// Terms in which puts succeeded so far.
    pub fn terms(&self) -> u32 {
        self.seen.terms.load(Ordering::Relaxed)
    }

    pub async fn stop(self) -> Record {
        let _ = self.stop.send(());
        self.task.await.expect("the load neither panics nor is aborted")
    }
}

/// Whether the request was still in this process when its connection closed. A gRPC client sends such a request again without a word
/// (transparent retries, gRFC A6); tonic leaves that to its user.
fn was_never_sent(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_canceled = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
    };
    std::iter::successors(Some(error), |error| error.source()).any(is_canceled)
}

async fn run(mut session: Session, mut stopped: oneshot::Receiver<()>, seen: Arc<Seen>) -> Record {
    let mut record = Record::default();
    while stopped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty) {
        let started = Instant::now();
        record.puts += 1;
        let key = format!("load/{}", record.puts);
        let mut put = session.put(&key, "x").await;
        for _ in 0..UNSENT_MAX {
            if put.as_ref().is_err_and(|error| was_never_sent(error.as_ref())) {
                put = session.put(&key, "x").await;
            }
        }
        match put {
            Ok(term) => {
                seen.successes.fetch_add(1, Ordering::Relaxed);
                if record.terms.last().is_none_or(|(_, last)| *last != term) {
                    record.terms.push((Instant::now(), term));
                    seen.terms.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                record.failures.push((started, Instant::now(), error.to_string()));
                // A member that is away is not asked in a busy loop.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    record
}

impl Record {
    /// No request fails but those that were started within one election timeout of a change of the leader that a member saw.
    pub fn check_against(&self, changes: &[Instant], election: Duration) -> Result<(), Error> {
        println!("       {} puts, {} failures", self.puts, self.failures.len());
        if self.puts < PUTS_MIN {
            return Err(format!("{} puts are no load", self.puts).into());
        }
        let apart = |a: Instant, b: Instant| a.max(b) - a.min(b);
        for (started, _, reason) in &self.failures {
            let nearest = changes.iter().map(|change| apart(*change, *started)).min();
            if nearest.is_none_or(|nearest| nearest > election) {
                return Err(format!("a put failed {nearest:?} away from a change of the leader: {reason}").into());
            }
        }
        Ok(())
    }

    /// Puts that failed.
    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    /// No request fails but those that run within one election timeout of a change of the leader.
    pub fn check(&self, election: Duration) -> Result<(), Error> {
        let changes: Vec<Instant> = self.terms.iter().skip(1).map(|(at, _)| *at).collect();
        println!("       {} puts, {} failures, {} changes of the term", self.puts, self.failures.len(), changes.len());
        if self.puts < PUTS_MIN {
            return Err(format!("{} puts are no load", self.puts).into());
        }
        for (started, ended, reason) in &self.failures {
            // The new term is seen by the first put that succeeds in it, so after the change itself.
            let excused = changes.iter().any(|change| *started <= *change && *change <= *ended + election);
            if !excused {
                return Err(format!("a put failed without a change of the leader: {reason}").into());
            }
        }
        Ok(())
    }
}
