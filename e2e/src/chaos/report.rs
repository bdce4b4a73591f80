//! What a run did and found, and how a person reads it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use quorate_harness::Interrupted;

use super::nemesis::Tally;
use super::plan::{Fault, Plan, Step};
use crate::history::{Judged, Operation, Outcome, Violation};

/// Thousands of violations say no more than the first of them.
const SHOWN_MAX: usize = 20;

#[derive(Debug)]
pub struct Report {
    pub plan: Plan,
    pub faults: Tally,
    /// How long faults struck.
    pub struck_for: Duration,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// The last revision of the history.
    pub revisions: i64,
    /// The longest time from a healing until every member answered a linearizable read.
    pub slowest_recovery: Duration,
    pub judged: Judged,
    pub violations: Vec<Violation>,
    /// Where the logs of the members were put, if anything was violated.
    pub logs: Option<PathBuf>,
    /// The run was asked to stop: what clients saw is not judged.
    pub interrupted: Option<Interrupted>,
}

impl Report {
    pub(super) fn new(plan: Plan) -> Report {
        Report {
            plan,
            faults: Tally::new(),
            struck_for: Duration::ZERO,
            acknowledged: 0,
            refused: 0,
            unknown: 0,
            revisions: 0,
            slowest_recovery: Duration::ZERO,
            judged: Judged::default(),
            violations: Vec::new(),
            logs: None,
            interrupted: None,
        }
    }

    pub(super) fn recovered(&mut self, took: Duration) {
        self.slowest_recovery = self.slowest_recovery.max(took);
    }

    pub(super) fn count(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation.outcome {
                Outcome::Done(_) => self.acknowledged += 1,
                Outcome::Refused => self.refused += 1,
                Outcome::Unknown => self.unknown += 1,
            }
        }
    }

    pub fn operations(&self) -> u64 {
        self.acknowledged + self.refused + self.unknown
    }

    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in self.violations.iter().take(SHOWN_MAX) {
            writeln!(f, "VIOLATION {violation}")?;
        }
        if self.violations.len() > SHOWN_MAX {
            writeln!(f, "and {} more", self.violations.len() - SHOWN_MAX)?;
        }
        if let Some(logs) = &self.logs {
            writeln!(f, "the members' logs are in {}", logs.display())?;
        }
        match self.interrupted {
            None => writeln!(f, "judged: {}", self.judged)?,
            Some(interrupted) => writeln!(f, "{interrupted}: what clients saw is not judged")?,
        }
        let interrupted = self.interrupted.map_or(String::new(), |interrupted| format!(", {interrupted}"));
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        write!(
            f,
            "chaos: {} members, {}, seed {}, {} s{interrupted}: {} operations ({} done, {} refused, {} unknown) to revision {}; {} faults ({}); slowest recovery {:.1} s; {} violations",
            self.plan.members,
            if self.plan.tls { "TLS" } else { "no TLS" },
            self.plan.seed,
            self.struck_for.as_secs(),
            self.operations(),
            self.acknowledged,
            self.refused,
            self.unknown,
            self.revisions,
            self.fault_count(),
            faults.join(", "),
            self.slowest_recovery.as_secs_f64(),
            self.violations.len(),
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        write!(f, "{} for {} ms", faults.join(" with "), self.hold.as_millis())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |member: &usize| format!("m{}", member + 1);
        let names = |members: &[usize]| members.iter().map(name).collect::<Vec<_>>().join(" ");
        let kind = self.kind();
        match self {
            Fault::Partition(members) => write!(f, "{kind} of {} from the others", names(members)),
            Fault::OneWay { member, sends: true } => write!(f, "{kind}: what {} sends is lost", name(member)),
            Fault::OneWay { member, sends: false } => write!(f, "{kind}: {} hears nothing", name(member)),
            Fault::Loss(percent) => write!(f, "{kind} of {percent} %"),
            Fault::Delay(least, more) => {
                write!(f, "{kind} of {} to {} ms", least.as_millis(), (*least + *more).as_millis())
            }
            Fault::Kill(members) | Fault::Pause(members) | Fault::PowerCut(members) => {
                write!(f, "{kind} of {}", names(members))
            }
            Fault::SlowDisk(member, writes) => write!(f, "{kind} of {}: {writes} writes/s", name(member)),
            Fault::ClockOffset(member, seconds) => write!(f, "{kind} of {}: {seconds} s", name(member)),
            Fault::Terminate(member) | Fault::DiskStall(member) | Fault::DiskFull(member) | Fault::Replace(member) => {
                write!(f, "{kind} of {}", name(member))
            }
            Fault::RollingRestart => write!(f, "{kind}"),
        }
    }
}
