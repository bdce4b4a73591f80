//! A member that cannot apply what is committed.

use super::*;

fn normal(index: Index) -> Entry {
    Entry { index, term: 1, kind: EntryKind::Normal, data: Bytes::from_static(b"entry") }
}

/// What a node is handed to apply.
fn handed(effects: &[Effect]) -> Vec<Index> {
    let applied = effects.iter().filter_map(|effect| match effect {
        Effect::Apply(entries) => Some(entries.iter().map(|entry| entry.index).collect::<Vec<_>>()),
        _ => None,
    });
    applied.flatten().collect()
}

/// A member that starts with entries 1 to 3 committed and not applied, and was handed them.
fn replaying() -> (Node, Vec<Entry>) {
    let entries: Vec<Entry> = (1..=3).map(normal).collect();
    let log = Arc::new(Mutex::new(entries.clone()));
    let start = Start {
        id: 1,
        hard_state: HardState { term: 1, vote: 0, commit: 3 },
        conf_state: ConfState { voters: vec![1, 2], ..Default::default() },
        applied: 0,
        truncated: (0, 0),
        last_index: 3,
        memory_bytes_max: 16,
        seed: 1,
        timing: Timing { election_ticks: ELECTION_TICKS, pre_vote: true },
    };
    let mut node = Node::new(start, 1, Box::new(Reader(log)));
    assert_eq!(handed(&node.turn(None)), [1, 2, 3]);
    (node, entries)
}

#[test]
fn nothing_more_is_handed_over_when_entries_could_not_be_applied() {
    let (mut node, entries) = replaying();
    assert!(handed(&node.turn([Event::CannotApply { entries }])).is_empty());
    for _ in 0..3 * ELECTION_TICKS {
        assert!(handed(&node.turn([Event::Tick])).is_empty());
    }
    assert_eq!((node.status().applied, node.status().commit), (0, 3));
}

#[test]
fn a_snapshot_ends_that_and_what_comes_after_it_is_handed_over() {
    let (mut node, entries) = replaying();
    node.turn([Event::CannotApply { entries }]);
    node.apply.restart_at(2);
    let mut effects = Vec::new();
    node.hand_to_apply(&mut effects);
    assert_eq!(handed(&effects), [3]);
}

#[test]
#[should_panic(expected = "what was handed over comes back whole")]
fn a_part_of_what_was_handed_over_is_not_taken_back() {
    let (mut node, mut entries) = replaying();
    entries.pop();
    node.turn([Event::CannotApply { entries }]);
}
