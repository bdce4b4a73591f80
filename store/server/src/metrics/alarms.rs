//! Which alarms are raised, by member and type.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use prometheus::{IntGaugeVec, Registry};
use quorate_api::etcdserverpb::{AlarmMember, AlarmType};
use quorate_core::log::MemberId;

use super::gauges;

/// Alarms that are no longer raised and still shown, as 0: any client may raise them in the name of members that do not exist.
const LOWERED_SHOWN_MAX: usize = 64;

/// Set when somebody scrapes.
pub struct Alarms {
    raised: IntGaugeVec,
    shown: Mutex<BTreeSet<(MemberId, i32)>>,
}

impl Alarms {
    pub(super) fn new(registry: &Registry) -> Alarms {
        let help = "1 while a member's alarm is raised.";
        let raised = gauges(registry, "etcd_debugging_server_alarms", help, &["server_id", "alarm_type"]);
        Alarms { raised, shown: Mutex::default() }
    }

    /// Shows 1 for these, and 0 for those that were shown before.
    pub fn set(&self, raised: &[AlarmMember]) {
        let raised: BTreeSet<_> = raised.iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let lowered: Vec<_> = shown.difference(&raised).copied().collect();
        for (count, alarm) in (1..).zip(lowered) {
            if count > LOWERED_SHOWN_MAX {
                let (member, kind) = labels(alarm);
                // It is there: it was shown.
                let _ = self.raised.remove_label_values(&[&member, &kind]);
                shown.remove(&alarm);
            } else {
                self.show(alarm, 0);
            }
        }
        for alarm in raised {
            self.show(alarm, 1);
            shown.insert(alarm);
        }
    }

    fn show(&self, alarm: (MemberId, i32), value: i64) {
        let (member, kind) = labels(alarm);
        self.raised.with_label_values(&[&member, &kind]).set(value);
    }
}

/// As Go writes them: the id in hex, and a number for a type that has no name.
fn labels((member, kind): (MemberId, i32)) -> (String, String) {
    let name = AlarmType::try_from(kind).map_or_else(|_| kind.to_string(), |kind| kind.as_str_name().to_owned());
    (format!("{member:x}"), name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Encoder as _, TextEncoder};

    fn shown(registry: &Registry) -> Vec<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("etcd_debugging_server_alarms")).map(str::to_owned).collect()
    }

    fn raised(member_id: MemberId, alarm: i32) -> AlarmMember {
        AlarmMember { member_id, alarm }
    }

    #[test]
    fn an_alarm_is_1_while_it_is_raised_and_0_from_then_on() {
        let registry = Registry::new();
        let alarms = Alarms::new(&registry);
        alarms.set(&[raised(0x1f, AlarmType::Nospace.into()), raised(0x1f, 9)]);
        alarms.set(&[raised(0x1f, 9), raised(0x2f, AlarmType::Corrupt.into())]);
        assert_eq!(
            shown(&registry),
            [
                "{alarm_type=\"9\",server_id=\"1f\"} 1",
                "{alarm_type=\"CORRUPT\",server_id=\"2f\"} 1",
                "{alarm_type=\"NOSPACE\",server_id=\"1f\"} 0",
            ]
        );
    }

    #[test]
    fn alarms_of_members_that_a_client_made_up_do_not_stay_for_ever() {
        let registry = Registry::new();
        let alarms = Alarms::new(&registry);
        for member in 1..=1_000 {
            alarms.set(&[raised(member, AlarmType::Nospace.into())]);
        }
        assert_eq!(shown(&registry).len(), LOWERED_SHOWN_MAX + 1);
        alarms.set(&[]);
        assert!(shown(&registry).iter().all(|line| line.ends_with(" 0")));
    }
}
