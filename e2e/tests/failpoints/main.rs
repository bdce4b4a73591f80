//! Real servers that end at named points of the code, between any two steps that a crash may part: writing and syncing the log,
//! its segments, the database's batches and flushes, the sweep, every step of a snapshot and of a recovery. Each is started again and
//! must hold what it acknowledged.
//!
//! The binary `quorate-failpoints` is the server built with its feature `failpoints` (scripts/stages.sh builds it); the one that is
//! released has no such points.
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

mod recovery;
mod server;

use std::collections::BTreeMap;

use quorate_api::etcdserverpb::{
    self as pb, CompactionRequest, DefragmentRequest, HashKvRequest, PutRequest, RangeRequest,
};
use quorate_e2e::crash::workspace::Workspace;
use server::{Build, Server};

/// Keys that the load writes in turn, so that there is always something to sweep.
const KEYS: u64 = 50;
/// Between two compactions, and how many revisions they leave.
const COMPACT_EVERY: u64 = 40;
const KEEP_REVISIONS: i64 = 30;
/// Between two defragmentations.
const DEFRAGMENT_EVERY: u64 = 90;
/// A point must strike within so many writes of the load.
const WRITES_MAX: u64 = 4_000;

/// What a client knows of one store.
#[derive(Default)]
struct Known {
    /// Key → value and revision of its newest acknowledged write.
    acknowledged: BTreeMap<String, (Vec<u8>, i64)>,
    /// Key → value of the write that got no answer; it may have happened.
    unknown: BTreeMap<String, Vec<u8>>,
    /// The newest revision that a compaction was acknowledged at.
    compacted: i64,
}

impl Known {
    /// Writes, compacts and flushes until the server is gone.
    async fn load_until_gone(&mut self, server: &mut Server, value_bytes: usize) {
        for number in 0..WRITES_MAX {
            let key = format!("key-{:03}", number % KEYS);
            let mut value = format!("{number}-{}", server.starts()).into_bytes();
            value.resize(value_bytes.max(value.len()), b'.');
            let put = PutRequest { key: key.clone().into(), value: value.clone().into(), ..Default::default() };
            let Ok(answer) = server.kv().put(put).await else {
                self.unknown.insert(key, value);
                return server.gone().await;
            };
            let revision = answer.into_inner().header.unwrap().revision;
            self.unknown.remove(&key);
            self.acknowledged.insert(key, (value, revision));
            if number % COMPACT_EVERY == COMPACT_EVERY - 1 {
                let at = revision - KEEP_REVISIONS;
                match server.kv().compact(CompactionRequest { revision: at, physical: number % 80 == 79 }).await {
                    Ok(_) => self.compacted = at,
                    Err(_) => return server.gone().await,
                }
            }
            if number % DEFRAGMENT_EVERY == DEFRAGMENT_EVERY - 1
                && server.maintenance().defragment(DefragmentRequest {}).await.is_err()
            {
                return server.gone().await;
            }
        }
        panic!("{} did not strike within {WRITES_MAX} writes", server.point());
    }

    /// What was acknowledged is there, what was compacted is not, and nothing else came up.
    async fn check(&self, server: &Server) {
        let all = RangeRequest { key: "key-".into(), range_end: "key.".into(), ..Default::default() };
        let answer = server.kv().range(all.clone()).await.unwrap().into_inner();
        let revision = answer.header.as_ref().unwrap().revision;
        let found: BTreeMap<String, (Vec<u8>, i64)> = answer
            .kvs
            .iter()
            .map(|row| (String::from_utf8(row.key.to_vec()).unwrap(), (row.value.to_vec(), row.mod_revision)))
            .collect();
        for (key, (value, at)) in &self.acknowledged {
            let (held, held_at) = found.get(key).unwrap_or_else(|| panic!("{key} of revision {at} is lost"));
            let newer = self.unknown.get(key) == Some(held) && held_at > at;
            assert!(
                newer || (held == value && held_at == at),
                "{key} was acknowledged at {at}, held is one of {held_at}"
            );
        }
        for key in found.keys() {
            assert!(self.acknowledged.contains_key(key) || self.unknown.contains_key(key), "{key} came from nowhere");
        }
        assert!(found.values().all(|(_, at)| *at <= revision));
        self.check_compaction(server, all).await;
    }

    async fn check_compaction(&self, server: &Server, all: RangeRequest) {
        if self.compacted == 0 {
            return;
        }
        for serializable in [false, true] {
            let below = RangeRequest { revision: self.compacted - 1, serializable, ..all.clone() };
            let status = server.kv().range(below).await.unwrap_err();
            assert!(status.message().contains("has been compacted"), "a read below the compaction says {status}");
        }
        let at = RangeRequest { revision: self.compacted, ..all };
        let status = server.kv().range(at).await;
        // A compaction that was not answered may have gone further.
        let further = status.as_ref().is_err_and(|status| status.message().contains("has been compacted"));
        assert!(status.is_ok() || further, "a read at the compaction says {status:?}");
    }
}

async fn hash(server: &Server) -> (u32, i64, i64) {
    let answer = server.maintenance().hash_kv(HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    (answer.hash, answer.hash_revision, answer.compact_revision)
}

/// One member dies at the point, after the point was passed `passes` times; twice, so that the second run starts from what the
/// first one left.
async fn a_member_that_dies_at(point: &str, passes: u32, value_bytes: usize) {
    let folder = Workspace::create().unwrap();
    let mut server = Server::new(&folder, "alone", None);
    let mut known = Known::default();
    for round in 0..2 {
        server.start(Build::WithPoints, &format!("{point}={}*off->panic", passes + round));
        server.ready_or_gone().await;
        known.load_until_gone(&mut server, value_bytes).await;
        assert!(server.log().contains(point), "the log names {point}: {}", server.log());
        server.start(Build::WithPoints, "");
        server.ready().await;
        known.check(&server).await;
        let before = hash(&server).await;
        server.kill();
        server.start(Build::WithPoints, "");
        server.ready().await;
        assert_eq!(hash(&server).await, before, "a further restart holds the same");
        server.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_holds_what_it_acknowledged_when_it_dies_around_a_write_of_the_log() {
    for point in ["wal::before_write", "wal::before_sync", "wal::after_sync"] {
        a_member_that_dies_at(point, 60, 16).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_holds_what_it_acknowledged_when_it_dies_between_two_segments_of_the_log() {
    for point in ["wal::before_segment", "wal::after_segment", "wal::before_cut", "wal::after_cut"] {
        a_member_that_dies_at(point, 0, 1_000_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_holds_what_it_acknowledged_when_it_dies_around_a_batch_or_a_flush_of_the_database() {
    for point in ["apply::before_write", "apply::after_write"] {
        a_member_that_dies_at(point, 110, 16).await;
    }
    // Unflushed bytes of the log call for a flush.
    for point in ["backend::before_flush", "backend::after_flush"] {
        a_member_that_dies_at(point, 0, 500_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_holds_what_it_acknowledged_when_it_dies_around_a_step_of_the_sweep() {
    for point in ["sweep::before_write", "sweep::after_write"] {
        a_member_that_dies_at(point, 1, 16).await;
    }
}

/// Compaction's apply and its flush are parted by a kill; reads below it must fail all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_that_was_answered_and_not_flushed_hides_what_is_below_it_after_a_restart() {
    let folder = Workspace::create().unwrap();
    let mut server = Server::new(&folder, "alone", None);
    server.start(Build::WithPoints, "backend::before_flush=panic");
    server.ready().await;
    let mut known = Known::default();
    for number in 0..20 {
        let (key, value) = (format!("key-{:03}", number % 3), format!("{number}").into_bytes());
        let put = PutRequest { key: key.clone().into(), value: value.clone().into(), ..Default::default() };
        let revision = server.kv().put(put).await.unwrap().into_inner().header.unwrap().revision;
        known.acknowledged.insert(key, (value, revision));
    }
    known.compacted = 15;
    server.kv().compact(CompactionRequest { revision: 15, physical: false }).await.unwrap();
    server.kill();
    server.start(Build::WithPoints, "");
    server.ready().await;
    known.check(&server).await;
}

/// A joiner gets a snapshot, because the log that it wants was cut, and one of the two dies at the point.
async fn a_joiner_catches_up_although(point: &str, joiner_dies: bool) {
    let folder = Workspace::create().unwrap();
    let mut leader = Server::new(&folder, "first", None);
    leader.start(Build::WithPoints, "");
    leader.ready().await;
    let mut known = Known::default();
    // More than one segment, so that the log's beginning goes with the flush.
    for number in 0..160u32 {
        let (key, value) = (format!("key-{number:03}"), vec![b'.'; 1_000_000]);
        let put = PutRequest { key: key.clone().into(), value: value.clone().into(), ..Default::default() };
        let revision = leader.kv().put(put).await.unwrap().into_inner().header.unwrap().revision;
        known.acknowledged.insert(key, (value, revision));
    }
    leader.maintenance().defragment(DefragmentRequest {}).await.unwrap();
    if !joiner_dies {
        leader.kill();
        leader.start(Build::WithPoints, &format!("{point}=panic"));
        leader.ready().await;
    }
    let mut joiner = Server::new(&folder, "second", Some(&leader));
    let add = pb::MemberAddRequest { peer_ur_ls: vec![joiner.peer_url().to_owned()], is_learner: true };
    let joiner_id = leader.cluster().member_add(add).await.unwrap().into_inner().member.unwrap().id;
    joiner.start(Build::WithPoints, &if joiner_dies { format!("{point}=panic") } else { String::new() });
    let dies = if joiner_dies { &mut joiner } else { &mut leader };
    dies.gone().await;
    assert!(dies.log().contains(point), "the log names {point}: {}", dies.log());
    dies.start(Build::WithPoints, "");
    leader.ready().await;
    let expected = hash(&leader).await;
    joiner.caught_up(expected.1).await;
    // A learner answers no HashKV.
    leader.promote(joiner_id).await;
    joiner.ready().await;
    assert_eq!(hash(&joiner).await, expected, "both hold the same");
    known.check(&leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_that_dies_at_any_step_of_an_installation_catches_up() {
    for point in [
        "snapshot::before_marker",
        "snapshot::before_pointer",
        "snapshot::after_pointer",
        "snapshot::after_opening",
        "snapshot::before_removing_the_old",
    ] {
        a_joiner_catches_up_although(point, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_catches_up_although_the_leader_dies_while_it_takes_the_snapshot() {
    a_joiner_catches_up_although("backend::before_checkpoint", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_that_is_released_has_no_points_to_fail_at() {
    let folder = Workspace::create().unwrap();
    let mut server = Server::new(&folder, "alone", None);
    server.start(Build::Released, "wal::before_write=panic;apply::before_write=panic");
    server.ready().await;
    server.kv().put(PutRequest { key: "a".into(), value: "b".into(), ..Default::default() }).await.unwrap();
}
