//! Values of rows that are ours: `keys`, `log`, and the rows of `meta` that readers need. Each begins with a format version;
//! integers are big-endian. (`values` holds etcd's own rows: KeyValue in wire format; empty for a tombstone.)

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use quorate_api::mvccpb::KeyValue;

use super::{Error, Revision, State};
use crate::backend::{Family, View};

/// First byte of every row that is ours.
pub(crate) const FORMAT: u8 = 1;

const BAD_FORMAT: &str = "its format is unknown to this version";
const BAD_LENGTH: &str = "it has the wrong length";
const BAD_NUMBER: &str = "it has a revision, version or size that no history leads to";

/// Above every revision, version and size that a store can come to; so counting on never overflows.
pub(crate) const NEVER_REACHED: i64 = 1 << 62;

/// Checks the format byte and the length of what follows, and gives what follows.
pub(crate) fn body<'a>(family: Family, key: &[u8], value: &'a [u8], length: usize) -> Result<&'a [u8], Error> {
    match value {
        [FORMAT, body @ ..] if body.len() == length => Ok(body),
        [FORMAT, ..] => Err(Error::malformed(family, key, BAD_LENGTH)),
        _ => Err(Error::malformed(family, key, BAD_FORMAT)),
    }
}

/// Row of the family `keys`: what a living key is, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRow {
    pub modified: Revision,
    pub create_revision: i64,
    pub version: i64,
    /// 0 = attached to no lease.
    pub lease: i64,
    /// Bytes of etcd's row (key and value) of the newest version: what its successor frees.
    pub row_bytes: u32,
}

impl KeyRow {
    pub(crate) const BYTES: usize = 41;

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        let KeyRow { modified, create_revision, version, lease, row_bytes } = *self;
        out.put_u8(FORMAT);
        out.put_slice(&super::keys::log_key(modified));
        out.put_i64(create_revision);
        out.put_i64(version);
        out.put_i64(lease);
        out.put_u32(row_bytes);
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<KeyRow, Error> {
        let mut body = body(Family::Keys, key, value, KeyRow::BYTES - 1)?;
        let row = KeyRow {
            modified: Revision { main: body.get_i64(), sub: i64::from(body.get_u32()) },
            create_revision: body.get_i64(),
            version: body.get_i64(),
            lease: body.get_i64(),
            row_bytes: body.get_u32(),
        };
        let counts = 1..NEVER_REACHED;
        if ![row.modified.main, row.create_revision, row.version].iter().all(|count| counts.contains(count)) {
            return Err(Error::malformed(Family::Keys, key, BAD_NUMBER));
        }
        Ok(row)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// The key did not exist.
    Create,
    Update,
    Delete,
}

/// A version that was the newest until a log row's change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superseded {
    pub revision: Revision,
    /// Bytes of etcd's row for it.
    pub row_bytes: u32,
}

/// Row of the family `log`: what happened at one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRow<'a> {
    pub kind: LogKind,
    pub key: &'a [u8],
    /// `None` exactly for a create.
    pub superseded: Option<Superseded>,
    /// Length and crc32c of etcd's row for it, key and value together.
    pub row_bytes: u32,
    pub row_crc: u32,
}

impl<'a> LogRow<'a> {
    const HEAD_BYTES: usize = 10;
    const SUPERSEDED_BYTES: usize = 16;

    pub(crate) fn bytes(&self) -> usize {
        LogRow::HEAD_BYTES + self.key.len() + self.superseded.map_or(0, |_| LogRow::SUPERSEDED_BYTES)
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        let LogRow { kind, key, superseded, row_bytes, row_crc } = *self;
        assert_eq!(superseded.is_none(), kind == LogKind::Create);
        out.put_u8(FORMAT);
        out.put_u8(match kind {
            LogKind::Create => 1,
            LogKind::Update => 2,
            LogKind::Delete => 3,
        });
        out.put_u32(row_bytes);
        out.put_u32(row_crc);
        if let Some(Superseded { revision, row_bytes }) = superseded {
            out.put_slice(&super::keys::log_key(revision));
            out.put_u32(row_bytes);
        }
        out.put_slice(key);
    }

    pub(crate) fn decode(row_key: &[u8], value: &'a [u8]) -> Result<LogRow<'a>, Error> {
        let bad = |reason| Error::malformed(Family::Log, row_key, reason);
        let Some((head, mut rest)) = value.split_first_chunk::<{ LogRow::HEAD_BYTES }>() else {
            return Err(bad(BAD_LENGTH));
        };
        let kind = match head[..2] {
            [FORMAT, 1] => LogKind::Create,
            [FORMAT, 2] => LogKind::Update,
            [FORMAT, 3] => LogKind::Delete,
            _ => return Err(bad(BAD_FORMAT)),
        };
        let mut sums = &head[2..];
        let (row_bytes, row_crc) = (sums.get_u32(), sums.get_u32());
        let superseded = if kind == LogKind::Create {
            None
        } else if rest.len() < LogRow::SUPERSEDED_BYTES {
            return Err(bad(BAD_LENGTH));
        } else {
            let revision = Revision { main: rest.get_i64(), sub: i64::from(rest.get_u32()) };
            if !(1..NEVER_REACHED).contains(&revision.main) {
                return Err(bad(BAD_NUMBER));
            }
            Some(Superseded { revision, row_bytes: rest.get_u32() })
        };
        if rest.is_empty() {
            return Err(bad("it has no user key"));
        }
        Ok(LogRow { kind, key: rest, superseded, row_bytes, row_crc })
    }
}

/// A `values` row; `None` for a tombstone.
pub(crate) fn decode_value(row_key: &[u8], value: Bytes) -> Result<Option<KeyValue>, Error> {
    if value.is_empty() {
        return Ok(None);
    }
    let decoded = KeyValue::decode(value);
    decoded.map(Some).map_err(|_| Error::malformed(Family::Values, row_key, "it is not a KeyValue"))
}

/// etcd's key for a row: main, `_`, sub, and a `t` for a tombstone. What sizes and hashes are counted over.
pub(crate) fn etcd_row_key(revision: Revision, out: &mut [u8; 18], tombstone: bool) -> &[u8] {
    out[..8].copy_from_slice(&revision.main.to_be_bytes());
    out[8] = b'_';
    out[9..17].copy_from_slice(&revision.sub.to_be_bytes());
    out[17] = b't';
    if tombstone { &out[..] } else { &out[..17] }
}

/// The one row of `meta` that changes with every turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Core {
    pub state: State,
    /// Sum of etcd's rows that a finished compaction would have left.
    pub logical_bytes: u64,
    /// 0 before founding.
    pub feature_level: u32,
}

impl Core {
    pub const KEY: &'static [u8] = b"core";

    pub fn load(view: &dyn View) -> Result<Core, Error> {
        let Some(value) = view.get(Family::Meta, Core::KEY)? else {
            return Ok(Core { state: State::default(), logical_bytes: 0, feature_level: 0 });
        };
        let mut body = body(Family::Meta, Core::KEY, &value, 28)?;
        let state = State { revision: body.get_i64(), compact_revision: body.get_i64() };
        let logical_bytes = body.get_u64();
        let ordered = state.compact_revision >= -1 && state.compact_revision <= state.revision;
        let reached = (1..NEVER_REACHED).contains(&state.revision) && logical_bytes < NEVER_REACHED as u64;
        if !ordered || !reached {
            return Err(Error::malformed(Family::Meta, Core::KEY, BAD_NUMBER));
        }
        Ok(Core { state, logical_bytes, feature_level: body.get_u32() })
    }

    pub fn encode(&self) -> Bytes {
        let Core { state: State { revision, compact_revision }, logical_bytes, feature_level } = *self;
        let mut out = Vec::with_capacity(29);
        out.put_u8(FORMAT);
        out.put_i64(revision);
        out.put_i64(compact_revision);
        out.put_u64(logical_bytes);
        out.put_u32(feature_level);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_and_cut_rows_are_refused() {
        let key = KeyRow { modified: Revision::new(7, 2), create_revision: 3, version: 4, lease: -5, row_bytes: 60 };
        let mut value = Vec::new();
        key.encode(&mut value);
        assert_eq!(value.len(), KeyRow::BYTES);
        assert_eq!(KeyRow::decode(b"k", &value).unwrap(), key);
        for end in 0..value.len() {
            assert!(KeyRow::decode(b"k", &value[..end]).is_err(), "{end}");
        }
        let superseded = Superseded { revision: Revision::new(6, 0), row_bytes: 50 };
        for (kind, superseded) in
            [(LogKind::Create, None), (LogKind::Update, Some(superseded)), (LogKind::Delete, Some(superseded))]
        {
            let row = LogRow { kind, key: b"key", superseded, row_bytes: 60, row_crc: 9 };
            let mut value = Vec::new();
            row.encode(&mut value);
            assert_eq!(value.len(), row.bytes());
            assert_eq!(LogRow::decode(b"k", &value).unwrap(), row);
            for end in 0..value.len() - b"key".len() {
                assert!(LogRow::decode(b"k", &value[..end]).is_err(), "{end}");
            }
            value[0] = FORMAT + 1;
            assert!(LogRow::decode(b"k", &value).is_err());
        }
    }
}
