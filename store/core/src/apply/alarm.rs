//! Alarms: which members raised which, replicated so that all members refuse the same writes.
//!
//! Rows of `meta`: `alarm` ∥ type ∥ member → nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_api::etcdserverpb::{self as pb, alarm_request::AlarmAction};

use super::{Response, Turn};
use crate::backend::{Family, View};
use crate::log::MemberId;
use crate::mvcc::Error;
use crate::mvcc::rows::{FORMAT, body};

const PREFIX: &[u8] = b"alarm";
const AFTER_PREFIX: &[u8] = b"alarn";

/// The alarms that are raised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alarms {
    /// (type, member)
    pub(super) raised: BTreeSet<(i32, MemberId)>,
}

impl FromIterator<pb::AlarmMember> for Alarms {
    fn from_iter<I: IntoIterator<Item = pb::AlarmMember>>(raised: I) -> Alarms {
        Alarms { raised: raised.into_iter().map(|raised| (raised.alarm, raised.member_id)).collect() }
    }
}

impl Alarms {
    pub(super) fn load(view: &dyn View) -> Result<Alarms, Error> {
        let mut raised = BTreeSet::new();
        let mut cursor = view.cursor(Family::Meta, PREFIX, Some(AFTER_PREFIX))?;
        while let Some(row) = cursor.next()? {
            body(Family::Meta, row.key, row.value, 0)?;
            let alarm =
                read_key(row.key).ok_or_else(|| Error::malformed(Family::Meta, row.key, "it is not an alarm"))?;
            raised.insert(alarm);
        }
        Ok(Alarms { raised })
    }

    pub fn is_empty(&self) -> bool {
        self.raised.is_empty()
    }

    /// Whether any member raised it.
    pub fn is_raised(&self, alarm: pb::AlarmType) -> bool {
        self.iter().any(|raised| raised.alarm == alarm as i32)
    }

    /// Whether this member's CORRUPT is raised.
    pub fn is_corrupt(&self, member: MemberId) -> bool {
        self.raised.contains(&(pb::AlarmType::Corrupt.into(), member))
    }

    /// Members whose CORRUPT is raised.
    pub fn corrupt(&self) -> impl Iterator<Item = MemberId> + '_ {
        let corrupt = i32::from(pb::AlarmType::Corrupt);
        self.raised.iter().filter(move |(alarm, _)| *alarm == corrupt).map(|(_, member)| *member)
    }

    /// By type, then by member.
    pub fn iter(&self) -> impl Iterator<Item = pb::AlarmMember> + '_ {
        self.raised.iter().map(|&(alarm, member_id)| pb::AlarmMember { member_id, alarm })
    }
}

pub(super) fn row_key(alarm: i32, member: MemberId) -> Bytes {
    [PREFIX, &alarm.to_be_bytes(), &member.to_be_bytes()].concat().into()
}

fn read_key(key: &[u8]) -> Option<(i32, MemberId)> {
    let (alarm, member) = key.strip_prefix(PREFIX)?.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*alarm), MemberId::from_be_bytes(member.try_into().ok()?)))
}

impl Turn<'_> {
    pub(super) fn alarm(&mut self, request: &pb::AlarmRequest) -> Response {
        let pb::AlarmRequest { action, member_id, alarm } = *request;
        let none = pb::AlarmType::None as i32;
        let alarms = match AlarmAction::try_from(action) {
            Ok(AlarmAction::Get) => {
                self.machine.alarms.iter().filter(|raised| alarm == none || raised.alarm == alarm).collect()
            }
            Ok(AlarmAction::Activate) if alarm != none => {
                if self.machine.alarms.raised.insert((alarm, member_id)) {
                    self.rows.put(Family::Meta, row_key(alarm, member_id), Bytes::from_static(&[FORMAT]));
                    self.alarms_changed = true;
                }
                vec![pb::AlarmMember { member_id, alarm }]
            }
            Ok(AlarmAction::Deactivate) if self.machine.alarms.raised.remove(&(alarm, member_id)) => {
                self.rows.delete(Family::Meta, row_key(alarm, member_id));
                self.alarms_changed = true;
                vec![pb::AlarmMember { member_id, alarm }]
            }
            // Raising nothing, lowering what is not raised, an action nobody knows: etcd answers with no alarm.
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_) => Vec::new(),
        };
        Response::Alarm(pb::AlarmResponse { header: self.header(), alarms })
    }
}
