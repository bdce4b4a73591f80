//! Integrity through the handle: what is compared with other members, and the replacement of a state that is wrong.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use quorate_api::Error as ApiError;
use quorate_core::apply;
use quorate_core::command::Request;
use quorate_core::integrity::{self, NOBODY};
use quorate_core::log::MemberId;
use quorate_core::mvcc;
use tokio::sync::oneshot;

use super::{ReadView, Store};
use crate::backend;
use crate::inbox::{Input, Rebuilt};

impl Store {
    /// Replaces this member's state by its leader's; answers when it is in use.
    ///
    /// # Errors
    /// The server is stopping, or another rebuild took this one's place.
    pub async fn rebuild(&self) -> Result<Rebuilt, ApiError> {
        let (sender, done) = oneshot::channel();
        if !self.0.inbox.push(Input::Rebuild(sender)) {
            return Err(ApiError::Stopped);
        }
        done.await.map_err(|_| ApiError::Stopped)
    }

    /// Whether a member's CORRUPT alarm is raised.
    pub fn is_corrupt(&self, member: MemberId) -> bool {
        self.status().is_corrupt(member)
    }

    /// Whether this member's data are known to be wrong: its CORRUPT alarm is raised, or it found damage itself and nobody may know of it
    /// yet.
    pub fn is_wrong(&self) -> bool {
        self.is_damaged() || self.is_corrupt(self.identity().member_id)
    }

    /// Whether this member serves no data: they are wrong, or members differ and nobody knows whose are right.
    pub fn is_quarantined(&self) -> bool {
        self.is_wrong() || self.is_corrupt(NOBODY)
    }

    /// As `view`, for what is made of the data.
    ///
    /// # Errors
    /// As `view`; a quarantined member shows its data to nobody, also not to who asked before.
    pub fn served_view(&self) -> Result<ReadView, ApiError> {
        if self.is_quarantined() { Err(ApiError::Corrupt) } else { self.view() }
    }

    /// Completes when this member serves no data any more; never if that never comes.
    pub async fn quarantined(&self) {
        let mut changes = self.changes();
        while !self.is_quarantined() {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What was read is not what was written. This member serves no data from now on, and CORRUPT is raised (`integrity::confess`).
    pub fn report_damage(&self, what: &dyn Display) {
        if self.0.damaged.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(
            member = format!("{:x}", self.identity().member_id),
            error = %what,
            "this member's data are damaged, it serves none of them; rebuild it from the others: quoratectl member rebuild"
        );
        self.0.changed.send_modify(|changes| *changes += 1);
    }

    /// Reports damage if that is why a read failed; returns whether it was.
    pub fn report_damage_of(&self, error: &mvcc::Error) -> bool {
        let damage = error.is_damage(backend::is_corruption);
        if damage {
            self.report_damage(error);
        }
        damage
    }

    /// As `report_damage_of`, of what kept a committed entry from being applied. What is wrong with the entry itself is the same on
    /// every member, and no damage of this one.
    pub fn report_damage_to_apply(&self, error: &apply::Error) -> bool {
        match error {
            apply::Error::Rows(rows) => self.report_damage_of(rows),
            apply::Error::Members(_) | apply::Error::Torn { .. } => {
                self.report_damage(error);
                true
            }
            apply::Error::Command { .. } | apply::Error::Change { .. } | apply::Error::FeatureLevel { .. } => false,
        }
    }

    /// The state was replaced by another member's.
    pub fn damage_is_healed(&self) {
        self.0.damaged.store(false, Ordering::Release);
    }

    /// Whether damage was found here and not repaired yet.
    pub fn is_damaged(&self) -> bool {
        self.0.damaged.load(Ordering::Acquire)
    }

    /// Raises this member's own CORRUPT alarm, or takes it back; does nothing when it is so already.
    ///
    /// # Errors
    /// As `propose`.
    pub async fn set_corrupt(&self, corrupt: bool) -> Result<(), ApiError> {
        let member_id = self.identity().member_id;
        if self.is_corrupt(member_id) == corrupt {
            return Ok(());
        }
        self.propose(Request::Alarm(integrity::corrupt(member_id, corrupt))).await.map(|_| ())
    }
}
