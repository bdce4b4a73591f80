//! The true history: every event of every revision from the first on, and the state at each of them.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bytes::Bytes;

use super::record::{Event, SeenRow, digest};
use super::verdict::Violation;

/// The revision of a store in which nothing was ever written.
pub const EMPTY: i64 = 1;

/// Invariant: events ascend by revision; every revision from `EMPTY` + 1 to the last has at least one.
#[derive(Debug, Default)]
pub struct Truth {
    events: Vec<Event>,
    /// For each key the places of its events, ascending.
    keys: BTreeMap<Bytes, Vec<usize>>,
    /// Where the events of revision `EMPTY` + 1 + n begin.
    begins: Vec<usize>,
}

impl Truth {
    /// Takes the events in the order in which the watch delivered them. What they contradict themselves in is returned too.
    pub fn new(events: Vec<Event>) -> (Truth, Vec<Violation>) {
        let mut truth = Truth::default();
        let mut violations = Vec::new();
        for event in &events {
            let last = truth.last_revision();
            if event.revision != last && event.revision != last + 1 {
                violations.push(Violation::HistoryBroken { after: last, revision: event.revision });
                // Everything later would be a consequence.
                break;
            }
            if event.revision == last + 1 {
                truth.begins.push(truth.events.len());
            }
            violations.extend(truth.contradiction(event));
            truth.keys.entry(event.key.clone()).or_default().push(truth.events.len());
            truth.events.push(event.clone());
        }
        (truth, violations)
    }

    pub fn last_revision(&self) -> i64 {
        EMPTY + i64::try_from(self.begins.len()).unwrap_or(i64::MAX)
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events of one revision; none if there was no such revision.
    pub fn at(&self, revision: i64) -> &[Event] {
        self.place(revision).map_or(&[], |place| &self.events[self.span(place)])
    }

    /// The events from a revision on.
    pub fn from(&self, revision: i64) -> &[Event] {
        let place = usize::try_from(revision.max(EMPTY + 1) - EMPTY - 1).unwrap_or(usize::MAX);
        self.begins.get(place).map_or(&[], |begin| &self.events[*begin..])
    }

    /// The last event of a key at or below a revision.
    pub fn last_event(&self, key: &Bytes, revision: i64) -> Option<&Event> {
        let places = self.keys.get(key)?;
        let after = places.partition_point(|place| self.events[*place].revision <= revision);
        Some(&self.events[places[after.checked_sub(1)?]])
    }

    /// The key's mod revision at a revision, 0 if it did not exist.
    pub fn mod_revision(&self, key: &Bytes, revision: i64) -> i64 {
        self.last_event(key, revision).and_then(|event| event.row.as_ref()).map_or(0, |row| row.mod_revision)
    }

    /// What a read of this range sees at a revision, in the order of keys.
    pub fn rows(&self, from: &Bytes, end: &Bytes, revision: i64) -> Vec<SeenRow> {
        let seen = |key: &Bytes| {
            let row = self.last_event(key, revision)?.row.as_ref()?;
            Some(SeenRow { key: key.clone(), digest: digest(key, Some(row)) })
        };
        if end.is_empty() {
            return seen(from).into_iter().collect();
        }
        if from >= end {
            return Vec::new();
        }
        self.keys
            .range::<Bytes, _>((Bound::Included(from), Bound::Excluded(end)))
            .filter_map(|(key, _)| seen(key))
            .collect()
    }

    fn place(&self, revision: i64) -> Option<usize> {
        let place = usize::try_from(revision - EMPTY - 1).ok()?;
        (place < self.begins.len()).then_some(place)
    }

    fn span(&self, place: usize) -> Range<usize> {
        let end = self.begins.get(place + 1).copied().unwrap_or(self.events.len());
        self.begins[place]..end
    }

    /// Whether the event's counters continue those of the key.
    fn contradiction(&self, event: &Event) -> Option<Violation> {
        let before = self.last_event(&event.key, event.revision);
        let twice = before.is_some_and(|before| before.revision == event.revision);
        let row = before.and_then(|before| before.row.as_ref());
        let right = match (&event.row, row) {
            (None, before) => before.is_some(),
            (Some(new), None) => new.create_revision == event.revision && new.version == 1,
            (Some(new), Some(old)) => new.create_revision == old.create_revision && new.version == old.version + 1,
        };
        let stamped = event.row.as_ref().is_none_or(|new| new.mod_revision == event.revision);
        (twice || !right || !stamped)
            .then(|| Violation::CountersWrong { key: event.key.clone(), revision: event.revision })
    }
}
