//! Gives back the space of compacted versions, in steps whose pace is the caller's.
//!
//! Compaction itself is only a higher watermark. The sweep walks the rows of `log` from the previous watermark (inclusive) to the
//! new one: each deletes what it superseded, and itself when it is a tombstone below the watermark. What etcd's compaction would
//! keep stays.
//! Invariant: a row is deleted only after the watermark that allows it was written, and the position stands in the same batch.

use bytes::{Buf, BufMut};

use super::rows::{FORMAT, LogKind, LogRow, NEVER_REACHED, body};
use super::{Error, Revision, State, keys};
use crate::backend::{Family, View, WriteBatch};

/// How far the sweep has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The next row of `log` to look at.
    pub next: Revision,
    /// The watermark up to which everything is swept; -1 = none.
    pub swept: i64,
    /// The watermark that the sweep under way goes to; `swept` when there is none. A later one waits for the next sweep, because
    /// tombstones at the target itself stay.
    pub target: i64,
}

impl Position {
    const KEY: &'static [u8] = b"sweep";

    /// # Errors
    /// The backend's, or a malformed row.
    pub fn load(view: &dyn View) -> Result<Position, Error> {
        let Some(value) = view.get(Family::Meta, Position::KEY)? else {
            return Ok(Position { next: Revision::default(), swept: -1, target: -1 });
        };
        let mut body = body(Family::Meta, Position::KEY, &value, 28)?;
        let next = Revision { main: body.get_i64(), sub: i64::from(body.get_u32()) };
        let position = Position { next, swept: body.get_i64(), target: body.get_i64() };
        let counts = -1..NEVER_REACHED;
        let ordered = next.main >= 0 && position.swept <= position.target;
        if !ordered || ![next.main, position.swept, position.target].iter().all(|main| counts.contains(main)) {
            return Err(Error::malformed(Family::Meta, Position::KEY, "its revisions contradict each other"));
        }
        Ok(position)
    }

    /// Whether nothing waits to be swept.
    pub fn is_done(&self, state: &State) -> bool {
        self.swept >= state.compact_revision
    }

    fn store(&self, batch: &mut WriteBatch) {
        let mut value = Vec::with_capacity(29);
        value.put_u8(FORMAT);
        value.put_slice(&keys::log_key(self.next));
        value.put_i64(self.swept);
        value.put_i64(self.target);
        batch.put(Family::Meta, Position::KEY, value);
    }
}

/// One step's deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// To be written like any other batch; it holds the new position.
    pub batch: WriteBatch,
    pub position: Position,
    /// Everything below the state's watermark is swept.
    pub done: bool,
    /// Bytes of etcd's rows that this step deletes; a step that is done again after a crash counts less.
    pub row_bytes: u64,
}

/// Makes the next step, looking at no more than `rows_max` rows of `log` (at least one).
///
/// # Errors
/// The store's own.
pub fn sweep(view: &dyn View, state: &State, position: Position, rows_max: usize) -> Result<Sweep, Error> {
    let mut sweep = Sweep { batch: WriteBatch::default(), position, done: true, row_bytes: 0 };
    if position.is_done(state) {
        return Ok(sweep);
    }
    let target = if position.swept < position.target { position.target } else { state.compact_revision };
    let upper = keys::log_key(Revision::new(target + 1, 0));
    let mut cursor = view.cursor(Family::Log, &keys::log_key(position.next), Some(&upper))?;
    let mut rows = 0;
    // The next sweep looks again at rows of the target's own revision: its tombstones may then go.
    sweep.position = Position { next: Revision::new(target.max(0), 0), swept: target, target };
    sweep.done = target == state.compact_revision;
    while let Some(row) = cursor.next()? {
        let revision = keys::read_log_key(row.key)?;
        if rows == rows_max.max(1) {
            sweep.position = Position { next: revision, swept: position.swept, target };
            sweep.done = false;
            break;
        }
        rows += 1;
        let log = LogRow::decode(row.key, row.value)?;
        if let Some(superseded) = log.superseded
            && revision.main > position.swept
        {
            sweep.delete(log.key, superseded.revision, superseded.row_bytes);
        }
        if log.kind == LogKind::Delete && revision.main < target {
            sweep.delete(log.key, revision, log.row_bytes);
        }
    }
    sweep.position.store(&mut sweep.batch);
    Ok(sweep)
}

impl Sweep {
    fn delete(&mut self, key: &[u8], revision: Revision, row_bytes: u32) {
        self.batch.delete(Family::Values, keys::values_key(key, revision));
        self.batch.delete(Family::Log, keys::log_key(revision).to_vec());
        self.row_bytes += u64::from(row_bytes);
    }
}
