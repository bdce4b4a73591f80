//! The faults of a run, drawn from the seed before anything happens: what, when, and a seed of its own for each one's details.
//!
//! So one fault can be left out (`Options::only`) and the others strike as before, which is what shrinking needs.

use crate::chance::Chance;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Crash,
    /// Crash between two effects that are still to come.
    CrashSoon,
    /// Who does not lead dies right after its next sync: it has acknowledged what nothing on its disk shows yet.
    CrashAfterSync,
    Partition,
    OneWay,
    Pause,
    SlowDisk,
    Storm,
    HandOver,
    /// The power fails while the next group is synced.
    CutInSync,
    /// The next sync fails.
    FailSync,
    /// The process dies while it creates a segment of the log.
    TearSegment,
    /// Neither the log nor the database can grow for a while.
    FullDisk,
    /// A bit of the log or of the database flips.
    Damage,
    /// A row changes so that no checksum of a block shows it.
    Rot,
    /// An entry is applied as something else.
    Diverge,
    /// A clock runs faster or slower from now on.
    ClockRate,
    /// A clock jumps forward: several ticks at once.
    ClockJump,
    /// The leader alone is cut off, and its clock is slow: it goes on believing for as long as it can.
    StrandLeader,
    /// The leader's disk is slow: the others apply before it does.
    SlowLeader,
}

impl Kind {
    /// Whether it strikes the leader, if there is one.
    pub fn is_for_leader(self) -> bool {
        matches!(self, Kind::StrandLeader | Kind::SlowLeader)
    }

    /// Whether it strikes who does not lead, if there is such a one.
    pub fn is_for_follower(self) -> bool {
        self == Kind::CrashAfterSync
    }

    /// The line in the trace; `{}` is the fault's number.
    pub fn line(self) -> &'static str {
        match self {
            Kind::Crash => "fault {}: it crashes",
            Kind::CrashSoon => "fault {}: it crashes between two effects",
            Kind::CrashAfterSync => "fault {}: it dies after its next sync",
            Kind::Partition => "fault {}: a partition",
            Kind::OneWay => "fault {}: a partition in one direction",
            Kind::Pause => "fault {}: a pause",
            Kind::SlowDisk => "fault {}: another speed of its disk",
            Kind::Storm => "fault {}: another weather of the network",
            Kind::HandOver => "fault {}: leadership shall go to it",
            Kind::CutInSync => "fault {}: the power fails in its next sync",
            Kind::FailSync => "fault {}: its next sync fails",
            Kind::TearSegment => "fault {}: it dies when its log begins a segment",
            Kind::FullDisk => "fault {}: its disk is full",
            Kind::Damage => "fault {}: damage on its disk",
            Kind::Rot => "fault {}: one of its rows changes",
            Kind::Diverge => "fault {}: it will apply a put as another",
            Kind::ClockRate => "fault {}: another rate of its clock",
            Kind::ClockJump => "fault {}: its clock jumps",
            Kind::StrandLeader => "fault {}: the leader is cut off with a slow clock",
            Kind::SlowLeader => "fault {}: the leader's disk is slow",
        }
    }
}

/// Each as often as it stands here.
pub const KINDS: [Kind; 29] = [
    Kind::FullDisk,
    Kind::CutInSync,
    Kind::CutInSync,
    Kind::Crash,
    Kind::Crash,
    Kind::CrashSoon,
    Kind::CrashSoon,
    Kind::CrashAfterSync,
    Kind::CrashAfterSync,
    Kind::Partition,
    Kind::Partition,
    Kind::Partition,
    Kind::OneWay,
    Kind::OneWay,
    Kind::Pause,
    Kind::Pause,
    Kind::SlowDisk,
    Kind::Storm,
    Kind::Storm,
    Kind::HandOver,
    Kind::FailSync,
    Kind::TearSegment,
    Kind::Damage,
    Kind::Rot,
    Kind::Diverge,
    Kind::ClockRate,
    Kind::ClockJump,
    Kind::StrandLeader,
    Kind::SlowLeader,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its place in the plan, from 1; what `--faults` names.
    pub number: u32,
    pub at_micros: u64,
    pub kind: Kind,
    /// Of its details: whom it strikes, how hard, how long.
    pub seed: u64,
}

/// The faults below `end_micros`, of these kinds. A longer plan of the same seed begins with the same faults.
pub fn draw(seed: u64, end_micros: u64, kinds: &[Kind]) -> Vec<Fault> {
    let mut chance = Chance::new(seed ^ 0x706c_616e);
    let (mut faults, mut at_micros) = (Vec::new(), 0);
    for number in 1.. {
        at_micros += chance.between(50_000, 900_000);
        let fault = Fault { number, at_micros, kind: chance.pick(kinds), seed: chance.next() };
        if at_micros >= end_micros {
            break;
        }
        faults.push(fault);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_plan_begins_with_the_shorter_one() {
        let (short, long) = (draw(5, 5_000_000, &KINDS), draw(5, 50_000_000, &KINDS));
        assert_eq!(short, long[..short.len()]);
        assert!(long.len() > 60 && long.iter().all(|fault| fault.at_micros < 50_000_000));
    }
}
