//! The replacement of a member's state by its leader's, when it is known to be wrong: raft asks for a snapshot although the log has no
//! gap, and it is installed as any other. The member keeps its id, term, vote and the place of its log, so it forgets no vote that it
//! gave: an empty disk under a voter's id could elect a second leader.

use crate::apply::Alarms;
use crate::node::Status;
use crate::replica::Role;

/// Between two tries to hand leadership over, or to take the alarm back, in milliseconds.
const AGAIN_MS: u64 = 2_000;

/// What the member does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Asks its leader for a snapshot; said again and again until one is installed.
    AskForSnapshot,
    /// Gives leadership to another voter, if one has caught up.
    HandOver,
    /// Proposes that its CORRUPT alarm is lowered.
    TakeAlarmBack,
}

/// Whose state would be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// The member's own.
    This,
    /// Another's, of which nothing bad is known.
    Other,
    /// Another's that is wrong too, by its CORRUPT alarm.
    Wrong,
}

impl Leader {
    /// As a member with this status and these alarms sees it.
    pub fn of(status: &Status, alarms: &Alarms) -> Leader {
        match status.role {
            Role::Leader => Leader::This,
            _ if alarms.is_corrupt(status.leader) => Leader::Wrong,
            _ => Leader::Other,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Asked,
    /// The state is new, and this member's CORRUPT alarm has to go.
    Healed,
}

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuild {
    phase: Phase,
    tried_ms: Option<u64>,
}

impl Rebuild {
    /// Somebody asked for it, as `quoratectl member rebuild` does.
    pub fn ask(&mut self) {
        *self = Rebuild { phase: Phase::Asked, tried_ms: None };
    }

    /// Nobody asked for it, or it is over.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// A snapshot was installed. Returns whether it is what was asked for.
    pub fn installed(&mut self) -> bool {
        let asked = self.phase == Phase::Asked;
        if asked {
            *self = Rebuild { phase: Phase::Healed, tried_ms: None };
        }
        asked
    }

    /// The next step of a member that found damage which is not repaired (`damaged`), whose CORRUPT alarm is raised (`corrupt`). A leader
    /// whose state is wrong gives the lead away before anybody asks for its rebuild, because others are given that state as a snapshot;
    /// until it did, nobody asks for it.
    pub fn step(&mut self, now_ms: u64, leader: Leader, damaged: bool, corrupt: bool) -> Option<Step> {
        if self.phase == Phase::Healed && (damaged || !corrupt) {
            *self = Rebuild::default();
        }
        let step = match (self.phase, leader) {
            (Phase::Asked, Leader::Other) => return Some(Step::AskForSnapshot),
            (Phase::Asked, Leader::This) => Step::HandOver,
            (Phase::Idle, Leader::This) if damaged || corrupt => Step::HandOver,
            (Phase::Healed, _) => Step::TakeAlarmBack,
            (Phase::Idle, _) | (Phase::Asked, Leader::Wrong) => return None,
        };
        let due = self.tried_ms.is_none_or(|at| now_ms >= at + AGAIN_MS);
        if due {
            self.tried_ms = Some(now_ms);
        }
        due.then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_asks_until_a_snapshot_is_installed_and_then_lowers_its_alarm() {
        let mut rebuild = Rebuild::default();
        assert_eq!(rebuild.step(0, Leader::Other, true, true), None, "nobody has asked");
        assert!(!rebuild.installed(), "a snapshot of a member that lags");
        rebuild.ask();
        assert_eq!(rebuild.step(0, Leader::Wrong, true, true), None, "what it would get is wrong too");
        assert_eq!([1, 2].map(|at| rebuild.step(at, Leader::Other, true, true)), [Some(Step::AskForSnapshot); 2]);
        assert!(rebuild.installed() && !rebuild.is_idle());
        let steps = [10, 2_009, 2_010].map(|at| rebuild.step(at, Leader::Other, false, true));
        assert_eq!(steps, [Some(Step::TakeAlarmBack), None, Some(Step::TakeAlarmBack)]);
        assert_eq!((rebuild.step(2_020, Leader::Other, false, false), rebuild), (None, Rebuild::default()));
    }

    #[test]
    fn damage_after_a_rebuild_keeps_the_alarm() {
        let mut rebuild = Rebuild::default();
        rebuild.ask();
        assert!(rebuild.installed());
        assert_eq!((rebuild.step(0, Leader::Other, true, true), rebuild), (None, Rebuild::default()));
    }

    #[test]
    fn a_leader_hands_over_first_when_it_is_asked_or_when_it_is_known_to_be_wrong() {
        let mut rebuild = Rebuild::default();
        assert_eq!(rebuild.step(0, Leader::This, false, false), None);
        let steps = [0, 1_999, 2_000].map(|at| rebuild.step(at, Leader::This, false, true));
        assert_eq!(steps, [Some(Step::HandOver), None, Some(Step::HandOver)]);
        rebuild.ask();
        assert_eq!(rebuild.step(2_001, Leader::This, false, false), Some(Step::HandOver));
        assert_eq!(rebuild.step(2_002, Leader::Other, false, false), Some(Step::AskForSnapshot));
    }
}
