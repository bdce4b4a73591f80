//! NOSPACE: raised once by whoever saw a write go over its quota, and nobody told so without reason.

use std::collections::BTreeMap;

use crate::counts::Counts;
use crate::model::Answer;

/// An alarm is proposed again at the earliest after this long, by clocks that may be wrong.
const AGAIN_MICROS_MIN: u64 = 4_500_000;

/// See the module.
#[derive(Default)]
pub struct AlarmJudge {
    /// By (member, boot): when it last proposed the alarm.
    proposed: BTreeMap<(u64, u64), u64>,
    /// One that came too soon.
    repeated: Option<String>,
}

/// What is known of a command beside its answer: how large the database was before it, and what it was estimated to cost.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub before_bytes: u64,
    pub cost_bytes: u64,
}

impl AlarmJudge {
    /// A member proposes the alarm.
    pub fn proposed(&mut self, now: u64, member: u64, boot: u64) {
        let before = self.proposed.insert((member, boot), now);
        if let Some(before) = before.filter(|before| now < before + AGAIN_MICROS_MIN) {
            let millis = (now - before) / 1_000;
            self.repeated.get_or_insert(format!("member {member} raises NOSPACE again after {millis} ms"));
        }
    }

    /// The alarm of a member takes effect.
    ///
    /// # Errors
    /// It was proposed too soon after another.
    pub fn raised(&mut self, counts: &mut Counts) -> Result<(), String> {
        counts.add("alarms: raised");
        self.repeated.take().map_or(Ok(()), Err)
    }

    /// What a member with this quota must answer: what the history says, or NoSpace when its own database is too large for a
    /// write that was applied all the same.
    pub fn expected(expected: &Answer, size: Size, quota_bytes: Option<u64>, counts: &mut Counts) -> Answer {
        let Some(quota) = quota_bytes else { return expected.clone() };
        let over = size.cost_bytes > 0 && size.before_bytes + size.cost_bytes >= quota;
        counts.add("alarms: answers under a quota checked");
        if over && expected.error.is_none() {
            counts.add("alarms: writes over the quota applied and answered with NoSpace");
            return Answer::of_error(quorate_api::Error::NoSpace);
        }
        expected.clone()
    }
}
