//! Makes a failing run smaller: fewer faults, a shorter time, fewer clients and members, as long as it fails in the same way.
//!
//! A cluster is chaotic: without one fault all that follows happens at other times. So each smaller run is tried under a few salts
//! (other delays, the same plan of faults). Everything tried is a function of the seed, so shrinking the same failure gives the same.

use std::collections::BTreeSet;

use crate::options::Options;
use crate::plan;
use crate::{Report, run};

/// Salts under which a smaller run is tried.
const SALTS: u64 = 3;
const SECOND_MICROS: u64 = 1_000_000;

/// The smallest failing run that was found.
#[derive(Debug, Clone)]
pub struct Shrunk {
    pub options: Options,
    pub report: Report,
    /// Faults that strike in it.
    pub faults: usize,
    /// Runs that were tried.
    pub runs: u32,
}

struct Search {
    seed: u64,
    kind: String,
    best: Options,
    report: Report,
    runs: u32,
    runs_max: u32,
}

/// Shrinks a failure within `runs_max` runs (0 = the failure as it is).
pub fn shrink(options: &Options, failure: &Report, runs_max: u32) -> Shrunk {
    let kind = failure.violation.as_deref().map(kind).unwrap_or_default();
    let best = options.clone();
    let mut search = Search { seed: failure.seed, kind, best, report: failure.clone(), runs: 0, runs_max };
    search.cut_end();
    search.drop_faults();
    search.fewer(|options| &mut options.clients);
    search.fewer(|options| &mut options.members);
    search.shorten();
    search.drop_faults();
    search.cut_end();
    let faults = search.faults().len();
    let Search { best: options, report, runs, .. } = search;
    Shrunk { options, report, faults, runs }
}

/// A violation without its numbers: what two runs must share to fail in the same way.
fn kind(violation: &str) -> String {
    let mut kind = String::new();
    for letter in violation.chars().take_while(|letter| *letter != '\n') {
        let letter = if letter.is_ascii_digit() { '#' } else { letter };
        if letter != '#' || !kind.ends_with('#') {
            kind.push(letter);
        }
    }
    // What follows the first words names states and answers, which differ from run to run.
    kind.chars().take(40).collect()
}

impl Search {
    /// The numbers of the faults that strike in the best run so far.
    fn faults(&self) -> Vec<u32> {
        let all = plan::draw(self.seed, self.best.fault_micros, self.best.kinds).into_iter().map(|fault| fault.number);
        all.filter(|number| self.best.only.as_ref().is_none_or(|only| only.contains(number))).collect()
    }

    /// Runs a candidate under a few salts; keeps it when it fails in the same way.
    fn takes(&mut self, candidate: Options) -> bool {
        for salt in 0..SALTS {
            if self.runs >= self.runs_max {
                return false;
            }
            self.runs += 1;
            let candidate = Options { salt: self.best.salt + salt, ..candidate.clone() };
            let report = run(self.seed, &candidate);
            if report.violation.as_deref().map(kind).as_ref() == Some(&self.kind) {
                (self.best, self.report) = (candidate, report);
                return true;
            }
        }
        false
    }

    /// Nothing after the violation matters.
    fn cut_end(&mut self) {
        let micros = (self.report.simulated_micros / SECOND_MICROS + 1) * SECOND_MICROS;
        if micros < self.best.fault_micros {
            let only = self.best.only.clone();
            self.takes(Options { fault_micros: micros, only, ..self.best.clone() });
        }
    }

    /// Leaves faults out in halves, quarters and so on, at last one by one.
    fn drop_faults(&mut self) {
        let mut size = self.faults().len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            loop {
                let faults = self.faults();
                if start >= faults.len() {
                    break;
                }
                let end = (start + size).min(faults.len());
                let only: BTreeSet<u32> = [&faults[..start], &faults[end..]].concat().into_iter().collect();
                if !self.takes(Options { only: Some(only), ..self.best.clone() }) {
                    start = end;
                }
            }
            size /= 2;
        }
    }

    /// The smallest number that still fails, from 1 on.
    fn fewer(&mut self, number: fn(&mut Options) -> &mut u64) {
        for fewer in 1..*number(&mut self.best.clone()) {
            let mut candidate = self.best.clone();
            *number(&mut candidate) = fewer;
            if self.takes(candidate) {
                return;
            }
        }
    }

    /// Halves the time under faults.
    fn shorten(&mut self) {
        while self.best.fault_micros >= 2 * SECOND_MICROS {
            let fault_micros = self.best.fault_micros / 2 / SECOND_MICROS * SECOND_MICROS;
            if !self.takes(Options { fault_micros, ..self.best.clone() }) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Bug;

    #[test]
    fn a_failure_shrinks_to_few_faults_and_still_fails_when_replayed() {
        let options = Options { fault_micros: 10_000_000, bug: Some(Bug::ApplyTwice), ..Options::default() };
        let failure = (1..20).map(|seed| run(seed, &options)).find(|report| report.violation.is_some());
        let failure = failure.expect("a planted bug is found");
        let shrunk = shrink(&options, &failure, 200);
        assert!(shrunk.faults <= 2 && shrunk.options.clients == 1, "{:?}", shrunk.options);
        assert_eq!(run(failure.seed, &shrunk.options), shrunk.report);
        assert_eq!(shrunk.report.violation.as_deref().map(kind), failure.violation.as_deref().map(kind));
    }
}
