//! Random histories: every answer, every read at every revision, every hash and every event equal the naive model's; a member that
//! loses its last batches and applies them again, or applies them in other turns, comes to the same rows.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_api::etcdserverpb::{self as pb, compare::TargetUnion, request_op::Request as Op};

use super::fixture::{Store, op};
use super::model::Model;
use crate::apply::attached_keys;
use crate::backend::Family;
use crate::command::Request;
use crate::mvcc::{self, BASE_BYTES, EventKind, EventLimits, Revision, State};
use crate::validate;

/// Names that are prefixes of each other, and hold bytes that row keys escape.
const KEYS: [&[u8]; 7] = [b"a", b"a\0", b"a\0\xff", b"a\x01", b"ab", b"b", b"\xff\xff"];

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&KEYS[..]).prop_map(Bytes::from_static)
}

fn end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        2 => key(),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "x", "y", "a longer value"]).prop_map(Bytes::from)
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0i64), 2 => prop::sample::select(vec![1i64, 2, -1])]
}

/// A place between the first and a little above the newest revision, resolved when it is used.
type Place = (u8, i64);

fn place() -> impl Strategy<Value = Place> {
    (0u8..=100, prop_oneof![3 => Just(0i64), 1 => -1i64..=2])
}

fn resolve((percent, offset): Place, newest: i64) -> i64 {
    newest * i64::from(percent) / 100 + offset
}

fn put() -> impl Strategy<Value = pb::PutRequest> {
    (key(), value(), lease(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| pb::PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = pb::DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn range() -> impl Strategy<Value = pb::RangeRequest> {
    let bounds = [(); 4].map(|()| prop_oneof![6 => Just(0i64), 1 => 1i64..30]);
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (key(), end(), -1i64..4, prop_oneof![4 => Just(0i64), 1 => -1i64..20], 0i32..3, 0i32..5, flags, bounds).prop_map(
        |(key, range_end, limit, revision, sort_order, sort_target, (keys_only, count_only), bounds)| {
            let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] = bounds;
            pb::RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable: false,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            }
        },
    )
}

fn compare() -> impl Strategy<Value = pb::Compare> {
    let union = prop_oneof![
        Just(None),
        (0i64..4).prop_map(|version| Some(TargetUnion::Version(version))),
        (0i64..20).prop_map(|revision| Some(TargetUnion::CreateRevision(revision))),
        (0i64..20).prop_map(|revision| Some(TargetUnion::ModRevision(revision))),
        value().prop_map(|value| Some(TargetUnion::Value(value))),
        lease().prop_map(|lease| Some(TargetUnion::Lease(lease))),
    ];
    (0i32..4, 0i32..5, key(), end(), union).prop_map(|(result, target, key, range_end, target_union)| pb::Compare {
        result,
        target,
        key,
        target_union,
        range_end,
    })
}

fn branch(nested: bool) -> BoxedStrategy<Vec<pb::RequestOp>> {
    let leaf = prop_oneof![
        3 => put().prop_map(Op::RequestPut),
        2 => delete().prop_map(Op::RequestDeleteRange),
        1 => range().prop_map(Op::RequestRange),
    ];
    if !nested {
        return prop::collection::vec(leaf.prop_map(op), 0..3).boxed();
    }
    prop::collection::vec(prop_oneof![4 => leaf, 1 => txn(false).prop_map(Op::RequestTxn)].prop_map(op), 0..4).boxed()
}

fn txn(nested: bool) -> BoxedStrategy<pb::TxnRequest> {
    (prop::collection::vec(compare(), 0..2), branch(nested), branch(nested))
        .prop_map(|(compare, success, failure)| pb::TxnRequest { compare, success, failure })
        .boxed()
}

#[derive(Debug, Clone)]
enum Step {
    Request(Request),
    Compact(Place),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => put().prop_map(|request| Step::Request(Request::Put(request))),
        4 => delete().prop_map(|request| Step::Request(Request::DeleteRange(request))),
        6 => txn(true)
            .prop_map(|request| Step::Request(Request::Txn(request))),
        2 => prop::sample::select(vec![1i64, 2, -1]).prop_map(|id| {
            Step::Request(Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 9, id }))
        }),
        1 => lease().prop_map(|id| Step::Request(Request::LeaseRevoke { id, expiry: None })),
        1 => place().prop_map(Step::Compact),
    ]
}

/// Turns of entries of commands.
fn history() -> impl Strategy<Value = Vec<Vec<Vec<Step>>>> {
    let entry = prop::collection::vec(step(), 0..4);
    prop::collection::vec(prop::collection::vec(entry, 1..3), 1..12)
}

/// Makes requests of steps; they depend on revisions, which only the model knows beforehand.
fn run(store: &mut Store, model: &mut Model, turn: &[Vec<Step>]) -> Vec<Vec<Request>> {
    let mut expected = Vec::new();
    let mut entries = Vec::new();
    for steps in turn {
        let mut requests = Vec::new();
        for step in steps {
            let request = match step {
                Step::Request(request) => request.clone(),
                Step::Compact(place) => Request::Compact(pb::CompactionRequest {
                    revision: resolve(*place, model.revision),
                    physical: false,
                }),
            };
            if matches!(&request, Request::Txn(txn) if validate::txn(txn, 16).is_err()) {
                continue;
            }
            expected.push(model.apply(&request));
            requests.push(request);
        }
        entries.push(requests);
    }
    let applied = store.turn(entries.clone());
    let answers: Vec<_> = applied.outcomes.into_iter().map(|outcome| outcome.result).collect();
    assert_eq!(answers, expected);
    assert_eq!(store.state(), State { revision: model.revision, compact_revision: model.compacted });
    assert_eq!(store.machine.size_in_use_bytes(), BASE_BYTES + model.bytes());
    let again = mvcc::events(&store.rows, Revision::new(0, 0), i64::MAX - 1, EVERYTHING);
    let written: Vec<_> = applied.events.iter().filter(|event| event.revision.main > model.compacted).collect();
    let read = again.unwrap().events;
    assert!(read.ends_with(&written.into_iter().cloned().collect::<Vec<_>>()), "events are read back from the log");
    entries
}

const EVERYTHING: EventLimits = EventLimits { events_max: usize::MAX, bytes_max: usize::MAX };

fn check_reads(store: &Store, model: &Model, ranges: &[pb::RangeRequest]) {
    for range in ranges {
        let ours = store.range(range.clone()).map_err(|error| error.for_client().unwrap());
        assert_eq!(ours, model.range(range), "{range:?}");
    }
    for revision in model.compacted.max(1)..=model.revision {
        let hash = mvcc::hash_kv(&store.rows, &store.state(), revision).unwrap();
        assert_eq!(hash.hash, model.hash(revision), "hash at {revision}, compacted at {}", model.compacted);
        for key in KEYS {
            let value = mvcc::value_at(&store.rows, key, revision).unwrap();
            assert_eq!(value.as_ref(), model.live(revision).get(key), "{key:?} at {revision}");
        }
    }
    for lease in [1i64, 2, -1] {
        let live = model.live(model.revision);
        let expected: Vec<_> = live.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect();
        assert_eq!(attached_keys(&store.rows, lease).unwrap(), expected, "lease {lease}");
    }
}

/// The rows that a finished sweep leaves are exactly those that etcd's compaction leaves.
fn check_swept(store: &Store, model: &Model) {
    let mut log: Vec<Revision> = Vec::new();
    for (key, _) in store.rows.rows(Family::Log).skip(1) {
        log.push(mvcc::keys::read_log_key(key).unwrap());
    }
    assert_eq!(log, model.rows.keys().copied().collect::<Vec<_>>());
    let values = store.rows.rows(Family::Values).skip(1).count();
    assert_eq!(values, log.len());
    let limits = EventLimits { events_max: 1, bytes_max: 1 };
    let mut from = Revision::new(0, 0);
    for (at, (key, kv)) in &model.rows {
        let read = mvcc::events(&store.rows, from, model.revision, limits).unwrap();
        if let Some(event) = read.events.iter().find(|event| event.revision == *at) {
            assert_eq!((&event.key, event.kind), (key, if kv.is_some() { EventKind::Put } else { EventKind::Delete }));
        } else {
            panic!("{at:?} is missing in {read:?}");
        }
        if read.events.last().is_some_and(|last| last.revision == *at) {
            from = Revision::new(read.next_main, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn answers_reads_and_hashes_equal_the_naive_model(
        history in history(),
        ranges in prop::collection::vec(range(), 1..12),
        sweeps in prop::collection::vec(0usize..4, 12),
        lost in any::<prop::sample::Index>(),
    ) {
        let (mut store, mut model) = (Store::new(), Model::new());
        let (mut turns, mut snapshots) = (Vec::new(), vec![store.rows.clone()]);
        for (turn, sweep) in history.iter().zip(&sweeps) {
            turns.push(run(&mut store, &mut model, turn));
            snapshots.push(store.rows.clone());
            if *sweep > 0 {
                let position = mvcc::Position::load(&store.rows).unwrap();
                let step = mvcc::sweep(&store.rows, &store.state(), position, *sweep).unwrap();
                store.rows.write(&step.batch);
            }
            check_reads(&store, &model, &ranges);
        }
        store.sweep(3);
        check_reads(&store, &model, &ranges);
        check_swept(&store, &model);

        // A crash keeps some prefix of the batches; the rest is applied again, in one turn.
        let kept = lost.index(snapshots.len());
        let mut again = Store::new();
        again.rows = snapshots[kept].clone();
        again.machine = crate::apply::Machine::open(&again.rows).unwrap();
        again.turn(turns[kept..].concat());
        again.sweep(usize::MAX);
        for family in Family::ALL {
            prop_assert!(again.rows.rows(family).eq(store.rows.rows(family)), "family {}", family.name());
        }
        prop_assert_eq!(again.machine, store.machine);
    }
}
