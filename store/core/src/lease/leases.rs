//! All leases and, on a leader, when each expires.

use std::collections::{BTreeMap, BTreeSet};

use super::queues::{Entry, Queues};

/// A lease whose time is over, as an expiry names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    pub id: i64,
    /// Raft index of its grant: the same id granted again is another lease.
    pub grant_index: u64,
}

/// What a renewal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It lives for `ttl_s` seconds from now.
    Renewed { ttl_s: i64 },
    /// Its time was over when the renewal arrived, or its expiry was proposed: only the outcome of that tells.
    Expiring,
    /// There is no such lease.
    Missing,
}

/// The time that a lease has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    pub granted_s: i64,
    pub remaining_ms: u64,
}

/// A lease in a list. Ordered by the time that is left, on a follower by TTL, and then by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// 0 on a follower, which does not know it.
    pub expires_ms: u64,
    pub ttl_s: i64,
    pub grant_index: u64,
    pub id: i64,
}

#[derive(Debug, Clone, Copy)]
struct Leader {
    term: u64,
    /// A lease that was not renewed in this leadership expires its TTL after this moment.
    base_ms: u64,
    /// Queues of shorter TTLs have no lease left that was not renewed in this leadership.
    unrenewed_from_s: i64,
}

/// Invariant: in each queue the leases that were not renewed in this leadership stand first, and then the others by
/// rising expiry.
#[derive(Debug, Default)]
pub struct Leases {
    queues: Queues,
    by_id: BTreeMap<i64, u32>,
    leader: Option<Leader>,
    /// Rises with each promotion.
    leadership: u64,
    /// (expiry of its first lease, TTL) of each queue whose first lease was renewed or granted in this leadership.
    first_expiries: BTreeSet<(u64, i64)>,
    expiring: BTreeSet<u32>,
    /// The latest time that was handed in: time does not run backwards.
    now_ms: u64,
}

impl Leases {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The term of the leadership in which expiries run; `None` on a follower.
    pub fn term(&self) -> Option<u64> {
        self.leader.map(|leader| leader.term)
    }

    /// How many leases have their expiry proposed.
    pub fn expiring_len(&self) -> usize {
        self.expiring.len()
    }

    /// A grant was applied. A lease of that id that still stands here is replaced.
    pub fn grant(&mut self, now_ms: u64, id: i64, ttl_s: i64, grant_index: u64) {
        assert!(ttl_s > 0, "lease {id}: a TTL of {ttl_s} s is raised before it is proposed");
        self.revoke(id);
        let slot = self.queues.insert(Entry::new(id, ttl_s, grant_index));
        self.by_id.insert(id, slot);
        self.enqueue(now_ms, slot, 0);
    }

    /// A revocation was applied; whether there was such a lease.
    pub fn revoke(&mut self, id: i64) -> bool {
        let Some(slot) = self.by_id.remove(&id) else { return false };
        if !self.expiring.remove(&slot) {
            self.dequeue(slot);
        }
        self.queues.release(slot);
        true
    }

    /// This member leads in `term` and has applied everything of earlier terms: every lease gets its whole TTL anew, from
    /// `extend_ms` (an election timeout) after now, since the leader before may have promised it until then.
    pub fn promote(&mut self, now_ms: u64, term: u64, extend_ms: u64) {
        self.demote();
        self.leadership += 1;
        let base_ms = self.clock(now_ms) + extend_ms;
        self.leader = Some(Leader { term, base_ms, unrenewed_from_s: i64::MIN });
    }

    /// This member does not lead any more: nothing expires here, and what was proposed has an outcome elsewhere.
    pub fn demote(&mut self) {
        self.leader = None;
        self.first_expiries.clear();
        for slot in std::mem::take(&mut self.expiring) {
            self.queues.entry_mut(slot).expiring = false;
            self.queues.push_back(slot);
        }
    }

    /// Renews a lease for a request that arrived at `arrived_ms`, if leadership was confirmed after that.
    pub fn renew(&mut self, now_ms: u64, arrived_ms: u64, id: i64) -> Renewal {
        let Some(slot) = self.by_id.get(&id).copied() else { return Renewal::Missing };
        let entry = self.queues.entry(slot);
        let ttl_s = entry.ttl_s;
        let promised_ms = self.expires_ms(slot);
        if entry.expiring || promised_ms.is_some_and(|expires_ms| expires_ms <= arrived_ms) {
            return Renewal::Expiring;
        }
        self.dequeue(slot);
        self.enqueue(now_ms, slot, promised_ms.unwrap_or(0));
        Renewal::Renewed { ttl_s }
    }

    /// Up to `max` leases whose time is over and whose expiry is not proposed. They stay as they are until `expire`.
    pub fn due(&mut self, now_ms: u64, max: usize) -> Vec<Due> {
        let now_ms = self.clock(now_ms);
        let mut due = Vec::new();
        let Some(leader) = self.leader else { return due };
        let mut from_s = leader.unrenewed_from_s;
        let mut none_left = true;
        while let Some(ttl_s) = self.queues.shortest_ttl_s(from_s).filter(|ttl_s| leader.unrenewed_ms(*ttl_s) <= now_ms)
        {
            from_s = ttl_s + 1;
            none_left &= !self.begins_unrenewed(ttl_s);
            if none_left {
                self.leader = Some(Leader { unrenewed_from_s: from_s, ..leader });
            } else if self.begins_unrenewed(ttl_s) {
                self.collect(ttl_s, now_ms, max, &mut due);
            }
            if due.len() >= max {
                return due;
            }
        }
        for (_, ttl_s) in self.first_expiries.range(..=(now_ms, i64::MAX)) {
            self.collect(*ttl_s, now_ms, max, &mut due);
        }
        due
    }

    /// Whether the first lease of a queue was not renewed in this leadership.
    fn begins_unrenewed(&self, ttl_s: i64) -> bool {
        let first = self.queues.first(ttl_s);
        first.is_some_and(|first| self.queues.entry(first).leadership != self.leadership)
    }

    /// Adds the leases from the head of a queue whose time is over.
    fn collect(&self, ttl_s: i64, now_ms: u64, max: usize, due: &mut Vec<Due>) {
        let mut at = self.queues.first(ttl_s);
        while let Some(slot) = at.filter(|_| due.len() < max) {
            let entry = self.queues.entry(slot);
            if self.expires_ms(slot).is_none_or(|expires_ms| expires_ms > now_ms) {
                return;
            }
            due.push(Due { id: entry.id, grant_index: entry.grant_index });
            at = self.queues.after(slot);
        }
    }

    /// The expiry of a due lease is about to be proposed; `false` when it was renewed or revoked meanwhile. From here on
    /// nothing renews it in this leadership: only applying the outcome, or losing the leadership, ends it.
    pub fn expire(&mut self, now_ms: u64, due: Due) -> bool {
        let now_ms = self.clock(now_ms);
        let Some(slot) = self.by_id.get(&due.id).copied() else { return false };
        let entry = self.queues.entry(slot);
        if entry.expiring || entry.grant_index != due.grant_index {
            return false;
        }
        if self.expires_ms(slot).is_none_or(|expires_ms| expires_ms > now_ms) {
            return false;
        }
        self.dequeue(slot);
        self.queues.entry_mut(slot).expiring = true;
        self.expiring.insert(slot);
        true
    }

    /// Whether the expiry of exactly this lease was proposed and has no outcome yet.
    pub fn is_expiring(&self, due: Due) -> bool {
        self.by_id.get(&due.id).is_some_and(|slot| {
            let entry = self.queues.entry(*slot);
            entry.expiring && entry.grant_index == due.grant_index
        })
    }

    /// A moment not after the next expiry, to wake up at; `None` when nothing will expire.
    pub fn next_due_ms(&self) -> Option<u64> {
        let leader = self.leader?;
        let renewed = self.first_expiries.first().map(|(expires_ms, _)| *expires_ms);
        let unrenewed = self.queues.shortest_ttl_s(leader.unrenewed_from_s).map(|ttl_s| leader.unrenewed_ms(ttl_s));
        renewed.into_iter().chain(unrenewed).min()
    }

    /// What a lease was granted and has left, on a leader; `None` when there is no such lease, or on a follower.
    pub fn remaining(&self, now_ms: u64, id: i64) -> Option<Remaining> {
        let slot = *self.by_id.get(&id)?;
        let expires_ms = self.expires_ms(slot)?;
        let granted_s = self.queues.entry(slot).ttl_s;
        Some(Remaining { granted_s, remaining_ms: expires_ms.saturating_sub(now_ms) })
    }

    /// Every lease, unsorted: the caller sorts without holding up who else needs them.
    pub fn list(&self) -> Vec<Listed> {
        let row = |(id, slot): (&i64, &u32)| {
            let Entry { ttl_s, grant_index, .. } = *self.queues.entry(*slot);
            Listed { expires_ms: self.expires_ms(*slot).unwrap_or(0), ttl_s, grant_index, id: *id }
        };
        self.by_id.iter().map(row).collect()
    }

    fn expires_ms(&self, slot: u32) -> Option<u64> {
        let leader = self.leader?;
        let entry = self.queues.entry(slot);
        Some(if entry.leadership == self.leadership { entry.expires_ms } else { leader.unrenewed_ms(entry.ttl_s) })
    }

    fn clock(&mut self, now_ms: u64) -> u64 {
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }

    /// Puts a lease at the end of its queue with its whole TTL left. It never expires before those that stand there, nor before
    /// what a client may have been told (`promised_ms`): after a promotion it lives longer by up to the extension where it, or one
    /// that its queue holds, was given that.
    fn enqueue(&mut self, now_ms: u64, slot: u32, promised_ms: u64) {
        let now_ms = self.clock(now_ms);
        let ttl_s = self.queues.entry(slot).ttl_s;
        if self.leader.is_some() {
            let last_ms = self.queues.last(ttl_s).and_then(|last| self.expires_ms(last)).unwrap_or(0);
            let leadership = self.leadership;
            let entry = self.queues.entry_mut(slot);
            entry.leadership = leadership;
            entry.expires_ms = last_ms.max(promised_ms).max(now_ms + ttl_ms(ttl_s));
        }
        self.queues.push_back(slot);
        if self.queues.first(ttl_s) == Some(slot) {
            self.enter_first(ttl_s);
        }
    }

    fn dequeue(&mut self, slot: u32) {
        let ttl_s = self.queues.entry(slot).ttl_s;
        let was_first = self.queues.first(ttl_s) == Some(slot);
        if was_first {
            let expires_ms = self.queues.entry(slot).expires_ms;
            self.first_expiries.remove(&(expires_ms, ttl_s));
        }
        self.queues.unlink(slot);
        if was_first {
            self.enter_first(ttl_s);
        }
    }

    fn enter_first(&mut self, ttl_s: i64) {
        let Some(first) = self.queues.first(ttl_s) else { return };
        let entry = self.queues.entry(first);
        if self.leader.is_some() && entry.leadership == self.leadership {
            self.first_expiries.insert((entry.expires_ms, ttl_s));
        }
    }
}

impl Leader {
    fn unrenewed_ms(&self, ttl_s: i64) -> u64 {
        self.base_ms + ttl_ms(ttl_s)
    }
}

fn ttl_ms(ttl_s: i64) -> u64 {
    u64::try_from(ttl_s).expect("a TTL is positive") * 1000
}
