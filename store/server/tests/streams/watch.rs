//! Scripts of requests played to a fresh Quorate and a fresh etcd: every response must be the same, word for word.

use quorate_api::etcdserverpb as pb;

use super::client::{Client, Watching, delete_op, key, put_op, range, show};
use super::process::Server;

/// A connection and one watch stream, and what came over it.
struct Session {
    client: Client,
    watching: Watching,
    transcript: Vec<String>,
}

impl Session {
    async fn open(server: &Server) -> Session {
        let mut client = Client::connect(&server.address()).await;
        let watching = client.open_watch();
        Session { client, watching, transcript: Vec::new() }
    }

    /// Receives this many responses. Those of different watchers may come in any order.
    async fn receive(&mut self, count: usize) {
        let mut responses = Vec::new();
        while responses.len() < count {
            responses.push(self.watching.next().await);
        }
        responses.sort_by_key(|response| response.watch_id);
        self.transcript.extend(responses.iter().map(show));
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) {
        self.watching.create(request).await;
        self.receive(1).await;
    }

    fn note(&mut self, text: &str) {
        self.transcript.push(format!("- {text}"));
    }

    /// A delete and three puts in four revisions, 2 to 5.
    async fn history(&mut self) {
        self.client.put("a", "1").await;
        self.client.put("a", "2").await;
        self.client.delete("a").await;
        self.client.put("b", "3").await;
    }
}

/// Plays `script` to both servers.
async fn compare(flags: &[&str], script: impl AsyncFn(&mut Session)) {
    let mut transcripts = Vec::new();
    for server in [Server::quorate(flags), Server::etcd(flags)] {
        let mut session = Session::open(&server).await;
        script(&mut session).await;
        transcripts.push(session.transcript.join("\n"));
    }
    let etcd = transcripts.pop().unwrap();
    assert_eq!(transcripts.pop().unwrap(), etcd, "quorate, then etcd");
    assert!(etcd.contains("watch"), "something was said");
}

#[tokio::test]
async fn live_events_come_as_from_etcd() {
    compare(&[], async |session| {
        session.client.put("before", "0").await;
        session.create(range("a", "c")).await;
        session.client.put("a", "1").await;
        session.receive(1).await;
        session.client.put("a", "2").await;
        session.receive(1).await;
        session.client.put("c", "outside").await;
        session.client.txn(&[put_op("a", "3"), put_op("b", "1"), put_op("d", "outside")]).await;
        session.receive(1).await;
        session.client.txn(&[delete_op("a", "z")]).await;
        session.receive(1).await;
        session.client.delete("nothing").await;
        session.client.put("b", "again").await;
        session.receive(1).await;
    })
    .await;
}

#[tokio::test]
async fn ids_are_assigned_and_refused_as_by_etcd() {
    compare(&[], async |session| {
        for id in [0, 1, 0, 5, 5, 0, -9, -1, -1, 2, 0] {
            session.note(&format!("ask for {id}"));
            session.create(pb::WatchCreateRequest { watch_id: id, ..key("a") }).await;
        }
        session.watching.cancel(5).await;
        session.receive(1).await;
        session.note("a canceled id may be used again");
        session.create(pb::WatchCreateRequest { watch_id: 5, ..key("a") }).await;
        session.client.put("a", "1").await;
        session.receive(8).await;
    })
    .await;
}

#[tokio::test]
async fn ranges_mean_what_they_mean_to_etcd() {
    compare(&[], async |session| {
        for (start, end) in
            [("b", ""), ("b", "\0"), ("", ""), ("", "\0"), ("b", "d"), ("b", "b"), ("b", "a"), ("\0", "b")]
        {
            session.note(&format!("{start:?} to {end:?}"));
            session.create(range(start, end)).await;
        }
        for (key, watchers) in [("a", 2), ("b", 4), ("c", 3), ("d", 2), ("\0", 3)] {
            session.note(&format!("put {key:?}"));
            session.client.put(key, "1").await;
            session.receive(watchers).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_start_in_the_past_replays_and_one_in_the_future_waits_as_in_etcd() {
    compare(&[], async |session| {
        session.history().await;
        for (start, messages) in [(1, 1), (2, 1), (4, 1), (5, 1), (6, 0), (8, 0)] {
            session.note(&format!("from {start}"));
            session.create(pb::WatchCreateRequest { start_revision: start, ..range("a", "c") }).await;
            session.receive(messages).await;
        }
        session.create(pb::WatchCreateRequest { start_revision: -1, ..key("a") }).await;
        session.client.put("a", "6").await;
        session.receive(5).await;
        session.client.put("a", "7").await;
        session.receive(5).await;
        session.client.put("a", "8").await;
        session.receive(6).await;
    })
    .await;
}

#[tokio::test]
async fn a_start_in_what_is_compacted_is_answered_as_by_etcd() {
    compare(&[], async |session| {
        session.history().await;
        session.client.compact(4).await;
        for (start, messages) in [(1, 1), (3, 1), (4, 1), (5, 1)] {
            session.note(&format!("from {start}"));
            session.create(pb::WatchCreateRequest { start_revision: start, prev_kv: true, ..range("a", "c") }).await;
            session.receive(messages).await;
        }
        session.note("the stream lives on");
        session.client.put("a", "6").await;
        session.receive(2).await;
    })
    .await;
}

#[tokio::test]
async fn filters_leave_out_what_etcd_leaves_out() {
    compare(&[], async |session| {
        session.history().await;
        for filters in [vec![0], vec![1], vec![0, 1]] {
            let messages = usize::from(filters.len() < 2);
            session.create(pb::WatchCreateRequest { start_revision: 2, filters, ..range("a", "c") }).await;
            session.receive(messages).await;
        }
        session.client.delete("b").await;
        session.receive(1).await;
        session.client.txn(&[put_op("a", "1"), put_op("b", "2")]).await;
        session.receive(1).await;
        session.client.txn(&[delete_op("a", "b"), put_op("b", "3")]).await;
        session.receive(2).await;
    })
    .await;
}

#[tokio::test]
async fn previous_values_are_those_of_etcd() {
    compare(&[], async |session| {
        session.client.put("a", "0").await;
        session.create(pb::WatchCreateRequest { prev_kv: true, ..range("a", "z") }).await;
        let ops: [&[pb::RequestOp]; 6] = [
            &[put_op("a", "1"), put_op("b", "1")],
            &[delete_op("a", "b"), put_op("b", "2")],
            &[put_op("a", "3")],
            &[delete_op("a", "z")],
            &[put_op("b", "4"), put_op("c", "4")],
            // A delete of all keys from one on is not seen by the check for keys that are changed twice.
            &[put_op("c", "5"), delete_op("b", "\0")],
        ];
        for ops in ops {
            session.client.txn(ops).await;
            session.receive(1).await;
        }
        session.note("all of it again");
        session.create(pb::WatchCreateRequest { prev_kv: true, start_revision: 2, ..range("a", "z") }).await;
        session.receive(1).await;
        session.client.compact(5).await;
        session.note("and from the compacted revision on");
        session.create(pb::WatchCreateRequest { prev_kv: true, start_revision: 5, ..range("a", "z") }).await;
        session.receive(1).await;
    })
    .await;
}

#[tokio::test]
async fn cancels_are_answered_as_by_etcd() {
    compare(&[], async |session| {
        session.create(key("a")).await;
        session.create(key("a")).await;
        session.watching.cancel(77).await;
        session.watching.send_nothing().await;
        session.watching.cancel(0).await;
        session.receive(1).await;
        session.watching.cancel(0).await;
        session.client.put("a", "1").await;
        session.receive(1).await;
        session.watching.cancel(1).await;
        session.receive(1).await;
        session.note("without watchers a request for progress is not answered");
        session.watching.request_progress().await;
        session.create(key("b")).await;
    })
    .await;
}

#[tokio::test]
async fn progress_is_told_when_etcd_tells_it() {
    compare(&[], async |session| {
        session.create(key("a")).await;
        session.note("before any write");
        session.watching.request_progress().await;
        session.receive(1).await;
        session.client.put("a", "1").await;
        session.receive(1).await;
        session.client.put("elsewhere", "1").await;
        session.watching.request_progress().await;
        session.receive(1).await;
        session.note("a watcher that starts in the future keeps it back");
        session.create(pb::WatchCreateRequest { start_revision: 5, ..key("a") }).await;
        session.watching.request_progress().await;
        session.create(pb::WatchCreateRequest { start_revision: 4, ..key("b") }).await;
        for _ in 0..2 {
            session.client.put("elsewhere", "2").await;
        }
        session.watching.request_progress().await;
        session.receive(1).await;
    })
    .await;
}

#[tokio::test]
async fn quiet_watchers_are_told_progress_at_the_interval_as_by_etcd() {
    compare(&["--watch-progress-notify-interval=300ms"], async |session| {
        session.create(key("other")).await;
        session.create(pb::WatchCreateRequest { progress_notify: true, ..key("a") }).await;
        session.receive(2).await;
        session.client.put("elsewhere", "1").await;
        session.receive(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_large_replay_is_split_where_etcd_splits_it() {
    compare(&["--max-request-bytes=10000"], async |session| {
        for n in 0..70 {
            session.client.put(&format!("k{n:02}"), &"x".repeat(9000)).await;
        }
        session.create(pb::WatchCreateRequest { start_revision: 2, fragment: true, ..range("k", "l") }).await;
        session.receive(2).await;
        session.create(pb::WatchCreateRequest { start_revision: 2, ..range("k", "l") }).await;
        session.receive(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_half_closed_stream_goes_on_as_in_etcd() {
    compare(&[], async |session| {
        session.create(key("a")).await;
        session.watching.half_close();
        session.client.put("a", "1").await;
        session.receive(1).await;
    })
    .await;
}

#[tokio::test]
async fn events_of_leased_keys_are_those_of_etcd() {
    compare(&[], async |session| {
        session.client.grant(60, 7).await.unwrap();
        session.create(range("a", "z")).await;
        for key in ["c", "a", "b"] {
            session.client.put_leased(key, "1", 7).await;
            session.receive(1).await;
        }
        session.client.revoke(7).await.unwrap();
        session.receive(1).await;
    })
    .await;
}
