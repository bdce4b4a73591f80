//! What a run is to do, and the faults that are drawn from its seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How long a fault stays, at least and at most: below, at and above an election timeout of one second.
const HOLD_MS: std::ops::RangeInclusive<u64> = 200..=3_500;

/// Of this many steps one has two faults at once.
const TWO_AT_ONCE_ONE_IN: u32 = 3;

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// 3 or 5.
    pub members: usize,
    /// For so long faults strike; the way back and the check come on top.
    pub duration: Duration,
    pub seed: u64,
    /// TLS for clients and peers, both with certificates required.
    pub tls: bool,
    pub kinds: Vec<Kind>,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The network in two, clients on neither side.
    Partition,
    /// Packets of one member reach nobody, though it hears all; or the other way round.
    OneWay,
    /// Of all packets some are lost.
    Loss,
    /// All packets come late and, where the delay varies, out of order.
    Delay,
    /// SIGKILL.
    Kill,
    /// SIGTERM, which must end in exit status 0.
    Terminate,
    /// SIGSTOP, later SIGCONT.
    Pause,
    /// The disk stops without a flush, then SIGKILL.
    PowerCut,
    /// Writes to the disk wait.
    DiskStall,
    /// Few writes a second.
    SlowDisk,
    /// No space is left.
    DiskFull,
    /// Killed and started with another monotonic clock and another clock since boot.
    ClockOffset,
    /// Removed, wiped, added as a learner, promoted.
    Replace,
    /// SIGTERM and start, one member after the other.
    RollingRestart,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::Partition,
        Kind::OneWay,
        Kind::Loss,
        Kind::Delay,
        Kind::Kill,
        Kind::Terminate,
        Kind::Pause,
        Kind::PowerCut,
        Kind::DiskStall,
        Kind::SlowDisk,
        Kind::DiskFull,
        Kind::ClockOffset,
        Kind::Replace,
        Kind::RollingRestart,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Partition => "partition",
            Kind::OneWay => "one-way",
            Kind::Loss => "loss",
            Kind::Delay => "delay",
            Kind::Kill => "kill",
            Kind::Terminate => "terminate",
            Kind::Pause => "pause",
            Kind::PowerCut => "power-cut",
            Kind::DiskStall => "disk-stall",
            Kind::SlowDisk => "slow-disk",
            Kind::DiskFull => "disk-full",
            Kind::ClockOffset => "clock-offset",
            Kind::Replace => "replace",
            Kind::RollingRestart => "rolling-restart",
        }
    }

    /// Whether the fault is of the network, and so can come with one of a process or disk.
    pub fn is_network(self) -> bool {
        matches!(self, Kind::Partition | Kind::OneWay | Kind::Loss | Kind::Delay)
    }

    /// Whether both can be at once: one of the network, the other of a process or disk. What replaces or restarts members waits
    /// until that is done and the members serve again, which nobody promises across a partition.
    fn goes_with(self, other: Kind) -> bool {
        let waits = |kind| matches!(kind, Kind::Replace | Kind::RollingRestart);
        let parts = |kind| matches!(kind, Kind::Partition | Kind::OneWay);
        let apart = (waits(self) && parts(other)) || (parts(self) && waits(other));
        self.is_network() != other.is_network() && !apart
    }

    /// What happens when nothing else is asked for.
    pub fn default_mix() -> Vec<Kind> {
        Kind::ALL.to_vec()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("unknown fault {name}; there are: {}", names.join(", "))
        })
    }
}

/// A fault as drawn: members are places in the cluster, from 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// These against the others.
    Partition(Vec<usize>),
    /// The packets that a member sends, or those that it should get.
    OneWay {
        member: usize,
        sends: bool,
    },
    /// Packets lost of a hundred.
    Loss(u32),
    /// At least, and up to so much more.
    Delay(Duration, Duration),
    Kill(Vec<usize>),
    Terminate(usize),
    Pause(Vec<usize>),
    PowerCut(Vec<usize>),
    DiskStall(usize),
    /// Writes a second.
    SlowDisk(usize, u32),
    DiskFull(usize),
    ClockOffset(usize, i64),
    Replace(usize),
    RollingRestart,
}

impl Fault {
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Partition(_) => Kind::Partition,
            Fault::OneWay { .. } => Kind::OneWay,
            Fault::Loss(_) => Kind::Loss,
            Fault::Delay(..) => Kind::Delay,
            Fault::Kill(_) => Kind::Kill,
            Fault::Terminate(_) => Kind::Terminate,
            Fault::Pause(_) => Kind::Pause,
            Fault::PowerCut(_) => Kind::PowerCut,
            Fault::DiskStall(_) => Kind::DiskStall,
            Fault::SlowDisk(..) => Kind::SlowDisk,
            Fault::DiskFull(_) => Kind::DiskFull,
            Fault::ClockOffset(..) => Kind::ClockOffset,
            Fault::Replace(_) => Kind::Replace,
            Fault::RollingRestart => Kind::RollingRestart,
        }
    }
}

/// What comes at once, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub faults: Vec<Fault>,
    pub hold: Duration,
    /// All members must serve before the next step.
    pub then_all_back: bool,
    pub quiet: Duration,
}

/// The faults of a run, in order. The same seed draws the same ones; when they strike is the machine's.
pub struct Draws {
    rng: ChaCha8Rng,
    members: usize,
    kinds: Vec<Kind>,
    /// Kinds of this round that have not come yet, so that a short run has seen them all.
    left: Vec<Kind>,
}

impl Draws {
    pub fn new(plan: &Plan, rng: ChaCha8Rng) -> Draws {
        Draws { rng, members: plan.members, kinds: plan.kinds.clone(), left: Vec::new() }
    }

    pub fn step(&mut self) -> Step {
        let first = self.kind();
        let mut kinds = vec![first];
        if self.rng.random_ratio(1, TWO_AT_ONCE_ONE_IN) {
            let other = self.kind();
            if first.goes_with(other) {
                kinds.push(other);
            } else {
                // Not compatible: it comes later.
                self.left.push(other);
            }
        }
        // The network first: what restarts a member then meets it.
        kinds.sort_by_key(|kind| !kind.is_network());
        let faults = kinds.into_iter().map(|kind| self.fault(kind)).collect();
        Step {
            faults,
            hold: Duration::from_millis(self.rng.random_range(HOLD_MS)),
            then_all_back: self.rng.random_ratio(1, 3),
            quiet: Duration::from_millis(self.rng.random_range(0..1_000)),
        }
    }

    fn kind(&mut self) -> Kind {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        let place = self.rng.random_range(0..self.left.len());
        self.left.swap_remove(place)
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        let member = self.rng.random_range(0..self.members);
        match kind {
            Kind::Partition => Fault::Partition(self.some(self.members - 1)),
            Kind::OneWay => Fault::OneWay { member, sends: self.rng.random() },
            Kind::Loss => Fault::Loss(self.rng.random_range(2..=30)),
            Kind::Delay => {
                let least = self.rng.random_range(5..=200);
                let more = self.rng.random_range(0..=least);
                Fault::Delay(Duration::from_millis(least), Duration::from_millis(more))
            }
            Kind::Kill => Fault::Kill(self.some(self.members)),
            Kind::Terminate => Fault::Terminate(member),
            Kind::Pause => Fault::Pause(self.some(self.members)),
            Kind::PowerCut => Fault::PowerCut(self.some(self.members)),
            Kind::DiskStall => Fault::DiskStall(member),
            Kind::SlowDisk => Fault::SlowDisk(member, self.rng.random_range(5..=60)),
            Kind::DiskFull => Fault::DiskFull(member),
            // Up to a hundred days.
            Kind::ClockOffset => Fault::ClockOffset(member, self.rng.random_range(0..8_640_000)),
            Kind::Replace => Fault::Replace(member),
            Kind::RollingRestart => Fault::RollingRestart,
        }
    }

    /// One to `most` members.
    fn some(&mut self, most: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.members).collect();
        for last in (1..all.len()).rev() {
            all.swap(last, self.rng.random_range(0..=last));
        }
        all.truncate(self.rng.random_range(1..=most));
        all
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn steps(seed: u64, count: usize) -> Vec<Step> {
        let kinds = Kind::default_mix();
        let plan = Plan { members: 3, duration: Duration::ZERO, seed, tls: true, kinds };
        let mut draws = Draws::new(&plan, ChaCha8Rng::seed_from_u64(seed));
        (0..count).map(|_| draws.step()).collect()
    }

    #[test]
    fn a_seed_draws_the_same_faults_again_and_every_kind_soon() {
        assert_eq!(steps(7, 50), steps(7, 50));
        assert_ne!(steps(7, 50), steps(8, 50));
        for kind in Kind::default_mix() {
            let drawn = steps(7, 2 * Kind::ALL.len())
                .iter()
                .flat_map(|step| step.faults.clone())
                .any(|fault| fault.kind() == kind);
            assert!(drawn, "{kind} was not drawn");
        }
    }

    #[test]
    fn names_of_faults_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("earthquake".parse::<Kind>().unwrap_err().contains("partition"));
    }
}
