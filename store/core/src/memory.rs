//! An ordered store in memory: the `backend::View` of tests and of the simulator.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{Cursor, Error, Family, Row, View, Write, WriteBatch};

type Rows = BTreeMap<Bytes, Bytes>;

/// Rows of all families. A clone is a snapshot: it shares what neither side changes afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    families: [Arc<Rows>; Family::ALL.len()],
    /// A row whose block does not pass its checksum; to meet it is an error.
    damaged: Option<(Family, Bytes)>,
}

/// What reading a damaged row says.
pub const DAMAGE: &str = "the checksum of its block does not match";

impl Memory {
    /// Makes the changes of a batch visible, in order.
    pub fn write(&mut self, batch: &WriteBatch) {
        for write in batch.writes() {
            match write {
                Write::Put { family, key, value } => {
                    self.heal(*family, key);
                    self.rows_mut(*family).insert(key.clone(), value.clone());
                }
                Write::Delete { family, key } => {
                    self.heal(*family, key);
                    self.rows_mut(*family).remove(key);
                }
            }
        }
    }

    /// Damages a row, on the disk and in every copy made from now on, until the row is written anew.
    pub fn damage(&mut self, family: Family, key: Bytes) {
        self.damaged = Some((family, key));
    }

    pub fn is_damaged(&self) -> bool {
        self.damaged.is_some()
    }

    /// The damaged row can be read again.
    pub fn repair(&mut self) {
        self.damaged = None;
    }

    /// The damaged row of a family.
    fn damaged_in(&self, family: Family) -> Option<&Bytes> {
        self.damaged.as_ref().filter(|(damaged, _)| *damaged == family).map(|(_, key)| key)
    }

    /// All rows of a family, in order.
    pub fn rows(&self, family: Family) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.families[family as usize].iter()
    }

    fn heal(&mut self, family: Family, key: &Bytes) {
        if self.damaged_in(family) == Some(key) {
            self.damaged = None;
        }
    }

    fn rows_mut(&mut self, family: Family) -> &mut Rows {
        Arc::make_mut(&mut self.families[family as usize])
    }
}

impl View for Memory {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if self.damaged_in(family).is_some_and(|damaged| damaged[..] == *key) {
            return Err(damage(family));
        }
        Ok(self.families[family as usize].get(key).cloned())
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>, Error> {
        let rows = &self.families[family as usize];
        let (lower, upper, damaged) = (lower.to_vec(), upper.map(<[u8]>::to_vec), self.damaged_in(family));
        Ok(Box::new(MapCursor { rows, lower, upper, at: At::Before, family, damaged }))
    }
}

fn damage(family: Family) -> Error {
    Error { operation: "reading", family: family.name(), reason: DAMAGE.to_owned() }
}

struct MapCursor<'a> {
    rows: &'a Rows,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    at: At<'a>,
    family: Family,
    damaged: Option<&'a Bytes>,
}

/// Where a cursor stands.
enum At<'a> {
    /// Nowhere yet.
    Before,
    Row(&'a Bytes),
    /// It ran out of rows; the next move starts anew.
    Out,
}

impl<'a> MapCursor<'a> {
    /// The first row from `from` on, inside the bounds.
    fn first(&mut self, from: Bound<&[u8]>) -> Result<Option<Row<'a>>, Error> {
        let from = match from {
            Bound::Included(key) | Bound::Excluded(key) if key < &self.lower[..] => Bound::Included(&self.lower[..]),
            Bound::Unbounded => Bound::Included(&self.lower[..]),
            from => from,
        };
        let found = self.rows.range::<[u8], _>((from, Bound::Unbounded)).next();
        let found = found.filter(|(key, _)| self.upper.as_ref().is_none_or(|upper| key[..] < upper[..]));
        self.stand(found)
    }

    /// The last row up to `to`, inside the bounds.
    fn last(&mut self, to: Bound<&[u8]>) -> Result<Option<Row<'a>>, Error> {
        let to = match (to, &self.upper) {
            (Bound::Included(key) | Bound::Excluded(key), Some(upper)) if key >= &upper[..] => {
                Bound::Excluded(&upper[..])
            }
            (Bound::Unbounded, Some(upper)) => Bound::Excluded(&upper[..]),
            (to, _) => to,
        };
        let found = self.rows.range::<[u8], _>((Bound::Unbounded, to)).next_back();
        let found = found.filter(|(key, _)| key[..] >= self.lower[..]);
        self.stand(found)
    }

    fn stand(&mut self, found: Option<(&'a Bytes, &'a Bytes)>) -> Result<Option<Row<'a>>, Error> {
        if self.damaged.is_some() && found.map(|(key, _)| key) == self.damaged {
            return Err(damage(self.family));
        }
        self.at = found.map_or(At::Out, |(key, _)| At::Row(key));
        Ok(found.map(|(key, value)| Row { key, value }))
    }
}

impl Cursor for MapCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        self.first(Bound::Included(key))
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        self.last(Bound::Included(key))
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self.at {
            At::Before => self.first(Bound::Unbounded),
            At::Row(key) => self.first(Bound::Excluded(key)),
            At::Out => Ok(None),
        }
    }

    fn back(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self.at {
            At::Before => self.last(Bound::Unbounded),
            At::Row(key) => self.last(Bound::Excluded(key)),
            At::Out => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: &[&'static str]) -> Memory {
        let mut memory = Memory::default();
        let mut batch = WriteBatch::default();
        keys.iter().for_each(|key| batch.put(Family::Keys, *key, *key));
        memory.write(&batch);
        memory
    }

    fn key(row: Result<Option<Row<'_>>, Error>) -> Option<String> {
        row.unwrap().map(|row| String::from_utf8_lossy(row.key).into_owned())
    }

    #[test]
    fn a_cursor_stays_inside_its_bounds_in_both_directions() {
        let memory = rows(&["a", "b", "c", "d"]);
        let mut cursor = memory.cursor(Family::Keys, b"b", Some(b"d")).unwrap();
        assert_eq!(key(cursor.next()).as_deref(), Some("b"));
        assert_eq!(key(cursor.back()), None);
        assert_eq!(key(cursor.seek(b"a")).as_deref(), Some("b"));
        assert_eq!(key(cursor.next()).as_deref(), Some("c"));
        assert_eq!(key(cursor.next()), None);
        assert_eq!(key(cursor.seek_back(b"z")).as_deref(), Some("c"));
        assert_eq!(key(cursor.seek_back(b"bb")).as_deref(), Some("b"));
        assert_eq!(key(cursor.seek_back(b"a")), None);
        assert_eq!(key(cursor.seek(b"d")), None);
        let mut backwards = memory.cursor(Family::Keys, b"", None).unwrap();
        assert_eq!(key(backwards.back()).as_deref(), Some("d"));
        assert_eq!(key(backwards.back()).as_deref(), Some("c"));
        assert_eq!(key(backwards.next()).as_deref(), Some("d"));
        let mut nothing = memory.cursor(Family::Keys, b"d", Some(b"b")).unwrap();
        assert_eq!((key(nothing.next()), key(nothing.seek(b"c"))), (None, None));
    }

    #[test]
    fn a_damaged_row_is_an_error_wherever_it_is_met_until_it_is_written_anew() {
        let mut memory = rows(&["a", "b", "c"]);
        memory.damage(Family::Keys, "b".into());
        let mut copy = memory.clone();
        assert!(memory.get(Family::Keys, b"b").unwrap_err().to_string().contains(DAMAGE));
        assert!(memory.get(Family::Keys, b"a").is_ok() && memory.get(Family::Values, b"b").is_ok());
        let mut cursor = memory.cursor(Family::Keys, b"", None).unwrap();
        assert_eq!(key(cursor.next()).as_deref(), Some("a"));
        assert!(cursor.next().is_err() && cursor.seek_back(b"bb").is_err());
        drop(cursor);
        let mut batch = WriteBatch::default();
        batch.put(Family::Keys, "b", "new");
        copy.write(&batch);
        assert_eq!((copy.get(Family::Keys, b"b").unwrap().as_deref(), copy.is_damaged()), (Some(&b"new"[..]), false));
        memory.repair();
        assert!(memory.get(Family::Keys, b"b").unwrap().is_some());
    }

    #[test]
    fn a_clone_is_a_snapshot() {
        let mut memory = rows(&["a"]);
        let snapshot = memory.clone();
        let mut batch = WriteBatch::default();
        batch.delete(Family::Keys, &b"a"[..]);
        memory.write(&batch);
        assert_eq!(memory.get(Family::Keys, b"a").unwrap(), None);
        assert!(snapshot.get(Family::Keys, b"a").unwrap().is_some());
    }
}
