//! Rows of the database. A small store is made by real commands, one of its rows is replaced by the input, and everything that
//! reads rows must end in an answer or an error.
//!
//! Input: number of the row (two bytes, little-endian), whether its key is replaced too (one byte: its length), key, value.

use bytes::Bytes;
use quorate_api::etcdserverpb as pb;
use quorate_core::apply::{Limits, Machine};
use quorate_core::backend::{Family, WriteBatch};
use quorate_core::memory::Memory;
use quorate_core::mvcc::{self, EventLimits, Position, Revision};

use crate::commands;

/// Rows that one step of the sweep looks at; more steps than a store of this size has rows never happen.
const SWEEP_ROWS: usize = 4;
const SWEEP_STEPS_MAX: usize = 64;

pub fn run(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let number = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let (key, value) = rest.split_at(usize::from(head[2]).min(rest.len()));
    let mut rows = store();
    let all = all_rows(&rows);
    let (family, old_key) = all[number % all.len()].clone();
    let mut batch = WriteBatch::default();
    let key = if key.is_empty() { old_key } else { Bytes::copy_from_slice(key) };
    batch.put(family, key, Bytes::copy_from_slice(value));
    rows.write(&batch);
    read_everything(&rows);
}

fn all_rows(rows: &Memory) -> Vec<(Family, Bytes)> {
    Family::ALL.into_iter().flat_map(|family| rows.rows(family).map(move |(key, _)| (family, key.clone()))).collect()
}

/// A store after the seeds' commands, one entry each.
fn store() -> Memory {
    let mut rows = Memory::default();
    let mut machine = Machine::open(&rows).expect("an empty store opens");
    let seeds = commands::seeds();
    let all = seeds.last().expect("there are seeds").clone();
    for (index, data) in (1..).zip([all.clone(), all]) {
        let before = rows.clone();
        let mut turn = machine.turn(&before, Limits::default());
        turn.entry(index, 1, data.into()).expect("the seeds apply");
        rows.write(&turn.finish().batch);
    }
    rows
}

fn read_everything(rows: &Memory) {
    let Ok(machine) = Machine::open(rows) else { return };
    let state = machine.state();
    let everything =
        pb::RangeRequest { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0"), ..Default::default() };
    for revision in [0, 1, 2, 3, 5, state.revision, i64::MAX] {
        let _ = mvcc::range(rows, &state, &pb::RangeRequest { revision, ..everything.clone() });
        let _ = mvcc::hash_kv(rows, &state, revision);
    }
    let _ = mvcc::lookup(rows, b"a");
    let _ = mvcc::logical_bytes(rows);
    let limits = EventLimits { events_max: 100, bytes_max: 1 << 20 };
    let _ = mvcc::events(rows, Revision::new(1, 0), state.revision, limits);
    sweep(rows.clone(), &machine);
}

fn sweep(mut rows: Memory, machine: &Machine) {
    let state = machine.state();
    let Ok(mut position) = Position::load(&rows) else { return };
    for _ in 0..SWEEP_STEPS_MAX {
        let Ok(step) = mvcc::sweep(&rows, &state, position, SWEEP_ROWS) else { return };
        rows.write(&step.batch);
        if step.done {
            return;
        }
        position = step.position;
    }
    panic!("the sweep of a few rows never ends");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let rows = store();
    let values = Family::ALL
        .into_iter()
        .flat_map(|family| rows.rows(family).map(|(_, value)| value.clone()).collect::<Vec<_>>());
    let numbered = (0u16..).zip(values.collect::<Vec<_>>());
    numbered.map(|(number, value)| [&number.to_le_bytes()[..], &[0], &value].concat()).collect()
}
