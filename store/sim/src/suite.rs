//! Many seeds on all cores: each runs on one thread, from beginning to end, and stays replayable on its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::counts::Counts;
use crate::options::Options;
use crate::shrink::{Shrunk, shrink};
use crate::{Report, run, trace};

/// What to run.
#[derive(Debug, Clone)]
pub struct Suite {
    pub first_seed: u64,
    pub seeds: u64,
    pub options: Options,
    /// Threads, each with a seed of its own at a time; at least 1.
    pub jobs: usize,
    /// After so many failing seeds no new one begins; at least 1.
    pub failures_max: usize,
    /// Runs that may be spent on shrinking one failure.
    pub shrink_runs: u32,
}

/// A seed that failed, and the smallest run that fails as it does.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    pub violation: String,
    pub shrunk: Shrunk,
    /// Of the smallest run.
    pub trace: String,
}

#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub counts: Counts,
    /// Seeds that ran.
    pub seeds: u64,
    pub simulated_micros: u64,
    pub wall_seconds: f64,
    /// By seed.
    pub failures: Vec<Failure>,
}

impl Suite {
    /// Runs the seeds; `failed` hears of each failure at once.
    pub fn run(&self, failed: impl Fn(&Failure) + Sync) -> Summary {
        let began = Instant::now();
        let next = AtomicU64::new(self.first_seed);
        let summary = Mutex::new(Summary::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| self.work(&next, &summary, &failed));
            }
        });
        let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
        summary.failures.sort_by_key(|failure| failure.seed);
        summary.wall_seconds = began.elapsed().as_secs_f64();
        summary
    }

    fn work(&self, next: &AtomicU64, summary: &Mutex<Summary>, failed: &(impl Fn(&Failure) + Sync)) {
        let locked = || summary.lock().unwrap_or_else(PoisonError::into_inner);
        while locked().failures.len() < self.failures_max.max(1) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - self.first_seed >= self.seeds {
                return;
            }
            let report = run(seed, &self.options);
            let failure = report.violation.clone().map(|violation| self.shrink(&report, violation));
            if let Some(failure) = &failure {
                failed(failure);
            }
            let mut summary = locked();
            summary.counts.merge(&report.counts);
            summary.seeds += 1;
            summary.simulated_micros += report.simulated_micros;
            summary.failures.extend(failure);
        }
    }

    fn shrink(&self, report: &Report, violation: String) -> Failure {
        let shrunk = shrink(&self.options, report, self.shrink_runs);
        // The trace on this thread is of whatever was tried last.
        let again = run(report.seed, &shrunk.options);
        assert_eq!(again, shrunk.report, "a seed replays");
        Failure { seed: report.seed, violation, shrunk, trace: trace::text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Bug;

    #[test]
    fn a_suite_goes_on_after_a_failure_and_is_the_same_on_one_thread_and_on_two() {
        let options = Options { fault_micros: 4_000_000, bug: Some(Bug::ProposeTwice), ..Options::default() };
        let suite = Suite { first_seed: 1, seeds: 6, options, jobs: 1, failures_max: 100, shrink_runs: 0 };
        let (one, two) = (suite.run(|_| {}), Suite { jobs: 2, ..suite.clone() }.run(|_| {}));
        let seeds = |summary: &Summary| summary.failures.iter().map(|failure| failure.seed).collect::<Vec<_>>();
        assert!(one.failures.len() > 1, "{:?}", seeds(&one));
        assert_eq!((seeds(&one), one.seeds, &one.counts), (seeds(&two), 6, &two.counts));
        let first = Suite { failures_max: 1, ..suite }.run(|_| {});
        assert!(first.failures.len() == 1 && first.seeds < 6, "it stops at the named number of failures");
    }
}
