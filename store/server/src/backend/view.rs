//! Views of the database and the cursors over them.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::backend::{Cursor, Error, Family, Row, View};
use rocksdb::{DB, DBRawIterator, ReadOptions};

use super::Database;

/// Sees every write that has returned.
pub struct Live {
    database: Arc<Database>,
}

impl Live {
    pub(super) fn new(database: Arc<Database>) -> Live {
        Live { database }
    }
}

impl View for Live {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let row = self.database.rocks.get_pinned_cf(self.database.family(family), key);
        Ok(row.map_err(failed("get", family))?.map(|row| Bytes::copy_from_slice(&row)))
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>, Error> {
        let Some(options) = bounds(lower, upper) else { return Ok(Box::new(Nothing)) };
        let iterator = self.database.rocks.raw_iterator_cf_opt(self.database.family(family), options);
        Ok(Box::new(Rows { iterator, family, position: Position::Unmoved }))
    }
}

/// Sees the rows as they were when it was taken.
pub struct Snapshot {
    /// Invariant: declared before `database`, so that it is released before the database can close.
    rocks: rocksdb::Snapshot<'static>,
    database: Arc<Database>,
    /// Whether what is read takes a place in the cache.
    fills_cache: bool,
}

impl Snapshot {
    pub(super) fn new(database: Arc<Database>) -> Snapshot {
        let rocks = database.rocks.snapshot();
        // SAFETY: the snapshot borrows the `DB` inside the `Arc`, which does not move and lives at least as long as `database`
        // below, which is dropped after `rocks`. The lifetime does not leave this type.
        let rocks = unsafe { std::mem::transmute::<rocksdb::Snapshot<'_>, rocksdb::Snapshot<'static>>(rocks) };
        Snapshot { rocks, database, fills_cache: true }
    }

    /// As it is, but what is read through it takes no place in the cache from what is in use, and so is read from the disk next time too.
    pub fn past_the_cache(self) -> Snapshot {
        Snapshot { fills_cache: false, ..self }
    }
}

impl View for Snapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut options = ReadOptions::default();
        options.fill_cache(self.fills_cache);
        let row = self.rocks.get_pinned_cf_opt(self.database.family(family), key, options);
        Ok(row.map_err(failed("get", family))?.map(|row| Bytes::copy_from_slice(&row)))
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>, Error> {
        let Some(mut options) = bounds(lower, upper) else { return Ok(Box::new(Nothing)) };
        options.fill_cache(self.fills_cache);
        let iterator = self.rocks.raw_iterator_cf_opt(self.database.family(family), options);
        Ok(Box::new(Rows { iterator, family, position: Position::Unmoved }))
    }
}

fn failed(operation: &'static str, family: Family) -> impl FnOnce(rocksdb::Error) -> Error {
    move |error| Error { operation, family: family.name(), reason: error.to_string() }
}

/// Read options with the bounds; `None` when no key lies between them. Bounds are always set, so that a cursor never walks a run
/// of deleted rows beyond what it was asked for.
fn bounds(lower: &[u8], upper: Option<&[u8]>) -> Option<ReadOptions> {
    let mut options = ReadOptions::default();
    if let Some(upper) = upper {
        if upper <= lower {
            return None;
        }
        options.set_iterate_upper_bound(upper);
    }
    if !lower.is_empty() {
        options.set_iterate_lower_bound(lower);
    }
    Some(options)
}

/// A cursor whose bounds hold no key.
struct Nothing;

impl Cursor for Nothing {
    fn seek(&mut self, _key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        Ok(None)
    }

    fn seek_back(&mut self, _key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        Ok(None)
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        Ok(None)
    }

    fn back(&mut self) -> Result<Option<Row<'_>>, Error> {
        Ok(None)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Unmoved,
    Row,
    /// Behind the last row: the next step back is to it.
    End,
    /// Before the first row: the next step forward is to it.
    Start,
}

struct Rows<'a> {
    iterator: DBRawIterator<'a>,
    family: Family,
    position: Position,
}

impl Rows<'_> {
    /// The row under the iterator; `beyond` is where the cursor stands when there is none.
    fn settle(&mut self, beyond: Position) -> Result<Option<Row<'_>>, Error> {
        if self.iterator.valid() {
            self.position = Position::Row;
            return Ok(self.iterator.item().map(|(key, value)| Row { key, value }));
        }
        self.iterator.status().map_err(failed("cursor", self.family))?;
        self.position = beyond;
        Ok(None)
    }
}

impl Cursor for Rows<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        self.iterator.seek(key);
        self.settle(Position::End)
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<Option<Row<'_>>, Error> {
        self.iterator.seek_for_prev(key);
        self.settle(Position::Start)
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self.position {
            Position::Row => self.iterator.next(),
            Position::Unmoved | Position::Start => self.iterator.seek_to_first(),
            Position::End => return Ok(None),
        }
        self.settle(Position::End)
    }

    fn back(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self.position {
            Position::Row => self.iterator.prev(),
            Position::Unmoved | Position::End => self.iterator.seek_to_last(),
            Position::Start => return Ok(None),
        }
        self.settle(Position::Start)
    }
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync + 'static>() {}
    shared_between_threads::<Snapshot>();
    shared_between_threads::<Live>();
    shared_between_threads::<DB>();
};
