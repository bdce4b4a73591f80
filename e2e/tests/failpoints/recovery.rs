//! A survivor that dies at any step of its recovery (`Admin.Recover`) is recovered all the same when it is started again.

use std::path::Path;
use std::process::Command;

use quorate_api::admin::{FenceRequest, RecoverRequest, RecoverResponse};
use quorate_api::etcdserverpb::{self as pb, PutRequest};
use quorate_e2e::crash::workspace::Workspace;

use super::server::{Build, Server, authorized};
use super::{Known, hash};

/// Every step, in order. The first write to the log of a recovering server is the marker; its first flush is before its copy is made,
/// its second one of what was applied, its third before the copy becomes a snapshot.
const POINTS: [&str; 17] = [
    "recover::before_copy=panic",
    "backend::before_checkpoint=panic",
    "backend::before_flush=1*off->panic",
    "backend::after_flush=1*off->panic",
    "backend::before_checkpoint=1*off->panic",
    "recover::before_marker=panic",
    "wal::before_write=panic",
    "wal::before_sync=panic",
    "wal::after_sync=panic",
    "snapshot::before_pointer=panic",
    "snapshot::after_pointer=panic",
    "snapshot::after_opening=panic",
    "recover::before_identity=panic",
    "recover::after_identity=panic",
    // After these the new cluster's first entry is written.
    "wal::before_write=1*off->panic",
    "wal::after_sync=1*off->panic",
    "apply::before_write=panic",
];

/// A server whose recovery is intended, and has not begun; what it answered before, and what the intent was answered with.
async fn intended(folder: &Workspace) -> (Server, Known, RecoverResponse) {
    let mut survivor = Server::new(folder, "survivor", None);
    survivor.start(Build::WithPoints, "");
    survivor.ready().await;
    let mut lost = Server::new(folder, "lost", Some(&survivor));
    let add = pb::MemberAddRequest { peer_ur_ls: vec![lost.peer_url().to_owned()], is_learner: false };
    survivor.cluster().member_add(add).await.unwrap();
    lost.start(Build::WithPoints, "");
    lost.ready().await;
    let mut known = Known::default();
    for number in 0..40u32 {
        let (key, value) = (format!("key-{:03}", number % 7), format!("{number}").into_bytes());
        let put = PutRequest { key: key.clone().into(), value: value.clone().into(), ..Default::default() };
        let revision = survivor.kv().put(put).await.unwrap().into_inner().header.unwrap().revision;
        known.acknowledged.insert(key, (value, revision));
    }
    lost.kill();
    let state = survivor.state(|state| state.leaderless).await;
    survivor.admin().fence(authorized(FenceRequest { generation: 1, fenced: true })).await.unwrap();
    let request = RecoverRequest {
        cluster_id: state.cluster_id,
        member_id: state.member_id,
        disk_id: state.disk_id,
        incident: "lost".to_owned(),
        ..Default::default()
    };
    let answer = survivor.admin().recover(authorized(request)).await.unwrap().into_inner();
    assert_ne!(answer.cluster_id, state.cluster_id);
    survivor.gone().await;
    (survivor, known, answer)
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_that_dies_at_any_step_of_its_recovery_is_recovered_by_the_next_start() {
    let folder = Workspace::create().unwrap();
    let (mut server, known, answer) = intended(&folder).await;
    let data = server.data().to_owned();
    let saved = folder.path().join("saved");
    copy(&data, &saved);
    let mut expected = None;
    for point in POINTS {
        server.start(Build::WithPoints, point);
        assert!(!server.ready_or_gone().await, "{point} did not strike: {}", server.log());
        server.gone().await;
        let name = point.split('=').next().unwrap();
        assert!(server.log().contains(name), "the log names {point}: {}", server.log());
        server.start(Build::WithPoints, "");
        server.ready().await;
        known.check(&server).await;
        let held = hash(&server).await;
        assert_eq!(*expected.get_or_insert(held), held, "after {point} it holds what it does after every other");
        let state = server.state(|state| state.leader_id != 0).await;
        let configuration = state.configuration.unwrap();
        let members: Vec<u64> = configuration.members.iter().map(|member| member.id).collect();
        assert_eq!(
            (state.cluster_id, state.member_id, members),
            (answer.cluster_id, answer.member_id, vec![answer.member_id])
        );
        server.kill();
        server.start(Build::WithPoints, "");
        server.ready().await;
        assert_eq!(hash(&server).await, held, "a further restart after {point} holds the same");
        server.kill();
        copy(&saved, &data);
    }
}
