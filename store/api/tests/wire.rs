//! Field numbers and types on the wire, byte by byte, where etcd's numbering is easy to get wrong.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use prost::Message;
use quorate_api::etcdserverpb::{
    AuthRoleRevokePermissionRequest, AuthUserGrantRoleRequest, Compare, DowngradeInfo, InternalRaftRequest,
    LeaseTimeToLiveResponse, Member, RangeRequest, RequestHeader, ResponseOp, StatusResponse, TxnResponse,
    WatchResponse, compare, response_op,
};
use quorate_api::mvccpb::{Event, KeyValue, event::EventType};
use quorate_api::{health, v3electionpb};

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: M, wire: &[u8]) {
    assert_eq!(message.encode_to_vec(), wire, "{message:?}");
    assert_eq!(M::decode(wire).unwrap(), message);
}

#[test]
fn compare_keeps_its_range_end_at_64_and_the_operand_apart_from_the_target() {
    check(
        Compare {
            result: compare::CompareResult::Greater.into(),
            target: compare::CompareTarget::Mod.into(),
            key: Bytes::from_static(b"k"),
            range_end: Bytes::from_static(b"l"),
            target_union: Some(compare::TargetUnion::ModRevision(0)),
        },
        &[0x08, 1, 0x10, 2, 0x1a, 1, b'k', 0x30, 0, 0x82, 0x04, 1, b'l'],
    );
    check(
        Compare {
            result: compare::CompareResult::NotEqual.into(),
            target: compare::CompareTarget::Lease.into(),
            target_union: Some(compare::TargetUnion::Lease(7)),
            ..Compare::default()
        },
        &[0x08, 3, 0x10, 4, 0x40, 7],
    );
}

#[test]
fn watch_events_are_field_11() {
    let event = Event {
        r#type: EventType::Delete.into(),
        kv: Some(KeyValue { key: Bytes::from_static(b"k"), mod_revision: 5, ..KeyValue::default() }),
        prev_kv: None,
    };
    check(
        WatchResponse { watch_id: -1, canceled: true, events: vec![event], ..WatchResponse::default() },
        &[
            0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x20, 1, 0x5a, 9, 0x08, 1, 0x12, 5, 0x0a,
            1, b'k', 0x18, 5,
        ],
    );
}

#[test]
fn range_revision_bounds_are_10_to_13() {
    check(
        RangeRequest {
            key: Bytes::from_static(b"k"),
            min_mod_revision: 1,
            max_mod_revision: 2,
            min_create_revision: 3,
            max_create_revision: 4,
            ..RangeRequest::default()
        },
        &[0x0a, 1, b'k', 0x50, 1, 0x58, 2, 0x60, 3, 0x68, 4],
    );
}

#[test]
fn status_ends_with_size_in_use_9_to_downgrade_13() {
    check(
        StatusResponse {
            version: "3".into(),
            db_size: 1,
            leader: 2,
            raft_index: 3,
            raft_term: 4,
            raft_applied_index: 5,
            errors: vec!["e".into()],
            db_size_in_use: 6,
            is_learner: true,
            storage_version: "3".into(),
            db_size_quota: 7,
            downgrade_info: Some(DowngradeInfo { enabled: true, target_version: "3".into() }),
            ..StatusResponse::default()
        },
        &[
            0x12, 1, b'3', 0x18, 1, 0x20, 2, 0x28, 3, 0x30, 4, 0x38, 5, 0x42, 1, b'e', 0x48, 6, 0x50, 1, 0x5a, 1, b'3',
            0x60, 7, 0x6a, 5, 0x08, 1, 0x12, 1, b'3',
        ],
    );
}

#[test]
fn members_leases_and_roles_have_etcds_numbers() {
    check(
        Member {
            id: 1,
            name: "n".into(),
            peer_ur_ls: vec!["p".into()],
            client_ur_ls: vec!["c".into()],
            is_learner: true,
        },
        &[0x08, 1, 0x12, 1, b'n', 0x1a, 1, b'p', 0x22, 1, b'c', 0x28, 1],
    );
    check(
        LeaseTimeToLiveResponse { header: None, id: 1, ttl: 2, granted_ttl: 3, keys: vec![Bytes::from_static(b"k")] },
        &[0x10, 1, 0x18, 2, 0x20, 3, 0x2a, 1, b'k'],
    );
    check(AuthUserGrantRoleRequest { user: "u".into(), role: "r".into() }, &[0x0a, 1, b'u', 0x12, 1, b'r']);
    check(
        AuthRoleRevokePermissionRequest {
            role: "r".into(),
            key: Bytes::from_static(b"k"),
            range_end: Bytes::from_static(b"l"),
        },
        &[0x0a, 1, b'r', 0x12, 1, b'k', 0x1a, 1, b'l'],
    );
}

#[test]
fn a_nested_transaction_answers_inside_field_4() {
    let inner = TxnResponse { succeeded: true, ..TxnResponse::default() };
    check(
        TxnResponse {
            responses: vec![ResponseOp { response: Some(response_op::Response::ResponseTxn(inner)) }],
            ..TxnResponse::default()
        },
        &[0x1a, 4, 0x22, 2, 0x10, 1],
    );
}

#[test]
fn etcds_log_entries_carry_their_header_at_100() {
    check(
        InternalRaftRequest {
            id: 1,
            header: Some(RequestHeader { id: 2, ..RequestHeader::default() }),
            ..InternalRaftRequest::default()
        },
        &[0x08, 1, 0xa2, 0x06, 2, 0x08, 2],
    );
}

#[test]
fn election_and_health_have_their_numbers() {
    check(
        v3electionpb::LeaderKey { name: Bytes::from_static(b"n"), key: Bytes::from_static(b"k"), rev: 3, lease: 4 },
        &[0x0a, 1, b'n', 0x12, 1, b'k', 0x18, 3, 0x20, 4],
    );
    check(
        health::HealthCheckResponse { status: health::health_check_response::ServingStatus::NotServing.into() },
        &[0x08, 2],
    );
}

#[cfg(feature = "services")]
#[test]
fn services_have_etcds_full_names() {
    use quorate_api::{admin, etcdserverpb as pb, v3lockpb};
    assert_eq!(pb::kv_server::SERVICE_NAME, "etcdserverpb.KV");
    assert_eq!(pb::watch_server::SERVICE_NAME, "etcdserverpb.Watch");
    assert_eq!(pb::lease_server::SERVICE_NAME, "etcdserverpb.Lease");
    assert_eq!(pb::cluster_server::SERVICE_NAME, "etcdserverpb.Cluster");
    assert_eq!(pb::maintenance_server::SERVICE_NAME, "etcdserverpb.Maintenance");
    assert_eq!(pb::auth_server::SERVICE_NAME, "etcdserverpb.Auth");
    assert_eq!(v3lockpb::lock_server::SERVICE_NAME, "v3lockpb.Lock");
    assert_eq!(v3electionpb::election_server::SERVICE_NAME, "v3electionpb.Election");
    assert_eq!(health::health_server::SERVICE_NAME, "grpc.health.v1.Health");
    assert_eq!(admin::admin_server::SERVICE_NAME, "quorate.v1.Admin");
}
