//! The rows that every turn writes: the applied index and term in each family, revisions and sizes in `meta`.

use bytes::{Buf, BufMut, Bytes};

use super::overlay::Overlay;
use super::{Error, Machine};
use crate::backend::{Family, View};
use crate::log::{Index, Term};
use crate::mvcc::rows::{Core, FORMAT, body};
use crate::mvcc::{self, APPLIED_KEY};

/// The point of the raft log that rows stand at.
///
/// Invariant: equal in all families of a store. They are flushed together, and [`Machine::open`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    pub index: Index,
    pub term: Term,
}

impl Applied {
    const BYTES: usize = 17;

    /// What a value of [`APPLIED_KEY`] says; for those who read it below the state machine, as the flusher does.
    ///
    /// # Errors
    /// A malformed row.
    pub fn decode(family: Family, value: &[u8]) -> Result<Applied, mvcc::Error> {
        let mut body = body(family, APPLIED_KEY, value, Applied::BYTES - 1)?;
        Ok(Applied { index: body.get_u64(), term: body.get_u64() })
    }

    /// The value of [`APPLIED_KEY`].
    pub fn encode(&self) -> Bytes {
        let mut value = Vec::with_capacity(Applied::BYTES);
        value.put_u8(FORMAT);
        value.put_u64(self.index);
        value.put_u64(self.term);
        value.into()
    }

    /// Reads it of every family; the default for an empty store.
    ///
    /// # Errors
    /// The backend's, a malformed row, or families that differ.
    pub fn load(view: &dyn View) -> Result<Applied, Error> {
        let of = |family| -> Result<Applied, Error> {
            let value = view.get(family, APPLIED_KEY)?;
            Ok(value.map(|value| Applied::decode(family, &value)).transpose()?.unwrap_or_default())
        };
        let [first, others @ ..] = Family::ALL;
        let expected = of(first)?;
        for family in others {
            let found = of(family)?;
            if found != expected {
                return Err(Error::Torn { family: family.name(), found, first: first.name(), expected });
            }
        }
        Ok(expected)
    }
}

/// Writes the machine's own rows as they are after a turn.
pub(super) fn store(machine: &mut Machine, rows: &mut Overlay<'_>) {
    let value = machine.applied.encode();
    for family in Family::ALL {
        rows.put(family, Bytes::from_static(APPLIED_KEY), value.clone());
    }
    rows.put(Family::Meta, Bytes::from_static(Core::KEY), machine.core.encode());
    if let Some((key, value)) = machine.integrity.take_change() {
        rows.put(Family::Meta, key, value);
    }
    for (key, value) in machine.superseded.take_changes() {
        match value {
            Some(value) => rows.put(Family::Meta, key, value),
            None => rows.delete(Family::Meta, key),
        }
    }
}
