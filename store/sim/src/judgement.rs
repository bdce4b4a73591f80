//! What the history brings to the judges of leases and alarms, and what each member must answer to a command.

use quorate_api::etcdserverpb::{self as pb, alarm_request::AlarmAction};
use quorate_core::apply::Machine;
use quorate_core::command::{CommandId, Request};
use quorate_core::log::{Entry, Index, MemberId};
use quorate_core::memory::Memory;

use crate::checkers::alarms::{AlarmJudge, Size};
use crate::model::{Answer, grows, writes};
use crate::world::{Executed, World, unreclaimed_bytes};

impl World {
    /// What this member must answer to a command.
    pub(crate) fn expected(&mut self, member: MemberId, executed: &Executed) -> Answer {
        let Executed { answer, size, .. } = executed;
        let size = Size { before_bytes: size.before_bytes + unreclaimed_bytes(member), ..*size };
        AlarmJudge::expected(answer, size, self.quota_bytes, &mut self.counts)
    }

    pub(crate) fn judge_before(&mut self, entry: &Entry, request: &Request) {
        if self.model.is_corrupt() && writes(request) {
            return self.counts.add("alarms: writes refused under CORRUPT");
        }
        if let Request::Alarm(alarm) = request
            && alarm.alarm() == pb::AlarmType::Corrupt
        {
            self.corrupt_at = self.now;
            return;
        }
        let judged = match request {
            Request::LeaseRevoke { id, expiry: Some(expiry) } => {
                if self.model.expires(*id, *expiry, entry.term) {
                    self.leases.expired(self.now, *id, expiry.grant_index, &mut self.counts)
                } else {
                    self.counts.add("leases: expiries of another grant or term without effect");
                    Ok(())
                }
            }
            Request::LeaseRevoke { id, expiry: None } if self.model.leases.contains_key(id) => {
                self.leases.revoked(self.now, *id);
                Ok(())
            }
            Request::Alarm(alarm) if alarm.action() == AlarmAction::Activate => self.alarms.raised(&mut self.counts),
            Request::Alarm(alarm) if alarm.action() == AlarmAction::Deactivate => {
                self.counts.add("alarms: disarmed");
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(why) = judged {
            self.violate(why);
        }
    }

    pub(crate) fn judge_after(&mut self, index: Index, request: &Request, answer: &Answer) {
        if let (Request::LeaseGrant(grant), None) = (request, &answer.error) {
            self.leases.granted(self.now, grant.id, index);
        }
        if self.model.is_corrupt() {
            self.corrupt_at = self.now;
        } else if self.model.is_raised(pb::AlarmType::Nospace) && !matches!(request, Request::Alarm(_)) {
            self.counts.add(match (grows(request), &answer.error) {
                (true, _) => "alarms: writes refused under NOSPACE",
                (false, _) => "alarms: what needs no space admitted under NOSPACE",
            });
        }
    }

    /// A member applied a command and answers it so, whoever asked.
    pub fn outcome(&mut self, member: MemberId, id: CommandId, answer: &Answer) {
        let Some(executed) = self.executed(id).cloned() else {
            return self.violate(format!("member {member} answers {id:?}, which is not in the history"));
        };
        self.counts.add("answers of all members compared");
        let expected = self.expected(member, &executed);
        if expected != *answer {
            let index = executed.index;
            self.violate(format!(
                "member {member} at {index} answers {id:?} with {answer:?}, the history says {expected:?}"
            ));
        }
    }

    /// The leader of `term` answers a lease question that was asked at `asked`.
    pub(crate) fn lease_answered(&mut self, asked: u64, term: u64) {
        if let Err(why) = self.leases.answered(asked, term, &mut self.counts) {
            self.violate(why);
        }
    }

    /// A client that asked at `asked` about a lease got the answer (milliseconds left or -1, TTL, index of the grant).
    pub fn lease_told(&mut self, asked: u64, id: i64, answer: &Answer) {
        let [left_ms, ttl_s, granted] = answer.numbers[..] else { return };
        let lease = self.model.leases.get(&id).copied();
        if let Err(why) = self.leases.existence(asked, id, lease.as_ref(), left_ms >= 0, &mut self.counts) {
            return self.violate(why);
        }
        let Ok(left_ms) = u64::try_from(left_ms) else { return };
        let whole_ms = u64::try_from(ttl_s).unwrap_or(0) * 1_000;
        let same = lease.filter(|lease| lease.grant_index == granted.cast_unsigned());
        self.counts.add("leases: times compared");
        if same.is_some_and(|lease| lease.ttl_seconds != ttl_s) || left_ms > whole_ms + 1_000 {
            let shown = format!("{left_ms} ms of {ttl_s} s");
            return self.violate(format!("lease {id} was said to have {shown} left, it was granted as {lease:?}"));
        }
        self.leases.promise(asked, id, granted.cast_unsigned(), left_ms * 1_000);
    }

    /// Everything works since `calm`: whatever should have expired is gone.
    pub fn check_late(&mut self, calm: u64) {
        if let Err(why) = self.leases.check_late(self.now, calm, &self.model.leases, &mut self.counts) {
            self.violate(why);
        }
    }

    /// Compares the leases of a member, their keys, its alarms and its size with the history, of which it has applied everything.
    pub fn compare_state(&mut self, member: MemberId, machine: &Machine, rows: &Memory) {
        if machine.applied().index != self.last() {
            return;
        }
        self.counts.add("leases, alarms and sizes compared");
        let leases = machine.leases().iter().map(|(id, lease)| (*id, lease.ttl_seconds, lease.grant_index));
        let expected = self.model.leases.iter().map(|(id, lease)| (*id, lease.ttl_seconds, lease.grant_index));
        if !leases.eq(expected) {
            let (found, expected) = (machine.leases(), &self.model.leases);
            let text = format!("member {member} has leases {found:?}, the history says {expected:?}");
            return self.violate(text);
        }
        for id in machine.leases().keys() {
            let found = quorate_core::apply::attached_keys(rows, *id);
            let expected = self.model.attached(*id);
            if !found.as_ref().is_ok_and(|found| *found == expected) {
                return self.violate(format!("member {member}: lease {id} holds {found:?}, not {expected:?}"));
            }
        }
        let alarms = machine.alarms().iter().map(|alarm| (alarm.alarm, alarm.member_id));
        if !alarms.eq(self.model.alarms.iter().copied()) {
            return self.violate(format!("member {member} has alarms {:?}", machine.alarms()));
        }
        let (found, expected) = (machine.size_in_use_bytes(), self.model.size_in_use_bytes());
        if found != expected {
            self.violate(format!("member {member} has {found} bytes in use, the history says {expected}"));
        }
    }
}
