//! The last group that a log has synced: what shows that it was synced, what it holds, and its damage.

use quorate_core::log::{EntryKind, Index, Term};
use quorate_core::wal_format::{self as format, Location, RECORD_HEAD_BYTES, Recovery, Tail};

use super::faults::Flip;
use super::{Log, Segment};
use crate::chance::Chance;

/// Of a group record, what its checksum covers at least.
const GROUP_BYTES: u32 = RECORD_HEAD_BYTES as u32 + 32;
/// Of an entry's record on disk, what may be padding that no checksum covers.
const PADDING_BYTES_MAX: u32 = 7;

/// See the module.
pub struct LastGroup {
    pub entries: Vec<(Index, Term)>,
    /// Something shows that its sync had returned: the hint behind it, or a database that holds more than the log does without it.
    pub is_proven: bool,
    /// It adds entries to the end of the log, and nothing else: no other term, vote or snapshot, and no entry in another's place. And
    /// the database has applied every membership change of the log, so that none is lost, nor the knowledge that one is committed.
    pub only_appends: bool,
    records: Vec<Location>,
}

impl Log {
    /// `None` when there is none that was synced, or when the end of the log is damaged or torn already.
    pub fn last_group_on_disk(&self, durable_applied: Index) -> Option<LastGroup> {
        let whole = self.scan(None, durable_applied).ok()??;
        let (tail, start) = (whole.tail, whole.last_group);
        if whole.torn.is_some() || tail != self.tail || start == tail.offset {
            return None;
        }
        let newest = self.segments.back()?;
        let mut without = newest.file.bytes().to_vec();
        without[start as usize..].fill(0);
        let before = match self.scan(Some(&without), durable_applied) {
            Ok(before) => before,
            Err(format::Error::Short { .. }) => None,
            Err(_) => return None,
        };
        let indexes = whole.index.first()..=whole.index.last();
        let located = indexes.filter_map(|index| Some((index, whole.index.location(index)?)));
        let own = located.filter(|(_, place)| place.seq == tail.seq && place.offset >= start);
        let (entries, mut records): (Vec<_>, Vec<_>) = own.map(|(index, place)| ((index, place.term), place)).unzip();
        records.push(Location { seq: tail.seq, offset: start, bytes: GROUP_BYTES, term: 0 });
        let only_appends = before.as_ref().is_some_and(|before| {
            follows(before, &whole, entries.len() as u64) && self.are_normal(durable_applied + 1, whole.index.last())
        });
        let is_proven = before.is_none() || self.hint_stands(newest, &tail);
        Some(LastGroup { entries, is_proven, only_appends, records })
    }

    /// Whether no membership change stands between these, both included.
    fn are_normal(&self, first: Index, last: Index) -> bool {
        (first..=last).all(|index| self.entry(index).is_some_and(|entry| entry.kind == EntryKind::Normal))
    }

    /// Whether a hint that was written at the end of the log is still there.
    fn hint_stands(&self, newest: &Segment, tail: &Tail) -> bool {
        let (seq, offset, hints) = &self.hinted;
        let stands = |hint: &Vec<u8>| newest.file.bytes()[*offset as usize..].starts_with(hint);
        (*seq, *offset) == (tail.seq, tail.offset) && hints.iter().any(stands)
    }

    /// Turns over a bit of the group, or has one of its records read from elsewhere.
    pub fn damage_last_group(&mut self, group: &LastGroup, chance: &mut Chance) {
        let record = chance.pick(&group.records);
        if chance.percent(40) {
            let all = self.index.first()..=self.index.last();
            let places: Vec<Location> = all.filter_map(|index| self.index.location(index)).collect();
            if !places.is_empty() && self.overlay(&record, &chance.pick(&places)) {
                return;
            }
        }
        let covered = u64::from(record.bytes - PADDING_BYTES_MAX);
        let offset = (record.offset + chance.between(0, covered)) as usize;
        self.damage(Flip { seq: record.seq, offset, mask: 1 << chance.between(0, 8) });
    }
}

/// Whether `whole` is `before` and so many entries more.
fn follows(before: &Recovery, whole: &Recovery, entries: u64) -> bool {
    let (old, new) = (before.hard_state, whole.hard_state);
    (old.term, old.vote) == (new.term, new.vote)
        && before.marker == whole.marker
        && before.index.last() + entries == whole.index.last()
}
