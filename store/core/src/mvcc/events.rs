//! What happened, in revision order, read back from `log`: how a watcher catches up.

use bytes::Bytes;
use quorate_api::mvccpb::KeyValue;

use super::rows::{LogKind, LogRow, decode_value};
use super::{Error, Revision, keys};
use crate::backend::{Family, View};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub revision: Revision,
    pub kind: EventKind,
    pub key: Bytes,
    /// For a delete only key and mod_revision are set.
    pub kv: KeyValue,
}

impl Event {
    pub(crate) fn delete(key: Bytes, revision: Revision) -> Event {
        let kv = KeyValue { key: key.clone(), mod_revision: revision.main, ..Default::default() };
        Event { revision, kind: EventKind::Delete, key, kv }
    }
}

/// Where a read of events may stop; it goes on to the end of the main revision that it is in.
#[derive(Debug, Clone, Copy)]
pub struct EventLimits {
    pub events_max: usize,
    /// Key and value bytes of the events together.
    pub bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Events {
    /// Ascending by revision.
    pub events: Vec<Event>,
    /// Read on from this main revision; above `to_main` when everything was read.
    pub next_main: i64,
}

/// Events from `from` to the end of the main revision `to_main`. Never splits a main revision. Below the watermark events may be
/// missing: compare with the state of the same view.
///
/// # Errors
/// The store's own.
pub fn events(view: &dyn View, from: Revision, to_main: i64, limits: EventLimits) -> Result<Events, Error> {
    events_where(view, from, to_main, limits, &mut |_, _, _| true)
}

/// As [`events`], only those that are `wanted`, by main revision, key and kind; values of the others are not read.
///
/// # Errors
/// The store's own.
pub fn events_where(
    view: &dyn View,
    from: Revision,
    to_main: i64,
    limits: EventLimits,
    wanted: &mut dyn FnMut(i64, &[u8], EventKind) -> bool,
) -> Result<Events, Error> {
    let next_main = to_main.saturating_add(1);
    let mut read = Events { events: Vec::new(), next_main };
    if from.main > to_main {
        return Ok(read);
    }
    let lower = keys::log_key(Revision { main: from.main.max(0), ..from });
    let upper = keys::log_key(Revision::new(next_main, 0));
    let mut bytes = 0;
    let mut cursor = view.cursor(Family::Log, &lower, Some(&upper))?;
    while let Some(row) = cursor.next()? {
        let revision = keys::read_log_key(row.key)?;
        let full = read.events.len() >= limits.events_max.max(1) || bytes >= limits.bytes_max.max(1);
        if full && read.events.last().is_some_and(|last| last.revision.main < revision.main) {
            read.next_main = revision.main;
            break;
        }
        let log = LogRow::decode(row.key, row.value)?;
        let kind = if log.kind == LogKind::Delete { EventKind::Delete } else { EventKind::Put };
        if wanted(revision.main, log.key, kind) {
            let event = event(view, revision, &log)?;
            bytes += event.key.len() + event.kv.value.len();
            read.events.push(event);
        }
    }
    Ok(read)
}

fn event(view: &dyn View, revision: Revision, log: &LogRow<'_>) -> Result<Event, Error> {
    if log.kind == LogKind::Delete {
        return Ok(Event::delete(Bytes::copy_from_slice(log.key), revision));
    }
    let row_key = keys::values_key(log.key, revision);
    let missing = || Error::malformed(Family::Values, &row_key, "it is missing although the log names it");
    let value = view.get(Family::Values, &row_key)?.ok_or_else(missing)?;
    let kv = decode_value(&row_key, value)?.ok_or_else(missing)?;
    Ok(Event { revision, kind: EventKind::Put, key: kv.key.clone(), kv })
}
