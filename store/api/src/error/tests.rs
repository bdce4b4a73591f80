//! The texts and codes once more, as numbers and whole strings: a slip in the table would be a break of the contract.

use super::*;

const EXPECTED: &[(Error, i32, &str)] = &[
    (Error::EmptyKey, 3, "etcdserver: key is not provided"),
    (Error::KeyNotFound, 3, "etcdserver: key not found"),
    (Error::ValueProvided, 3, "etcdserver: value is provided"),
    (Error::LeaseProvided, 3, "etcdserver: lease is provided"),
    (Error::TooManyOps, 3, "etcdserver: too many operations in txn request"),
    (Error::DuplicateKey, 3, "etcdserver: duplicate key given in txn request"),
    (Error::InvalidClientAPIVersion, 3, "etcdserver: invalid client api version"),
    (Error::InvalidSortOption, 3, "etcdserver: invalid sort option"),
    (Error::Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
    (Error::FutureRev, 11, "etcdserver: mvcc: required revision is a future revision"),
    (Error::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
    (Error::LeaseNotFound, 5, "etcdserver: requested lease not found"),
    (Error::LeaseExist, 9, "etcdserver: lease already exists"),
    (Error::LeaseTTLTooLarge, 11, "etcdserver: too large lease TTL"),
    (Error::WatchCanceled, 1, "etcdserver: watch canceled"),
    (Error::MemberExist, 9, "etcdserver: member ID already exist"),
    (Error::PeerURLExist, 9, "etcdserver: Peer URLs already exists"),
    (Error::MemberNotEnoughStarted, 2, "etcdserver: re-configuration failed due to not enough started members"),
    (Error::MemberBadURLs, 3, "etcdserver: given member URLs are invalid"),
    (Error::MemberNotFound, 5, "etcdserver: member not found"),
    (Error::MemberNotLearner, 9, "etcdserver: can only promote a learner member"),
    (Error::LearnerNotReady, 9, "etcdserver: can only promote a learner member which is in sync with leader"),
    (Error::TooManyLearners, 9, "etcdserver: too many learner members in cluster"),
    (Error::ClusterIDMismatch, 9, "etcdserver: cluster ID mismatch"),
    (Error::RequestTooLarge, 3, "etcdserver: request is too large"),
    (Error::RequestTooManyRequests, 2, "etcdserver: too many requests"),
    (Error::RootUserNotExist, 9, "etcdserver: root user does not exist"),
    (Error::RootRoleNotExist, 9, "etcdserver: root user does not have root role"),
    (Error::UserAlreadyExist, 9, "etcdserver: user name already exists"),
    (Error::UserEmpty, 3, "etcdserver: user name is empty"),
    (Error::UserNotFound, 9, "etcdserver: user name not found"),
    (Error::RoleAlreadyExist, 9, "etcdserver: role name already exists"),
    (Error::RoleNotFound, 9, "etcdserver: role name not found"),
    (Error::RoleEmpty, 3, "etcdserver: role name is empty"),
    (Error::AuthFailed, 3, "etcdserver: authentication failed, invalid user ID or password"),
    (Error::PermissionNotGiven, 3, "etcdserver: permission not given"),
    (Error::PermissionDenied, 7, "etcdserver: permission denied"),
    (Error::RoleNotGranted, 9, "etcdserver: role is not granted to the user"),
    (Error::PermissionNotGranted, 9, "etcdserver: permission is not granted to the role"),
    (Error::AuthNotEnabled, 9, "etcdserver: authentication is not enabled"),
    (Error::InvalidAuthToken, 16, "etcdserver: invalid auth token"),
    (Error::InvalidAuthMgmt, 3, "etcdserver: invalid auth management"),
    (Error::AuthOldRevision, 3, "etcdserver: revision of auth store is old"),
    (Error::NoLeader, 14, "etcdserver: no leader"),
    (Error::NotLeader, 9, "etcdserver: not leader"),
    (Error::LeaderChanged, 14, "etcdserver: leader changed"),
    (Error::NotCapable, 9, "etcdserver: not capable"),
    (Error::Stopped, 14, "etcdserver: server stopped"),
    (Error::Timeout, 14, "etcdserver: request timed out"),
    (Error::TimeoutDueToLeaderFail, 14, "etcdserver: request timed out, possibly due to previous leader failure"),
    (Error::TimeoutDueToConnectionLost, 14, "etcdserver: request timed out, possibly due to connection lost"),
    (Error::TimeoutWaitAppliedIndex, 14, "etcdserver: request timed out, waiting for the applied index took too long"),
    (Error::Unhealthy, 14, "etcdserver: unhealthy cluster"),
    (Error::Corrupt, 15, "etcdserver: corrupt cluster"),
    (Error::NotSupportedForLearner, 9, "etcdserver: rpc not supported for learner"),
    (Error::BadLeaderTransferee, 9, "etcdserver: bad leader transferee"),
    (Error::WrongDowngradeVersionFormat, 3, "etcdserver: wrong downgrade target version format"),
    (Error::InvalidDowngradeTargetVersion, 3, "etcdserver: invalid downgrade target version"),
    (Error::ClusterVersionUnavailable, 9, "etcdserver: cluster version not found during downgrade"),
    (Error::DowngradeInProcess, 9, "etcdserver: cluster has a downgrade job in progress"),
    (Error::NoInflightDowngrade, 9, "etcdserver: no inflight downgrade job"),
    (Error::Canceled, 1, "etcdserver: request canceled"),
    (Error::DeadlineExceeded, 4, "etcdserver: context deadline exceeded"),
    (Error::NoPasswordUser, 2, "auth: authentication failed, password was given for no password user"),
    (Error::TimeoutLeaderTransfer, 2, "etcdserver: request timed out, leader transfer took too long"),
    (Error::SessionExpired, 2, "mutex: session is expired"),
    (Error::ElectionNotLeader, 2, "election: not leader"),
    (Error::ElectionNoLeader, 2, "election: no leader"),
    (Error::LeaderKeyMissing, 2, "\"leader\" field must be provided"),
    (Error::ContextCanceled, 1, "context canceled"),
    (Error::ContextDeadlineExceeded, 4, "context deadline exceeded"),
];

#[test]
fn every_error_has_etcds_text_and_code() {
    assert_eq!(Error::TABLE.len(), EXPECTED.len());
    for (expected, error) in EXPECTED.iter().zip(Error::TABLE) {
        assert_eq!(&(error.clone(), error.code() as i32, error.message()), expected);
        assert_eq!(error.to_string(), expected.2);
    }
}

#[test]
fn every_text_is_recognised_and_others_are_kept() {
    for error in Error::TABLE {
        assert_eq!(&Error::from_message(error.message()), error);
    }
    assert_eq!(Error::from_message("disk on fire"), Error::Unmapped("disk on fire".into()));
    assert_eq!(Error::Unmapped("disk on fire".into()).code(), Code::Unknown);
}

#[cfg(feature = "services")]
#[test]
fn the_grpc_status_carries_text_and_code() {
    for (error, code, text) in EXPECTED {
        let status = tonic::Status::from(error.clone());
        assert_eq!((status.code() as i32, status.message()), (*code, *text));
    }
    let status = tonic::Status::from(Error::Unmapped("disk on fire".into()));
    assert_eq!((status.code(), status.message()), (tonic::Code::Unknown, "disk on fire"));
}
