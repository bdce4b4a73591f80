//! When a member that saw a write go over its quota raises the alarm: once, and again only if nothing came of it.

use quorate_api::etcdserverpb::{self as pb, alarm_request::AlarmAction};

use super::Alarms;
use crate::log::MemberId;

/// A NOSPACE alarm is proposed again when this long nothing came of the last one.
const AGAIN_AFTER_MS: u64 = 5_000;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSpace {
    proposed_ms: Option<u64>,
}

impl NoSpace {
    /// A write went over the quota of `member` at `now_ms`, by a clock that never falls: the alarm to propose, if any.
    pub fn alarm(&mut self, now_ms: u64, member: MemberId, alarms: &Alarms) -> Option<pb::AlarmRequest> {
        let no_space = i32::from(pb::AlarmType::Nospace);
        let raised = alarms.iter().any(|alarm| alarm.member_id == member && alarm.alarm == no_space);
        let recently = self.proposed_ms.is_some_and(|at| now_ms < at + AGAIN_AFTER_MS);
        if raised || recently {
            return None;
        }
        self.proposed_ms = Some(now_ms);
        Some(pb::AlarmRequest { action: AlarmAction::Activate.into(), member_id: member, alarm: no_space })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_is_proposed_once_and_again_when_nothing_came_of_it() {
        let mut no_space = NoSpace::default();
        let none = Alarms::default();
        assert!(no_space.alarm(1_000, 3, &none).is_some_and(|alarm| alarm.member_id == 3));
        assert_eq!(no_space.alarm(1_000 + AGAIN_AFTER_MS - 1, 3, &none), None);
        assert!(no_space.alarm(1_000 + AGAIN_AFTER_MS, 3, &none).is_some());
    }

    #[test]
    fn nothing_is_proposed_while_the_alarm_of_this_member_is_raised() {
        let raised = |member| Alarms { raised: [(i32::from(pb::AlarmType::Nospace), member)].into() };
        assert_eq!(NoSpace::default().alarm(0, 3, &raised(3)), None);
        assert!(NoSpace::default().alarm(0, 3, &raised(4)).is_some(), "each member raises its own");
    }
}
