//! Worlds that tests begin from.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use ulid::Ulid;

use crate::desired::{Desired, WalStorage};
use crate::id::Id;
use crate::latch::{Disk, FORMAT, Latch, LatchedMember, Operation, Phase, Tuning, Work};
use crate::observed::{
    Bundles, Configuration, ConfiguredMember, LatchSeen, MemberPhase, MemberSeen, MemberState, Observed, PodSeen,
    Progress, Role, StatefulSetSeen, VolumeMark, VolumeSeen,
};

/// A cluster `team/main` of this size.
pub fn desired(replicas: u32) -> Desired {
    let object = json!({
        "apiVersion": "quorate.io/v1alpha1", "kind": "QuorateCluster",
        "metadata": {"name": "main", "namespace": "team", "uid": "uid-1", "generation": 1},
        "spec": {"replicas": replicas, "version": "0.1.0", "storage": {"size": "1Gi"}, "raft": {"profile": "LowLatency"}},
    });
    Desired::parse(&serde_json::from_value(object).unwrap()).unwrap()
}

/// The same cluster, with the logs on volumes of their own.
pub fn desired_with_wal(replicas: u32) -> Desired {
    let mut desired = desired(replicas);
    desired.storage.wal = Some(WalStorage { size: "512Mi".to_owned(), class: None });
    desired
}

/// Member id of an ordinal in these worlds.
pub fn member(ordinal: u32) -> Id {
    Id(0x100 + u64::from(ordinal))
}

/// Cluster id of these worlds.
pub const CLUSTER: Id = Id(0xc1);

/// A disk of an ordinal, with the log on the volume of the data.
pub fn disk(ordinal: u32) -> Disk {
    let (disk_id, pvc_uid) = (format!("disk-{ordinal}"), format!("pvc-{ordinal}"));
    Disk { member_id: member(ordinal), disk_id, pvc_uid, wal_pvc_uid: None }
}

/// A disk of an ordinal, with the log where the spec says.
pub fn disk_of(desired: &Desired, ordinal: u32) -> Disk {
    Disk { wal_pvc_uid: desired.storage.wal.as_ref().map(|_| format!("wal-{ordinal}")), ..disk(ordinal) }
}

/// An operation that began at the epoch and has an hour.
pub fn operation(ordinal: u32, work: Work) -> Operation {
    let started_at = Timestamp::UNIX_EPOCH;
    let (id, deadline) = (Some(Ulid::from_parts(0, 1)), Some(started_at + SignedDuration::from_hours(1)));
    Operation { id, ordinal, started_at, deadline, attempt: 1, work }
}

/// A founded cluster in which every one of `count` members is healthy and ordinal 0 leads.
pub fn running(desired: &Desired, count: u32) -> Observed {
    let latch = Latch {
        format: FORMAT,
        cluster_id: CLUSTER,
        owner_uid: desired.uid.clone(),
        adopted_from: None,
        phase: Phase::Founded,
        founder: disk_of(desired, 0),
        members: (0..count)
            .map(|ordinal| LatchedMember { ordinal, disk: disk_of(desired, ordinal), voter: true })
            .collect(),
        template_epoch: 1,
        template: desired.template.clone(),
        operation: None,
        tuning: Tuning::of_founding(desired.timers, desired.limits),
    };
    let configured = |ordinal| ConfiguredMember {
        id: member(ordinal),
        name: desired.pod(ordinal),
        learner: false,
        disk_id: disk(ordinal).disk_id,
        peer_urls: vec![desired.peer_url(ordinal)],
        client_urls: vec![desired.client_url(ordinal)],
    };
    Observed {
        finalizer: true,
        status_cluster_id: None,
        latch: LatchSeen::Present { latch: Box::new(latch), resource_version: "1".to_owned() },
        statefulset: Some(StatefulSetSeen {
            uid: "set".to_owned(),
            resource_version: "1".to_owned(),
            replicas: count,
            claim_size: Some("1Gi".to_owned()),
            ours: true,
            deleting: false,
            update_revision: "r1".to_owned(),
        }),
        pods: (0..count).map(|ordinal| (ordinal, pod(ordinal))).collect(),
        volumes: (0..count).map(|ordinal| (ordinal, volume(ordinal))).collect(),
        wal_volumes: (0..count)
            .filter_map(|ordinal| {
                Some((ordinal, VolumeSeen { uid: disk_of(desired, ordinal).wal_pvc_uid?, ..volume(ordinal) }))
            })
            .collect(),
        members: (0..count).map(|ordinal| (ordinal, answered(state(desired, ordinal, count)))).collect(),
        strangers: Vec::new(),
        configuration: Some(Configuration {
            cluster_id: CLUSTER,
            index: 10,
            members: (0..count).map(configured).collect(),
        }),
        drift: Vec::new(),
        authorities: Vec::new(),
    }
}

/// A ready pod.
pub fn pod(ordinal: u32) -> PodSeen {
    PodSeen {
        uid: format!("pod-{ordinal}"),
        resource_version: "1".to_owned(),
        deleting: false,
        ready: true,
        serving: true,
        node: Some(format!("node{ordinal}")),
        address: Some("10.0.0.1".to_owned()),
        revision: "r1".to_owned(),
        trouble: String::new(),
    }
}

/// A volume claim that is marked for its member.
pub fn volume(ordinal: u32) -> VolumeSeen {
    let disk = disk(ordinal);
    VolumeSeen {
        uid: disk.pvc_uid,
        resource_version: "1".to_owned(),
        deleting: false,
        lost: false,
        request: "1Gi".to_owned(),
        capacity: Some("1Gi".to_owned()),
        marked: Some(VolumeMark { cluster_id: CLUSTER, member_id: disk.member_id, disk_id: disk.disk_id }),
    }
}

/// A healthy member of `count`.
pub fn state(desired: &Desired, ordinal: u32, count: u32) -> MemberState {
    let progress = |ordinal| Progress {
        member_id: member(ordinal),
        match_index: 100,
        recently_active: true,
        round_trip_microseconds: 2_500,
    };
    MemberState {
        phase: MemberPhase::Running,
        role: if ordinal == 0 { Role::Leader } else { Role::Follower },
        cluster_id: Some(CLUSTER),
        member_id: Some(member(ordinal)),
        name: desired.pod(ordinal),
        disk_id: disk(ordinal).disk_id,
        owner_uid: desired.uid.clone(),
        leader_id: Some(member(0)),
        committed_index: 100,
        applied_index: 100,
        lag_entries: 0,
        db_size_bytes: 1,
        db_in_use_bytes: 1,
        version: "0.1.0".to_owned(),
        feature_level: 2,
        draining: false,
        client_connections: 0,
        timers: desired.timers,
        timers_generation: 0,
        limits: desired.limits,
        bundles: Bundles { peers: "aa".repeat(32), clients: "bb".repeat(32) },
        corrupt: Vec::new(),
        no_space: Vec::new(),
        refusal: String::new(),
        progress: if ordinal == 0 { (1..count).map(progress).collect() } else { Vec::new() },
        configuration: None,
    }
}

/// A member in the phase of a pod that waits on an empty disk.
pub fn awaiting(desired: &Desired, ordinal: u32, disk_id: &str) -> MemberSeen {
    answered(MemberState {
        phase: MemberPhase::AwaitingAdmission,
        role: Role::Unknown,
        cluster_id: None,
        member_id: None,
        disk_id: disk_id.to_owned(),
        owner_uid: String::new(),
        leader_id: None,
        committed_index: 0,
        applied_index: 0,
        progress: Vec::new(),
        ..state(desired, ordinal, 1)
    })
}

/// What a member said.
pub fn answered(state: MemberState) -> MemberSeen {
    MemberSeen::Answered(Box::new(state))
}

/// Nothing at all.
pub fn nothing() -> Observed {
    Observed {
        finalizer: true,
        status_cluster_id: None,
        latch: LatchSeen::Absent,
        statefulset: None,
        pods: BTreeMap::new(),
        volumes: BTreeMap::new(),
        wal_volumes: BTreeMap::new(),
        members: BTreeMap::new(),
        strangers: Vec::new(),
        configuration: None,
        drift: Vec::new(),
        authorities: Vec::new(),
    }
}
