//! Leases in one doubly linked queue per TTL, inside one vector: a lease leaves its queue in constant time wherever it stands.

use std::collections::BTreeMap;

const NIL: u32 = u32::MAX;

/// A lease and its place.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub id: i64,
    pub ttl_s: i64,
    pub grant_index: u64,
    /// The leadership in which `expires_ms` was set; 0 = in none.
    pub leadership: u64,
    pub expires_ms: u64,
    /// Out of its queue, because its expiry was proposed.
    pub expiring: bool,
    before: u32,
    after: u32,
}

impl Entry {
    pub fn new(id: i64, ttl_s: i64, grant_index: u64) -> Entry {
        Entry { id, ttl_s, grant_index, leadership: 0, expires_ms: 0, expiring: false, before: NIL, after: NIL }
    }
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

/// Invariant: a queue exists as long as it holds a lease.
#[derive(Debug, Default)]
pub(super) struct Queues {
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_ttl: BTreeMap<i64, Ends>,
}

impl Queues {
    pub fn entry(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    pub fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }

    /// Stores a lease that stands in no queue yet.
    pub fn insert(&mut self, entry: Entry) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = entry;
            return slot;
        }
        let slot = u32::try_from(self.entries.len()).expect("memory ends long before 2^32 leases");
        self.entries.push(entry);
        slot
    }

    /// Forgets a lease that stands in no queue any more.
    pub fn release(&mut self, slot: u32) {
        self.free.push(slot);
        if self.free.len() == self.entries.len() {
            *self = Queues::default();
        }
    }

    pub fn push_back(&mut self, slot: u32) {
        let ttl_s = self.entry(slot).ttl_s;
        match self.by_ttl.get_mut(&ttl_s) {
            Some(ends) => {
                let last = std::mem::replace(&mut ends.last, slot);
                self.entry_mut(last).after = slot;
                let entry = self.entry_mut(slot);
                (entry.before, entry.after) = (last, NIL);
            }
            None => {
                self.by_ttl.insert(ttl_s, Ends { first: slot, last: slot });
                let entry = self.entry_mut(slot);
                (entry.before, entry.after) = (NIL, NIL);
            }
        }
    }

    pub fn unlink(&mut self, slot: u32) {
        let Entry { ttl_s, before, after, .. } = *self.entry(slot);
        if before != NIL {
            self.entry_mut(before).after = after;
        }
        if after != NIL {
            self.entry_mut(after).before = before;
        }
        let ends = self.by_ttl.get_mut(&ttl_s).expect("a linked lease stands in the queue of its TTL");
        if ends.first == slot {
            ends.first = after;
        }
        if ends.last == slot {
            ends.last = before;
        }
        if ends.first == NIL {
            self.by_ttl.remove(&ttl_s);
        }
    }

    pub fn first(&self, ttl_s: i64) -> Option<u32> {
        self.by_ttl.get(&ttl_s).map(|ends| ends.first)
    }

    pub fn last(&self, ttl_s: i64) -> Option<u32> {
        self.by_ttl.get(&ttl_s).map(|ends| ends.last)
    }

    pub fn after(&self, slot: u32) -> Option<u32> {
        Some(self.entry(slot).after).filter(|after| *after != NIL)
    }

    /// The shortest TTL of `from_s` or more that has a queue.
    pub fn shortest_ttl_s(&self, from_s: i64) -> Option<i64> {
        self.by_ttl.range(from_s..).next().map(|(ttl_s, _)| *ttl_s)
    }
}
