//! Integrity through the handle: what is compared with other members, and the replacement of a state that is wrong.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, AlarmType, alarm_request::AlarmAction};
use quorate_core::command::Request;
use quorate_core::log::MemberId;
use tokio::sync::oneshot;

use super::Store;
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

    /// Raises a member's CORRUPT alarm, or takes it back; does nothing when it is so already.
    ///
    /// # Errors
    /// As `propose`.
    pub async fn set_corrupt(&self, member_id: MemberId, corrupt: bool) -> Result<(), ApiError> {
        if self.is_corrupt(member_id) == corrupt {
            return Ok(());
        }
        let action = if corrupt { AlarmAction::Activate } else { AlarmAction::Deactivate };
        let alarm = pb::AlarmRequest { action: action.into(), member_id, alarm: AlarmType::Corrupt.into() };
        self.propose(Request::Alarm(alarm)).await.map(|_| ())
    }
}
