//! The hub over a real state machine in memory, with clients that read when the test says so.

mod fixture;
mod model;

use std::time::Duration;

use quorate_api::etcdserverpb as pb;
use quorate_core::watch::Limits;
use tonic::Code;

use super::{Counts, Settings};
use crate::memory::{Budget, Part};
use fixture::{Client, Store, delete, from_key, key, put, wait_until};

fn settings() -> Settings {
    Settings { progress_interval: Duration::from_secs(3600), fragment_bytes: 1000, ring: Limits::DEFAULT }
}

#[tokio::test]
async fn a_watcher_is_announced_before_its_events_and_gets_one_message_a_revision() {
    let store = Store::new(settings());
    store.apply(&[put("a", "0")]);
    let mut client = Client::open(&store);
    client.create(from_key("a"));
    let created = client.next().await;
    assert!((created.created, created.watch_id, revision(&created)) == (true, 0, 2), "{created:?}");
    store.apply(&[put("b", "1"), put("c", "2")]);
    store.apply(&[delete("b")]);
    let first = client.next().await;
    assert_eq!((first.events.len(), revision(&first)), (2, 3));
    let second = client.next().await;
    let event = &second.events[0];
    assert_eq!((event.r#type, revision(&second)), (1, 4));
    let kv = event.kv.as_ref().unwrap();
    assert_eq!((&kv.key[..], kv.mod_revision, kv.create_revision, kv.version), (&b"b"[..], 4, 0, 0));
}

fn revision(response: &pb::WatchResponse) -> i64 {
    response.header.as_ref().map_or(-1, |header| header.revision)
}

#[tokio::test]
async fn a_start_below_the_compacted_revision_is_announced_and_then_canceled() {
    let store = Store::new(settings());
    (0..5).for_each(|_| store.apply(&[put("a", "0")]));
    store.compact(4);
    let mut client = Client::open(&store);
    client.create(pb::WatchCreateRequest { start_revision: 3, ..key("a") });
    let created = client.next().await;
    assert!(created.created && !created.canceled && created.compact_revision == 0, "{created:?}");
    let canceled = client.next().await;
    assert!(canceled.canceled && !canceled.created && canceled.cancel_reason.is_empty(), "{canceled:?}");
    assert_eq!((canceled.compact_revision, revision(&canceled), canceled.watch_id), (4, 0, 0));
    client.create(pb::WatchCreateRequest { start_revision: 4, ..key("a") });
    assert!(client.next().await.created);
    let caught_up = client.next().await;
    assert_eq!((caught_up.events.len(), revision(&caught_up)), (3, 6));
    // Unlike in etcd, whose canceled watcher keeps back the progress of its stream for ever.
    client.request_progress();
    assert_eq!(client.next().await.watch_id, -1);
}

#[tokio::test]
async fn a_delete_at_the_compacted_revision_is_still_delivered() {
    let store = Store::new(settings());
    store.apply(&[put("a", "0")]);
    store.apply(&[delete("a")]);
    store.compact(3);
    let mut client = Client::open(&store);
    client.create(pb::WatchCreateRequest { start_revision: 3, ..key("a") });
    assert!(client.next().await.created);
    let caught_up = client.next().await;
    assert_eq!(caught_up.events.len(), 1);
    assert_eq!(caught_up.events[0].r#type, 1);
}

#[tokio::test]
async fn a_rejected_watcher_is_created_and_canceled_at_once_and_the_stream_lives_on() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    let empty = pb::WatchCreateRequest { range_end: "a".into(), ..key("b") };
    let negative = pb::WatchCreateRequest { start_revision: -1, ..key("b") };
    for (request, reason) in
        [(empty, "mvcc: watcher range is empty"), (negative, "etcdserver: mvcc: required revision has been compacted")]
    {
        client.create(request);
        let rejected = client.next().await;
        assert!(rejected.created && rejected.canceled && rejected.watch_id == -1, "{rejected:?}");
        assert_eq!(rejected.cancel_reason, reason);
    }
    client.create(key("b"));
    assert!(!client.next().await.canceled);
}

#[tokio::test]
async fn the_previous_value_is_that_of_the_revision_before_and_never_of_the_same_one() {
    let store = Store::new(settings());
    store.apply(&[put("a", "old")]);
    let mut client = Client::open(&store);
    client.create(pb::WatchCreateRequest { prev_kv: true, ..key("a") });
    assert!(client.next().await.created);
    // One transaction deletes the key and puts it again: both see what stood before the transaction.
    store.apply(&[delete("a"), put("a", "new")]);
    let response = client.next().await;
    let previous = |event: &quorate_api::mvccpb::Event| event.prev_kv.as_ref().map(|kv| kv.value.clone());
    assert_eq!(previous(&response.events[0]).as_deref(), Some(&b"old"[..]));
    assert_eq!(previous(&response.events[1]), None, "the put created the key anew");
    store.apply(&[put("a", "newer")]);
    assert_eq!(previous(&client.next().await.events[0]).as_deref(), Some(&b"new"[..]));
    store.apply(&[put("fresh", "x")]);
    store.apply(&[put("a", "newest")]);
    assert_eq!(previous(&client.next().await.events[0]).as_deref(), Some(&b"newer"[..]));
    store.compact(6);
    client.create(pb::WatchCreateRequest { prev_kv: true, start_revision: 6, ..key("a") });
    assert!(client.next().await.created);
    let at_compacted = client.next().await;
    assert_eq!(previous(&at_compacted.events[0]), None, "the revision before is compacted, swept or not");
}

#[tokio::test]
async fn a_cancel_drops_what_waits_and_frees_the_watcher_at_once() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    client.create(from_key("a"));
    client.create(from_key("b"));
    assert!(client.next().await.created && client.next().await.created);
    for _ in 0..100 {
        store.apply(&[put("a", &"x".repeat(8000))]);
    }
    wait_until(&store, |counts| counts.pending_events > 0).await;
    client.cancel(0);
    client.cancel(77);
    wait_until(&store, |counts| counts.watchers == 1).await;
    let canceled = client.next().await;
    assert!(canceled.canceled && canceled.watch_id == 0 && canceled.cancel_reason.is_empty(), "{canceled:?}");
    assert_eq!(store.hub.counts(), Counts { streams: 1, watchers: 1, ..Counts::default() });
    store.apply(&[put("b", "1")]);
    assert_eq!(client.next().await.watch_id, 1, "nothing follows a cancel, and an unknown id is not answered");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    client.create(from_key("a"));
    assert!(client.next().await.created);
    store.apply(&[put("a", "1")]);
    drop(client);
    wait_until(&store, |counts| counts == &Counts::default()).await;
}

#[tokio::test]
async fn a_half_closed_stream_goes_on_delivering() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    client.create(from_key("a"));
    assert!(client.next().await.created);
    client.half_close();
    store.apply(&[put("a", "1")]);
    assert_eq!(client.next().await.events.len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_little_and_delays_nobody() {
    let store = Store::new(Settings { ring: Limits { events: 20, bytes: usize::MAX }, ..settings() });
    let (mut slow, mut quick) = (Client::open(&store), Client::open(&store));
    slow.create(from_key("a"));
    quick.create(from_key("a"));
    assert!(slow.next().await.created && quick.next().await.created);
    for _ in 0..200 {
        store.apply(&[put("a", &"x".repeat(8000))]);
        assert_eq!(quick.next().await.events.len(), 1);
    }
    let waiting = store.hub.counts().pending_events;
    assert!(waiting <= 70, "{waiting} events of 8 KB wait for a client that does not read");
    let mut seen = 0;
    while seen < 200 {
        seen += slow.next().await.events.len();
    }
    assert_eq!(seen, 200);
}

#[tokio::test]
async fn with_a_full_memory_budget_a_stream_gets_more_only_when_it_has_read_what_waits() {
    let budget = Budget::new(1);
    let others = budget.charge(Part::Requests, 1);
    let ring = Limits { events: 20, bytes: usize::MAX };
    let store = Store::within(Settings { ring, ..settings() }, budget.clone());
    let mut client = Client::open(&store);
    client.create(from_key("a"));
    assert!(client.next().await.created);
    store.apply(&[put("a", "0")]);
    wait_until(&store, |counts| counts.pending_events == 1).await;
    assert!(budget.charged(Part::Watches) > 0);
    for i in 1..200 {
        store.apply(&[put("a", &i.to_string())]);
        tokio::task::yield_now().await;
        assert_eq!(store.hub.counts().pending_events, 1, "one event waits, and there is no memory for more");
    }
    // Most of them have left the ring, and come from the log.
    let mut seen = 0;
    while seen < 100 {
        seen += client.next().await.events.len();
    }
    drop(others);
    while seen < 200 {
        seen += client.next().await.events.len();
    }
    assert_eq!((seen, budget.charged(Part::Watches)), (200, 0));
    store.apply(&[put("a", "after")]);
    assert_eq!(client.next().await.events.len(), 1, "a stream that was starved goes on");
}

#[tokio::test]
async fn a_requested_progress_follows_every_event_up_to_it() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    client.create(key("a"));
    assert!(client.next().await.created);
    store.apply(&[put("a", "1")]);
    store.apply(&[put("elsewhere", "1")]);
    client.request_progress();
    assert_eq!(revision(&client.next().await), 2);
    let progress = client.next().await;
    assert_eq!((progress.watch_id, progress.events.len(), revision(&progress)), (-1, 0, 3));
}

#[tokio::test]
async fn a_quiet_watcher_that_asked_for_it_is_told_the_progress_at_each_interval() {
    let store = Store::new(Settings { progress_interval: Duration::from_millis(100), ..settings() });
    let mut client = Client::open(&store);
    client.create(pb::WatchCreateRequest { progress_notify: true, ..key("a") });
    assert!(client.next().await.created);
    store.apply(&[put("elsewhere", "1")]);
    for _ in 0..3 {
        let progress = client.next().await;
        assert_eq!((progress.watch_id, progress.events.len(), revision(&progress)), (0, 0, 2));
    }
}

#[tokio::test]
async fn a_long_message_is_split_only_for_those_who_ask() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    client.create(pb::WatchCreateRequest { fragment: true, ..from_key("a") });
    client.create(from_key("a"));
    assert!(client.next().await.created && client.next().await.created);
    store.apply(&[put("a", &"x".repeat(600)), put("b", &"x".repeat(600)), put("c", "x")]);
    let (mut split, mut whole) = (Vec::new(), Vec::new());
    while split.len() + whole.len() < 3 {
        let response = client.next().await;
        if response.watch_id == 0 { &mut split } else { &mut whole }.push((response.events.len(), response.fragment));
    }
    assert_eq!((split, whole), (vec![(1, true), (2, false)], vec![(3, false)]));
}

#[tokio::test]
async fn streams_end_when_the_hub_stops() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    client.create(key("a"));
    assert!(client.next().await.created);
    store.hub.stop();
    let status = client.next_result().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test]
async fn after_a_snapshot_was_installed_nothing_is_skipped_or_repeated() {
    let store = Store::new(settings());
    let mut client = Client::open(&store);
    client.create(from_key("a"));
    assert!(client.next().await.created);
    store.apply(&[put("a", "1")]);
    assert_eq!(revision(&client.next().await), 2);
    store.apply_unpublished(&[put("a", "2")]);
    store.apply_unpublished(&[put("a", "3")]);
    store.reset();
    store.apply(&[put("a", "4")]);
    let mut revisions = Vec::new();
    while revisions.len() < 3 {
        revisions.extend(client.next().await.events.iter().filter_map(|event| Some(event.kv.as_ref()?.mod_revision)));
    }
    assert_eq!(revisions, [3, 4, 5]);
}
