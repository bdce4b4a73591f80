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
}

impl Memory {
    /// Makes the changes of a batch visible, in order.
    pub fn write(&mut self, batch: &WriteBatch) {
        for write in batch.writes() {
            match write {
                Write::Put { family, key, value } => {
                    self.rows_mut(*family).insert(key.clone(), value.clone());
                }
                Write::Delete { family, key } => {
                    self.rows_mut(*family).remove(key);
                }
            }
        }
    }

    /// All rows of a family, in order.
    pub fn rows(&self, family: Family) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.families[family as usize].iter()
    }

    fn rows_mut(&mut self, family: Family) -> &mut Rows {
        Arc::make_mut(&mut self.families[family as usize])
    }
}

impl View for Memory {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.families[family as usize].get(key).cloned())
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>, Error> {
        let rows = &self.families[family as usize];
        Ok(Box::new(MapCursor { rows, lower: lower.to_vec(), upper: upper.map(<[u8]>::to_vec), at: At::Before }))
    }
}

struct MapCursor<'a> {
    rows: &'a Rows,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    at: At<'a>,
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
    fn first(&mut self, from: Bound<&[u8]>) -> Option<Row<'a>> {
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
    fn last(&mut self, to: Bound<&[u8]>) -> Option<Row<'a>> {
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

    fn stand(&mut self, found: Option<(&'a Bytes, &'a Bytes)>) -> Option<Row<'a>> {
        self.at = found.map_or(At::Out, |(key, _)| At::Row(key));
        found.map(|(key, value)| Row { key, value })
    }
}

impl Cursor for MapCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        Ok(self.first(Bound::Included(key)))
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        Ok(self.last(Bound::Included(key)))
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        Ok(match self.at {
            At::Before => self.first(Bound::Unbounded),
            At::Row(key) => self.first(Bound::Excluded(key)),
            At::Out => None,
        })
    }

    fn back(&mut self) -> Result<Option<Row<'_>>, Error> {
        Ok(match self.at {
            At::Before => self.last(Bound::Unbounded),
            At::Row(key) => self.last(Bound::Excluded(key)),
            At::Out => None,
        })
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
