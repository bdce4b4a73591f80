//! The operator's changes of the configuration: what it asked for, with the checks that need to know more than the configuration, and
//! raising the feature level.

use quorate_api::Error as ApiError;
use quorate_api::admin;
use quorate_api::admin::change_membership_request::Change as Wanted;
use quorate_api::admin::member_change::Change as WantedOne;
use quorate_core::command;
use quorate_core::membership::{Change, Member, Refused, added_member_id};
use tonic::Status;

use crate::member::unix_seconds;
use crate::peer::handshake::FEATURE_LEVEL;
use crate::store::Store;

pub(super) fn requested(wanted: Option<Wanted>) -> Result<Change, Status> {
    let missing = || Status::invalid_argument("change is missing");
    Ok(match wanted.ok_or_else(missing)? {
        Wanted::AddLearner(member) => Change::AddLearner(learner(member)?),
        Wanted::Promote(id) => Change::Promote(id),
        Wanted::Remove(id) => Change::Remove(id),
        Wanted::Joint(admin::JointChange { changes }) => {
            let one = |change: admin::MemberChange| match change.change.ok_or_else(missing)? {
                WantedOne::AddLearner(member) => Ok(Change::AddLearner(learner(member)?)),
                WantedOne::Promote(id) => Ok(Change::Promote(id)),
                WantedOne::Remove(id) => Ok(Change::Remove(id)),
            };
            Change::Joint(changes.into_iter().map(one).collect::<Result<_, Status>>()?)
        }
    })
}

/// A learner as the operator wants it added; it must say which disk is meant.
fn learner(member: admin::Member) -> Result<Member, Status> {
    if member.disk_id.is_empty() {
        return Err(Status::invalid_argument("disk_id is missing: a learner is added for one disk"));
    }
    if member.peer_urls.is_empty() {
        return Err(ApiError::MemberBadURLs.into());
    }
    let mut member = Member::from_message(member);
    if member.id == 0 {
        member.id = added_member_id(&member.peer_urls, unix_seconds());
    }
    Ok(member)
}

/// Changes the membership, as the leader.
pub(super) async fn carry_out(store: &Store, change: Change, expected_index: u64) -> Result<(), Status> {
    let promotes = matches!(change, Change::Promote(_));
    let changed = match change {
        Change::Joint(changes) => store.change_jointly(changes, expected_index).await,
        Change::Promote(id) if !store.is_caught_up(id).await? => Err(ApiError::LearnerNotReady.into()),
        change => store.change(change, Some(expected_index)).await,
    };
    if promotes {
        store.note_promotion(changed.as_ref().err());
    }
    changed.map_err(|refused| {
        let text = refused.to_string();
        match refused {
            Refused::Api(error) => Status::from(error),
            Refused::Moved { .. } | Refused::InFlight => Status::aborted(text),
            Refused::Malformed { .. } => Status::invalid_argument(text),
            Refused::FeatureLevel { .. } | Refused::NotJoint => Status::failed_precondition(text),
        }
    })
}

/// Raises what may be proposed, once every member is known to know it: what an older member cannot read would stop it.
pub(super) async fn raise_feature_level(store: &Store, level: u32) -> Result<(), Status> {
    if level > FEATURE_LEVEL {
        return Err(Status::failed_precondition(format!(
            "feature level {level} is unknown to this version, which knows up to {FEATURE_LEVEL}: upgrade all members first"
        )));
    }
    let links = store.peers().all_links();
    let this = store.identity().member_id;
    let knows = |id| id == this || links.get(&id).is_some_and(|link| link.feature_level >= level);
    let membership = store.membership();
    let behind: Vec<String> =
        membership.members().filter(|member| !knows(member.id)).map(|member| format!("{:x}", member.id)).collect();
    if !behind.is_empty() {
        return Err(Status::failed_precondition(format!(
            "members {} do not know feature level {level}, or did not call this member yet: upgrade or start them first",
            behind.join(", ")
        )));
    }
    store.propose(command::Request::FeatureLevel(level)).await?;
    Ok(())
}
