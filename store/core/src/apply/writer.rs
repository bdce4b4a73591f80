//! Changes of keys under one main revision: the rows of each change, the lease attachments, the sizes, the events.

use bytes::{BufMut, Bytes};
use prost::Message;
use quorate_api::etcdserverpb as pb;
use quorate_api::mvccpb::KeyValue;

use super::overlay::Overlay;
use super::{Turn, lease};
use crate::backend::Family;
use crate::integrity::Chain;
use crate::mvcc::rows::{self, Core, Superseded as SupersededRow, etcd_row_key};
use crate::mvcc::size::Superseded;
use crate::mvcc::{Error, Event, EventKind, Interval, KeyRow, LogKind, LogRow, Revision, State, keys, read};

/// Writes at the revision after the one that it began at; sub-revisions follow the order of the changes.
///
/// Invariant: until [`Writer::finish`] the machine keeps the revision from before.
pub(super) struct Writer<'t, 'a> {
    pub rows: &'t mut Overlay<'a>,
    core: &'t mut Core,
    superseded: &'t mut Superseded,
    integrity: &'t mut Chain,
    events: &'t mut Vec<Event>,
    changes: i64,
}

impl<'a> Turn<'a> {
    pub(super) fn writer(&mut self) -> Writer<'_, 'a> {
        let machine = &mut *self.machine;
        Writer {
            rows: &mut self.rows,
            core: &mut machine.core,
            superseded: &mut machine.superseded,
            integrity: &mut machine.integrity,
            events: &mut self.events,
            changes: 0,
        }
    }
}

impl Writer<'_, '_> {
    /// What reads inside the command see: the next revision as soon as something changed.
    pub fn state(&self) -> State {
        let State { revision, compact_revision } = self.core.state;
        State { revision: revision + i64::from(self.changes > 0), compact_revision }
    }

    pub fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { revision: self.state().revision, ..Default::default() })
    }

    /// Raises the revision when something changed.
    pub fn finish(self) {
        self.core.state = self.state();
    }

    fn next(&mut self) -> Revision {
        let revision = Revision::new(self.core.state.revision + 1, self.changes);
        self.changes += 1;
        revision
    }

    /// Puts a key whose row before is `before`.
    pub fn put(&mut self, key: &Bytes, value: &Bytes, lease: i64, before: Option<&KeyRow>) {
        let revision = self.next();
        let kv = KeyValue {
            key: key.clone(),
            create_revision: before.map_or(revision.main, |row| row.create_revision),
            mod_revision: revision.main,
            version: before.map_or(0, |row| row.version) + 1,
            value: value.clone(),
            lease,
        };
        let kind = if before.is_some() { LogKind::Update } else { LogKind::Create };
        let row = self.rows.make(kv.encoded_len(), |out| {
            kv.encode(out).expect("a BytesMut grows as needed");
        });
        let row_bytes = self.write(revision, kind, key, row.clone(), &row, before);
        let row =
            KeyRow { modified: revision, create_revision: kv.create_revision, version: kv.version, lease, row_bytes };
        let row = self.rows.make(KeyRow::BYTES, |out| row.encode(out));
        self.rows.put(Family::Keys, key.clone(), row);
        let lease_before = before.map_or(0, |row| row.lease);
        if lease_before != lease {
            lease::detach(self.rows, lease_before, key);
            lease::attach(self.rows, lease, key);
        }
        self.events.push(Event { revision, kind: EventKind::Put, key: key.clone(), kv });
    }

    /// Deletes a key that lives.
    pub fn delete(&mut self, key: &Bytes, before: &KeyRow) {
        let revision = self.next();
        let etcd_row = KeyValue { key: key.clone(), ..Default::default() };
        let etcd_row = self.rows.make(etcd_row.encoded_len(), |out| {
            etcd_row.encode(out).expect("a BytesMut grows as needed");
        });
        let row_bytes = self.write(revision, LogKind::Delete, key, Bytes::new(), &etcd_row, Some(before));
        // A tombstone goes with the first compaction above it.
        self.superseded.add(revision.main + 1, row_bytes);
        self.rows.delete(Family::Keys, key.clone());
        lease::detach(self.rows, before.lease, key);
        self.events.push(Event::delete(key.clone(), revision));
    }

    /// Deletes every living key of an interval, in key order, and returns how many there were.
    pub fn delete_range(&mut self, interval: &Interval) -> Result<i64, Error> {
        let mut found = Vec::new();
        read::walk_keys(self.rows, interval, |key, row| {
            found.push((Bytes::copy_from_slice(key), row));
            Ok(true)
        })?;
        for (key, before) in &found {
            self.delete(key, before);
        }
        Ok(i64::try_from(found.len()).expect("fewer than 2^63 keys"))
    }

    /// Writes the rows of `values` and `log`, counts them, and returns the bytes of etcd's row.
    fn write(
        &mut self,
        revision: Revision,
        kind: LogKind,
        key: &Bytes,
        value: Bytes,
        etcd_row: &[u8],
        before: Option<&KeyRow>,
    ) -> u32 {
        let mut etcd_key = [0; 18];
        let etcd_key = etcd_row_key(revision, &mut etcd_key, kind == LogKind::Delete);
        let row_crc = crc32c::crc32c_append(crc32c::crc32c(etcd_key), etcd_row);
        let row_bytes = etcd_key.len() + etcd_row.len();
        let row_bytes = u32::try_from(row_bytes).expect("requests are far below 4 GiB");
        let superseded = before.map(|row| SupersededRow { revision: row.modified, row_bytes: row.row_bytes });
        let log = LogRow { kind, key, superseded, row_bytes, row_crc };
        let value_key = self.rows.make(keys::values_key_bytes_max(key), |out| {
            keys::put_values_prefix(key, out);
            keys::put_turned(revision, out);
        });
        let log_row = self.rows.make(log.bytes(), |out| log.encode(out));
        let log_key = self.rows.make(keys::REVISION_BYTES, |out| out.put_slice(&keys::log_key(revision)));
        self.integrity.add(revision, &log_key, &log_row);
        self.rows.put(Family::Values, value_key, value);
        self.rows.put(Family::Log, log_key, log_row);
        self.core.logical_bytes += u64::from(row_bytes);
        if let Some(rows::Superseded { row_bytes, .. }) = superseded {
            self.superseded.add(revision.main, row_bytes);
        }
        row_bytes
    }
}
