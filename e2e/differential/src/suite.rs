//! Many sequences, several at a time, until the time is over; and what they showed together.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_harness::{Interrupt, Interrupted};

use crate::Error;
use crate::corpus;
use crate::coverage::Coverage;
use crate::generate::{self, Sequence};
use crate::run::{Divergence, play};
use crate::server::Programs;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    pub first_seed: u64,
    /// Steps of a sequence, about.
    pub steps: usize,
    /// No sequence begins after this.
    pub duration: Duration,
    /// Sequences that run at the same time; each has an etcd and a Quorate.
    pub workers: usize,
    /// After so many differences the run ends.
    pub divergences_max: usize,
}

/// A sequence on which the servers differ.
#[derive(Debug)]
pub struct Finding {
    pub seed: u64,
    pub sequence: Sequence,
    pub divergence: Divergence,
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Report {
    pub sequences: u64,
    pub requests: u64,
    pub took: Duration,
    pub coverage: Coverage,
    pub findings: Vec<Finding>,
    /// It was asked to stop before its time was over.
    pub interrupted: Option<Interrupted>,
}

/// What the past findings showed.
#[derive(Debug, Default)]
pub struct Replayed {
    pub sequences: usize,
    pub coverage: Coverage,
    /// Those that are back, with their files.
    pub again: Vec<(PathBuf, Divergence)>,
}

/// Plays every past finding.
///
/// # Errors
/// Those of the judge itself.
pub async fn replay(programs: &Programs) -> Result<Replayed, Error> {
    let mut replayed = Replayed::default();
    for (path, sequence) in corpus::load(&corpus::folder())? {
        let played = play(programs, &sequence.setting, &sequence.steps).await?;
        replayed.sequences += 1;
        replayed.coverage.merge(&played.coverage);
        replayed.again.extend(played.divergence.map(|divergence| (path, divergence)));
    }
    Ok(replayed)
}

/// Plays sequences of rising seeds. Asked to stop, it reports what was compared until then.
///
/// # Errors
/// Those of the judge itself.
pub async fn run(programs: &Programs, options: &Options, interrupt: &Interrupt) -> Result<Report, Error> {
    let (next, stop) = (AtomicU64::new(options.first_seed), AtomicBool::new(false));
    let began = Instant::now();
    let report = Mutex::new(Report::default());
    let worker = || async {
        while began.elapsed() < options.duration && !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let sequence = generate::sequence(seed, options.steps);
            let played = play(programs, &sequence.setting, &sequence.steps).await?;
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.sequences += 1;
            report.requests += played.requests;
            report.coverage.merge(&played.coverage);
            if let Some(divergence) = played.divergence {
                report.findings.push(Finding { seed, sequence, divergence });
                stop.store(report.findings.len() >= options.divergences_max, Ordering::Relaxed);
            }
        }
        Ok::<(), Error>(())
    };
    let workers = futures::future::join_all((0..options.workers.max(1)).map(|_| worker()));
    let ended = interrupt.or(workers).await;
    let interrupted = ended.as_ref().err().copied();
    ended.into_iter().flatten().collect::<Result<(), Error>>()?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.took = began.elapsed();
    report.interrupted = interrupted;
    Ok(report)
}

impl Report {
    /// What was run, on one line.
    pub fn summary(&self) -> String {
        let seconds = self.took.as_secs_f64().max(1e-9);
        format!(
            "{} requests in {} sequences compared in {seconds:.0} s ({:.0} a second), {} differences{}",
            self.requests,
            self.sequences,
            self.requests as f64 / seconds,
            self.findings.len(),
            self.interrupted.map_or(String::new(), |interrupted| format!(", {interrupted}"))
        )
    }
}
