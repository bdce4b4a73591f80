//! Membership and leadership through the handle: changes with etcd's strict checks, promotion of learners that caught up, hand-over.

use std::time::Instant;

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;
use quorate_core::log::{Index, MemberId};
use quorate_core::membership::{self, Change, Proposed, Refused};
use quorate_core::node::{Event, Payload, Proposal};
use tokio::sync::oneshot;

use super::Store;
use crate::inbox::{Input, Inspection};
use crate::peer::{Call, Reply};
use crate::reconfig;

/// Learners that a joint change may leave behind, whatever the flag says.
const JOINT_LEARNERS_MAX: u32 = 2;

impl Store {
    /// Changes the membership and waits until this member applied the change; `expected_index` guards it.
    ///
    /// # Errors
    /// etcd's of the Cluster service, or the guard's.
    pub async fn change(&self, change: Change, expected_index: Option<Index>) -> Result<(), Refused> {
        let id = self.next_id();
        // Two learners are what a joint change promotes, so that the number of voters stays odd.
        let learners_max = match &change {
            Change::Joint(_) => self.0.learners_max.max(JOINT_LEARNERS_MAX),
            _ => self.0.learners_max,
        };
        let proposed = Proposed { id, change, expected_index, learners_max };
        self.0.membership.load().check(&proposed, self.status().feature_level)?;
        let (_waiting, answer) = self.0.proposals.wait_change(id.counter);
        let began = Instant::now();
        self.hand_over(Proposal { id, payload: Payload::Change(proposed) })?;
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ApiError::Stopped.into()),
            Err(_) => Err(self.timeout_since(began).into()),
        }
    }

    /// As etcd's Cluster service does it: with the strict checks, whatever the configuration index is. Returns all members.
    ///
    /// # Errors
    /// etcd's of the Cluster service.
    pub async fn change_membership(&self, change: Change) -> Result<Vec<pb::Member>, ApiError> {
        let promotes = matches!(change, Change::Promote(_));
        let changed = self.change_checked(change).await;
        if promotes {
            self.note_promotion(changed.as_ref().err());
        }
        changed
    }

    /// Counts a promotion that was asked of this member, and why it failed if it did; only on a leader, as etcd does.
    pub fn note_promotion(&self, failed: Option<&impl std::fmt::Display>) {
        if !self.status().is_leader() {
            return;
        }
        match failed {
            None => self.metrics().server.promotions.inc(),
            Some(error) => self.metrics().server.promotion_failed(&error.to_string()),
        }
    }

    async fn change_checked(&self, change: Change) -> Result<Vec<pb::Member>, ApiError> {
        if self.0.strict_reconfig {
            reconfig::check(&self.membership(), &change, self.0.identity.member_id, &self.0.peers.connected())?;
        }
        match change {
            Change::Promote(id) => self.check_caught_up(id).await?,
            // A leader that applies its own removal cannot tell the others any more that it is committed; of two voters the one
            // that is left could then wait for ever for the vote of the one that went.
            Change::Remove(id) if id == self.0.identity.member_id => self.lead_no_more().await,
            _ => {}
        }
        self.change(change, None).await.map_err(|refused| match refused {
            Refused::Api(error) => error,
            other => ApiError::Unmapped(other.to_string()),
        })?;
        Ok(self.members())
    }

    /// Changes several members in one joint step, guarded, and waits until the cluster has left the joint configuration. If that takes
    /// longer than a request may, the change goes on by itself, and the configuration says that it is joint.
    ///
    /// # Errors
    /// As [`Store::change`]; learners that have not caught up, or an old or new majority that is not alive.
    pub async fn change_jointly(&self, changes: Vec<Change>, expected_index: Index) -> Result<(), Refused> {
        for change in &changes {
            if let Change::Promote(id) = change
                && !self.is_caught_up(*id).await?
            {
                return Err(ApiError::LearnerNotReady.into());
            }
        }
        if self.0.strict_reconfig {
            let progress = self.inspect().await?.progress;
            let active = progress.iter().filter(|one| one.recently_active).map(|one| one.id).collect();
            reconfig::check_joint(&self.membership(), &changes, &active)?;
        }
        self.change(Change::Joint(changes), Some(expected_index)).await?;
        let mut changes = self.changes();
        let left = async {
            while self.membership().is_joint() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // In time or not: the caller reads the configuration.
        let _ = tokio::time::timeout(self.request_timeout(), left).await;
        Ok(())
    }

    /// Hands leadership over if there is somebody to take it; if not, the change goes on as it is.
    async fn lead_no_more(&self) {
        if let Ok(successor) = self.successor().await
            && let Err(error) = self.move_leader(successor).await
        {
            tracing::warn!(%error, "leadership was not handed over before this member's removal");
        }
    }

    /// A learner may vote from 90 % of the leader's log on.
    async fn check_caught_up(&self, id: MemberId) -> Result<(), ApiError> {
        if !self.membership().get(id).is_some_and(|member| member.learner) {
            // The change itself tells apart unknown members and voters.
            return Ok(());
        }
        if !self.status().is_leader() {
            return match self.call_leader(Call::IsCaughtUp { member: id }).await? {
                Reply::CaughtUp(true) => Ok(()),
                _ => Err(ApiError::LearnerNotReady),
            };
        }
        if self.is_caught_up(id).await? { Ok(()) } else { Err(ApiError::LearnerNotReady) }
    }

    /// Whether a member's log has reached 90 % of this leader's.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn is_caught_up(&self, id: MemberId) -> Result<bool, ApiError> {
        let inspection = self.inspect().await?;
        let progress = inspection.progress.iter().find(|progress| progress.id == id);
        Ok(progress.is_some_and(|progress| progress.match_index * 10 >= inspection.last_index * 9))
    }

    /// The most caught-up other voter.
    ///
    /// # Errors
    /// Not the leader, or nobody else could lead.
    pub async fn successor(&self) -> Result<MemberId, ApiError> {
        let this = self.0.identity.member_id;
        let progress = self.inspect().await?.progress;
        let best = membership::successor(&progress, &self.membership(), this, |id| self.is_corrupt(id));
        best.ok_or(if self.status().is_leader() { ApiError::BadLeaderTransferee } else { ApiError::NotLeader })
    }

    /// What only the driver knows.
    ///
    /// # Errors
    /// The server is stopping.
    pub async fn inspect(&self) -> Result<Inspection, ApiError> {
        let (sender, receiver) = oneshot::channel();
        if !self.0.inbox.push(Input::Inspect(sender)) {
            return Err(ApiError::Stopped);
        }
        receiver.await.map_err(|_| ApiError::Stopped)
    }

    /// Hands leadership to `target` and waits until it leads.
    ///
    /// # Errors
    /// etcd's of MoveLeader.
    pub async fn move_leader(&self, target: MemberId) -> Result<(), ApiError> {
        let status = self.status();
        if !status.is_leader() {
            return Err(ApiError::NotLeader);
        }
        if target == self.0.identity.member_id {
            return Ok(());
        }
        if !self.membership().is_lasting_voter(target) {
            return Err(ApiError::BadLeaderTransferee);
        }
        let mut changes = self.changes();
        self.push(Event::Transfer { to: target })?;
        let moved = async {
            while self.0.status.load().leader != target {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let transferred = tokio::time::timeout(self.request_timeout(), moved).await;
        transferred
            .map_err(|_| ApiError::Unmapped("etcdserver: request timed out, leader transfer took too long".into()))
    }
}
