//! Random writers, watchers, readers of every pace and compactions beside a model that keeps every event.

use std::collections::BTreeMap;

use quorate_api::etcdserverpb as pb;
use quorate_api::mvccpb::{Event, KeyValue};
use quorate_core::watch::Limits;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::fixture::{Client, Store, delete, put};
use crate::watch_hub::Settings;

const STEPS: u32 = 400;
const SEEDS: std::ops::Range<u64> = 0..40;

/// What every watcher should see: events with the row before their revision.
#[derive(Default)]
struct History {
    /// By revision: (event, the key's row at the revision before).
    revisions: BTreeMap<i64, Vec<(Event, Option<KeyValue>)>>,
    rows: BTreeMap<Vec<u8>, KeyValue>,
}

impl History {
    /// Writes to some keys in one transaction, each at most once.
    fn write(&mut self, store: &Store, random: &mut ChaCha8Rng) {
        let revision = store.revision() + 1;
        let before = self.rows.clone();
        let (mut ops, mut events) = (Vec::new(), Vec::new());
        let first = random.next_u32() % 8;
        for n in first..first + 1 + random.next_u32() % 3 {
            let key = format!("k{n}");
            let old = before.get(key.as_bytes()).cloned();
            let event = if random.next_u32().is_multiple_of(3) {
                let Some(_) = self.rows.remove(key.as_bytes()) else { continue };
                ops.push(delete(&key));
                let kv = KeyValue { key: key.into(), mod_revision: revision, ..Default::default() };
                Event { r#type: 1, kv: Some(kv), prev_kv: None }
            } else {
                let value = format!("{revision}-").repeat(1 + random.next_u32() as usize % 2000);
                ops.push(put(&key, &value));
                let kv = KeyValue {
                    key: key.clone().into(),
                    create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                    mod_revision: revision,
                    version: old.as_ref().map_or(1, |old| old.version + 1),
                    value: value.into(),
                    lease: 0,
                };
                self.rows.insert(key.into_bytes(), kv.clone());
                Event { r#type: 0, kv: Some(kv), prev_kv: None }
            };
            events.push((event, old));
        }
        if !ops.is_empty() {
            self.revisions.insert(revision, events);
            store.apply(&ops);
        }
    }
}

struct Watcher {
    request: pb::WatchCreateRequest,
    first: i64,
    /// Revisions up to here were seen.
    through: i64,
}

impl Watcher {
    fn wants(&self, event: &Event) -> bool {
        let pb::WatchCreateRequest { key, range_end, filters, .. } = &self.request;
        let watched = event.kv.as_ref().map(|kv| &kv.key).expect("an event has a key");
        let inside = match &range_end[..] {
            [] => watched == key,
            [0] => watched >= key,
            end => watched >= key && watched < end,
        };
        inside && !filters.contains(&event.r#type)
    }

    fn expected<'a>(
        &'a self,
        history: &'a History,
        from: i64,
    ) -> impl Iterator<Item = (i64, &'a Event, Option<&'a KeyValue>)> {
        let revisions = history.revisions.range(from.max(self.first)..);
        let events = revisions
            .flat_map(|(revision, events)| events.iter().map(move |(event, old)| (*revision, event, old.as_ref())));
        events.filter(|(_, event, _)| self.wants(event))
    }
}

struct Stream {
    client: Client,
    /// Requests whose created response has not come yet, in order.
    asked: Vec<pb::WatchCreateRequest>,
    watchers: BTreeMap<i64, Watcher>,
    header: i64,
}

impl Stream {
    async fn receive(&mut self, store: &Store, history: &History, case: &str) {
        let response = self.client.next().await;
        let header = response.header.expect("a response has a header").revision;
        if response.compact_revision > 0 {
            let watcher = self.watchers.remove(&response.watch_id).expect("only a watcher is canceled");
            let next = watcher.first.max(watcher.through + 1);
            assert!(response.canceled && next < response.compact_revision, "{case}: {next} {response:?}");
            return;
        }
        assert!(header >= self.header && header <= store.revision(), "{case}: header {header} after {}", self.header);
        self.header = header;
        if response.created {
            let request = self.asked.remove(0);
            let first = if request.start_revision == 0 { header + 1 } else { request.start_revision };
            let watcher = Watcher { request, first, through: 0 };
            assert!(self.watchers.insert(response.watch_id, watcher).is_none(), "{case}: an id is used twice");
            return;
        }
        if response.events.is_empty() {
            for (id, watcher) in &self.watchers {
                if response.watch_id == -1 || response.watch_id == *id {
                    let missed = watcher
                        .expected(history, watcher.through + 1)
                        .next()
                        .filter(|(revision, ..)| *revision <= header);
                    assert!(missed.is_none(), "{case}: progress {header} is ahead of watcher {id}");
                }
            }
            return;
        }
        let Some(watcher) = self.watchers.get_mut(&response.watch_id) else {
            panic!("{case}: {response:?} for nobody")
        };
        let mut expected = watcher.expected(history, watcher.through + 1).peekable();
        let mut through = watcher.through;
        for event in &response.events {
            let (revision, wanted, old) =
                expected.next().unwrap_or_else(|| panic!("{case}: {event:?} is not expected"));
            assert_eq!((&event.kv, event.r#type), (&wanted.kv, wanted.r#type), "{case}");
            match &event.prev_kv {
                Some(previous) => assert_eq!(Some(previous), old, "{case}"),
                None => assert!(
                    !watcher.request.prev_kv || old.is_none() || revision - 1 < store.compact_revision(),
                    "{case}: revision {revision} lacks its previous value"
                ),
            }
            through = revision;
        }
        let split = expected.peek().is_some_and(|(revision, ..)| *revision == through);
        assert!(!split && through <= header, "{case}: revision {through} is split, or above the header {header}");
        drop(expected);
        watcher.through = through;
    }

    fn create(&mut self, store: &Store, random: &mut ChaCha8Rng) {
        let mut roll = |n: u32| random.next_u32() % n;
        let range_end = match roll(3) {
            0 => String::new(),
            1 => "\0".to_owned(),
            _ => "k9".to_owned(),
        };
        let back = i64::from(roll(60));
        let start_revision = match roll(4) {
            0 => 0,
            1 => store.revision() + i64::from(roll(5)),
            _ => (store.revision() - back).max(1),
        };
        let filters = if roll(4) == 0 { vec![roll(2) as i32] } else { vec![] };
        let request = pb::WatchCreateRequest {
            key: format!("k{}", roll(8)).into(),
            range_end: range_end.into(),
            start_revision,
            prev_kv: roll(2) == 0,
            filters,
            ..Default::default()
        };
        self.asked.push(request.clone());
        self.client.create(request);
    }

    fn is_done(&self, history: &History) -> bool {
        let behind = |watcher: &Watcher| watcher.expected(history, watcher.through + 1).next().is_some();
        self.asked.is_empty() && !self.watchers.values().any(behind)
    }
}

async fn run(seed: u64) {
    let ring = Limits { events: 30, bytes: usize::MAX };
    let store = Store::new(Settings { ring, ..super::settings() });
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut history = History::default();
    let open = || Stream { client: Client::open(&store), asked: Vec::new(), watchers: BTreeMap::new(), header: 0 };
    let mut streams: Vec<Stream> = (0..4).map(|_| open()).collect();
    for step in 0..STEPS {
        let case = format!("seed {seed}, step {step}");
        let at = random.next_u32() as usize % streams.len();
        match random.next_u32() % 20 {
            0..8 => history.write(&store, &mut random),
            8..10 => streams[at].create(&store, &mut random),
            10 if history.rows.len() > 3 && random.next_u32().is_multiple_of(4) => {
                store.compact(
                    (store.revision() - i64::from(random.next_u32() % 30)).max(store.compact_revision() + 1).max(1),
                );
            }
            11 => streams[at].client.request_progress(),
            12..14 => tokio::task::yield_now().await,
            // The first stream never reads before the end, and the others at their own pace.
            _ if at > 0 && !streams[at].is_done(&history) => streams[at].receive(&store, &history, &case).await,
            _ => {}
        }
    }
    for stream in &mut streams {
        while !stream.is_done(&history) {
            stream.receive(&store, &history, &format!("seed {seed}, at the end")).await;
        }
    }
}

#[tokio::test]
async fn every_watcher_sees_exactly_its_events_whatever_the_pace_of_its_reader() {
    for seed in SEEDS {
        run(seed).await;
    }
}
