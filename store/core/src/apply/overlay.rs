//! Rows that a turn has written so far, over the view that it began with: later commands of a turn see earlier ones, and the whole
//! leaves as one batch in which each row stands once.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::{Bytes, BytesMut};

use crate::backend::{Cursor, Error, Family, Row, View, WriteBatch};

/// Row keys and values are cut from blocks of this size: one allocation for dozens of rows.
const BLOCK_BYTES: usize = 16 * 1024;

/// `None` = deleted.
type Rows = BTreeMap<Bytes, Option<Bytes>>;

pub(super) struct Overlay<'v> {
    base: &'v dyn View,
    families: [Rows; Family::ALL.len()],
    block: BytesMut,
    /// The row of `keys` that was read from below last: a transaction compares a key and then puts it.
    read_last: RefCell<Option<(Vec<u8>, Option<Bytes>)>>,
}

impl<'v> Overlay<'v> {
    pub fn new(base: &'v dyn View) -> Overlay<'v> {
        Overlay { base, families: Default::default(), block: BytesMut::new(), read_last: RefCell::new(None) }
    }

    pub fn put(&mut self, family: Family, key: Bytes, value: Bytes) {
        self.families[family as usize].insert(key, Some(value));
    }

    pub fn delete(&mut self, family: Family, key: Bytes) {
        self.families[family as usize].insert(key, None);
    }

    /// Makes bytes of at most `bytes_max` for a row.
    pub fn make(&mut self, bytes_max: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if bytes_max > BLOCK_BYTES / 4 {
            let mut alone = BytesMut::with_capacity(bytes_max);
            write(&mut alone);
            return alone.freeze();
        }
        if self.block.capacity() < bytes_max {
            self.block = BytesMut::with_capacity(BLOCK_BYTES);
        }
        assert!(self.block.is_empty());
        write(&mut self.block);
        self.block.split().freeze()
    }

    fn read_key(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut read_last = self.read_last.borrow_mut();
        if let Some((last, value)) = &*read_last
            && last == key
        {
            return Ok(value.clone());
        }
        let value = self.base.get(Family::Keys, key)?;
        let (mut last, _) = read_last.take().unwrap_or_default();
        last.clear();
        last.extend_from_slice(key);
        *read_last = Some((last, value.clone()));
        Ok(value)
    }

    pub fn into_batch(self) -> WriteBatch {
        let mut batch = WriteBatch::default();
        for (family, rows) in Family::ALL.into_iter().zip(self.families) {
            for (key, value) in rows {
                match value {
                    Some(value) => batch.put(family, key, value),
                    None => batch.delete(family, key),
                }
            }
        }
        batch
    }
}

impl View for Overlay<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.families[family as usize].get(key) {
            Some(value) => Ok(value.clone()),
            None if family == Family::Keys => self.read_key(key),
            None => self.base.get(family, key),
        }
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>, Error> {
        let base = self.base.cursor(family, lower, upper)?;
        let rows = &self.families[family as usize];
        let (lower, upper) = (Bound::Included(lower), upper.map_or(Bound::Unbounded, Bound::Excluded));
        if is_backwards(lower, upper) || rows.range::<[u8], _>((lower, upper)).next().is_none() {
            return Ok(base);
        }
        let (lower, upper) = (lower.map(<[u8]>::to_vec), upper.map(<[u8]>::to_vec));
        Ok(Box::new(Merged {
            base,
            rows,
            lower,
            upper,
            at: At::Before,
            key: Vec::new(),
            value: Vec::new(),
            head: Head::Unknown,
        }))
    }
}

/// Such a range panics in the map; it just has no rows.
fn is_backwards(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower), Bound::Excluded(upper)) => lower >= upper,
        (Bound::Excluded(lower), Bound::Excluded(upper)) => lower >= upper,
        (Bound::Excluded(lower), Bound::Included(upper)) => lower >= upper,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// Merges written rows with those below. Copies the rows from below: it is used only where a turn reads back a range in which it
/// has written.
struct Merged<'a> {
    base: Box<dyn Cursor + 'a>,
    rows: &'a Rows,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    at: At,
    /// The current row's key, or the place that was looked at last.
    key: Vec<u8>,
    value: Vec<u8>,
    head: Head,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Before,
    Row,
    Out,
}

/// Where the cursor below stands.
enum Head {
    Unknown,
    /// On this row, or after all rows, having moved in this direction.
    At {
        forward: bool,
        row: Option<(Vec<u8>, Vec<u8>)>,
    },
}

impl Merged<'_> {
    /// Moves the cursor below to its first row from `self.key` on (without it when `past`), in the direction.
    fn move_below(&mut self, forward: bool, past: bool) -> Result<(), Error> {
        let order = match &self.head {
            Head::At { forward: moved, row } if *moved == forward => match row {
                Some((key, _)) if forward => key.cmp(&self.key),
                Some((key, _)) => self.key.cmp(key),
                None => Ordering::Greater,
            },
            _ => Ordering::Less,
        };
        let row = match order {
            Ordering::Greater => return Ok(()),
            Ordering::Equal if !past => return Ok(()),
            Ordering::Equal if forward => self.base.next()?,
            Ordering::Equal => self.base.back()?,
            Ordering::Less => {
                let found = if forward { self.base.seek(&self.key)? } else { self.base.seek_back(&self.key)? };
                let is_here = past && found.is_some_and(|row| row.key == self.key);
                match (is_here, forward) {
                    (false, _) => found,
                    (true, true) => self.base.next()?,
                    (true, false) => self.base.back()?,
                }
            }
        };
        let row = row.map(|row| (row.key.to_vec(), row.value.to_vec()));
        self.head = Head::At { forward, row };
        Ok(())
    }

    /// Stands on the first row from `self.key` on (without it when `past`), in the direction.
    fn find(&mut self, forward: bool, mut past: bool) -> Result<Option<Row<'_>>, Error> {
        loop {
            self.move_below(forward, past)?;
            let below = match &self.head {
                Head::At { row: Some((key, value)), .. } => Some((key, value)),
                _ => None,
            };
            let written = self.written(forward, past);
            let from_below = match (&below, &written) {
                (None, None) => {
                    self.at = At::Out;
                    return Ok(None);
                }
                (Some((below, _)), Some((written, _))) if forward => below[..] < written[..],
                (Some((below, _)), Some((written, _))) => below[..] > written[..],
                (below, _) => below.is_some(),
            };
            self.at = At::Row;
            match (below, written) {
                (Some((key, value)), _) if from_below => {
                    self.key.clone_from(key);
                    self.value.clone_from(value);
                    return Ok(Some(Row { key: &self.key, value: &self.value }));
                }
                (_, Some((key, Some(value)))) => {
                    self.key = key.to_vec();
                    self.value = value.to_vec();
                    return Ok(Some(Row { key: &self.key, value: &self.value }));
                }
                (_, Some((key, None))) => self.key = key.to_vec(),
                (_, None) => unreachable!("then the row is from below"),
            }
            past = true;
        }
    }

    /// The next written row, or deletion, in the direction.
    fn written(&self, forward: bool, past: bool) -> Option<(Bytes, Option<Bytes>)> {
        let key = &self.key[..];
        let from = if past { Bound::Excluded(key) } else { Bound::Included(key) };
        let lower = self.lower.as_ref().map(|bound| &bound[..]);
        let upper = self.upper.as_ref().map(|bound| &bound[..]);
        let (lower, upper) = match forward {
            true if matches!(lower, Bound::Included(lower) if key < lower) => (lower, upper),
            true => (from, upper),
            false if matches!(upper, Bound::Excluded(upper) if key >= upper) => (lower, upper),
            false => (lower, from),
        };
        if is_backwards(lower, upper) {
            return None;
        }
        let mut range = self.rows.range::<[u8], _>((lower, upper));
        let found = if forward { range.next() } else { range.next_back() };
        found.map(|(key, value)| (key.clone(), value.clone()))
    }

    /// Stands on the last row.
    fn last(&mut self) -> Result<Option<Row<'_>>, Error> {
        self.key = match &self.upper {
            Bound::Excluded(upper) | Bound::Included(upper) => upper.clone(),
            Bound::Unbounded => {
                let below = self.base.back()?.map_or(Vec::new(), |row| row.key.to_vec());
                let written = self.rows.last_key_value().map_or(Vec::new(), |(key, _)| key.to_vec());
                below.max(written)
            }
        };
        self.find(false, false)
    }
}

impl Cursor for Merged<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        self.key = key.to_vec();
        self.head = Head::Unknown;
        self.find(true, false)
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        self.key = key.to_vec();
        self.head = Head::Unknown;
        self.find(false, false)
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self.at {
            At::Before => {
                self.key = Vec::new();
                self.find(true, false)
            }
            At::Row => self.find(true, true),
            At::Out => Ok(None),
        }
    }

    fn back(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self.at {
            At::Before => self.last(),
            At::Row => self.find(false, true),
            At::Out => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::Memory;

    fn key(number: u8) -> Bytes {
        vec![b'k', number].into()
    }

    #[derive(Debug, Clone)]
    enum Move {
        Next,
        Back,
        Seek(u8),
        SeekBack(u8),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            4 => Just(Move::Next),
            4 => Just(Move::Back),
            1 => (0u8..12).prop_map(Move::Seek),
            1 => (0u8..12).prop_map(Move::SeekBack),
        ];
        proptest::collection::vec(one, 1..20)
    }

    proptest! {
        #[test]
        fn reads_like_the_store_that_the_batch_was_written_to(
            base in proptest::collection::vec(0u8..10, 0..8),
            written in proptest::collection::vec((0u8..10, any::<bool>()), 0..8),
            lower in 0u8..10,
            upper in proptest::option::of(0u8..12),
            moves in moves(),
        ) {
            let mut memory = Memory::default();
            let mut batch = WriteBatch::default();
            base.iter().for_each(|number| batch.put(Family::Log, key(*number), vec![*number]));
            memory.write(&batch);
            let before = memory.clone();
            let mut overlay = Overlay::new(&before);
            for (number, put) in written {
                match put {
                    true => overlay.put(Family::Log, key(number), Bytes::from_static(b"new")),
                    false => overlay.delete(Family::Log, key(number)),
                }
            }
            let (lower, upper) = (key(lower), upper.map(key));
            let mut seen = Vec::new();
            let mut cursor = overlay.cursor(Family::Log, &lower, upper.as_deref()).unwrap();
            walk(&mut *cursor, &moves, &mut seen);
            drop(cursor);
            let gets: Vec<_> = (0..10).map(|number| overlay.get(Family::Log, &key(number)).unwrap()).collect();
            memory.write(&overlay.into_batch());
            let mut expected = Vec::new();
            walk(&mut *memory.cursor(Family::Log, &lower, upper.as_deref()).unwrap(), &moves, &mut expected);
            prop_assert_eq!(seen, expected);
            let expected: Vec<_> = (0..10).map(|number| memory.get(Family::Log, &key(number)).unwrap()).collect();
            prop_assert_eq!(gets, expected);
        }
    }

    fn walk(cursor: &mut dyn Cursor, moves: &[Move], seen: &mut Vec<Option<(Vec<u8>, Vec<u8>)>>) {
        for one in moves {
            let row = match one {
                Move::Next => cursor.next(),
                Move::Back => cursor.back(),
                Move::Seek(number) => cursor.seek(&key(*number)),
                Move::SeekBack(number) => cursor.seek_back(&key(*number)),
            };
            seen.push(row.unwrap().map(|row| (row.key.to_vec(), row.value.to_vec())));
        }
    }
}
