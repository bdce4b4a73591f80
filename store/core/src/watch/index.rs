//! Finds everyone who looks at a key. Single keys are looked up in an ordered map; intervals stand in a treap ordered by
//! range, each node knowing the furthest end below it, so that a search visits O(log n + hits) nodes.
//!
//! A treap (Seidel and Aragon, "Randomized search trees", 1996) needs no rebalancing cases; its priorities come from a
//! counter through a fixed mixing function, so the same calls build the same tree on every machine.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::range::KeyRange;

const NIL: u32 = u32::MAX;

/// Who looks at which range. An id may stand under many ranges, and under one range only once.
#[derive(Debug)]
pub struct IntervalIndex<Id> {
    singles: BTreeMap<Bytes, Holders<Id>>,
    nodes: Vec<Node<Id>>,
    free: Vec<u32>,
    root: u32,
    drawn: u64,
}

/// Most ranges have one holder, which then needs no allocation.
#[derive(Debug)]
enum Holders<Id> {
    One(Id),
    Many(BTreeSet<Id>),
}

#[derive(Debug)]
struct Node<Id> {
    range: KeyRange,
    priority: u64,
    left: u32,
    right: u32,
    /// The node below and including this one whose range ends last.
    furthest: u32,
    holders: Holders<Id>,
}

impl<Id> Default for IntervalIndex<Id> {
    fn default() -> Self {
        IntervalIndex { singles: BTreeMap::new(), nodes: Vec::new(), free: Vec::new(), root: NIL, drawn: 0 }
    }
}

impl<Id: Copy + Ord> Holders<Id> {
    fn insert(&mut self, id: Id) {
        match self {
            Holders::One(present) if *present == id => {}
            Holders::One(present) => *self = Holders::Many(BTreeSet::from([*present, id])),
            Holders::Many(set) => {
                set.insert(id);
            }
        }
    }

    /// Whether `id` was held, and whether nobody is left.
    fn remove(&mut self, id: Id) -> (bool, bool) {
        match self {
            Holders::One(present) => (*present == id, *present == id),
            Holders::Many(set) => (set.remove(&id), set.is_empty()),
        }
    }

    fn visit(&self, visit: &mut impl FnMut(Id)) {
        match self {
            Holders::One(id) => visit(*id),
            Holders::Many(set) => set.iter().copied().for_each(visit),
        }
    }

    fn any(&self, is: &mut impl FnMut(Id) -> bool) -> bool {
        match self {
            Holders::One(id) => is(*id),
            Holders::Many(set) => set.iter().copied().any(is),
        }
    }
}

impl<Id: Copy + Ord> IntervalIndex<Id> {
    pub fn is_empty(&self) -> bool {
        self.singles.is_empty() && self.root == NIL
    }

    /// Enters `id` under `range`; entering it twice changes nothing.
    pub fn insert(&mut self, range: &KeyRange, id: Id) {
        if range.is_single() {
            match self.singles.get_mut(range.start()) {
                Some(holders) => holders.insert(id),
                None => {
                    self.singles.insert(range.start().clone(), Holders::One(id));
                }
            }
            return;
        }
        match self.find(range) {
            NIL => {
                let node = self.allocate(range.clone(), id);
                self.root = self.link(self.root, node);
            }
            node => self.node_mut(node).holders.insert(id),
        }
    }

    /// Takes `id` out from under `range`; whether it was there.
    pub fn remove(&mut self, range: &KeyRange, id: Id) -> bool {
        if range.is_single() {
            let Some(holders) = self.singles.get_mut(range.start()) else { return false };
            let (found, empty) = holders.remove(id);
            if empty {
                self.singles.remove(range.start());
            }
            return found;
        }
        let node = self.find(range);
        if node == NIL {
            return false;
        }
        let (found, empty) = self.node_mut(node).holders.remove(id);
        if empty {
            self.root = self.unlink(self.root, range);
            self.release(node);
        }
        found
    }

    /// Whether anyone stands under exactly this range.
    pub fn contains_range(&self, range: &KeyRange) -> bool {
        if range.is_single() { self.singles.contains_key(range.start()) } else { self.find(range) != NIL }
    }

    /// Calls `visit` once for each (range, id) whose range holds `key`: an id under two such ranges is met twice.
    pub fn visit(&self, key: &[u8], mut visit: impl FnMut(Id)) {
        let mut each = |holders: &Holders<Id>| {
            holders.visit(&mut visit);
            ControlFlow::Continue(())
        };
        if let Some(holders) = self.singles.get(key) {
            let _ = each(holders);
        }
        let _ = self.search(self.root, key, &mut each);
    }

    /// Whether an id that `is` so has a range that holds `key`.
    pub fn any(&self, key: &[u8], mut is: impl FnMut(Id) -> bool) -> bool {
        let mut each = |holders: &Holders<Id>| match holders.any(&mut is) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let single = self.singles.get(key).map_or(ControlFlow::Continue(()), &mut each);
        single.is_break() || self.search(self.root, key, &mut each).is_break()
    }

    fn search(&self, at: u32, key: &[u8], each: &mut impl FnMut(&Holders<Id>) -> ControlFlow<()>) -> ControlFlow<()> {
        if at == NIL {
            return ControlFlow::Continue(());
        }
        let node = self.node(at);
        if !self.node(node.furthest).range.ends_after(key) {
            return ControlFlow::Continue(());
        }
        self.search(node.left, key, each)?;
        if node.range.start() > key {
            return ControlFlow::Continue(());
        }
        if node.range.ends_after(key) {
            each(&node.holders)?;
        }
        self.search(node.right, key, each)
    }

    fn node(&self, at: u32) -> &Node<Id> {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node<Id> {
        &mut self.nodes[at as usize]
    }

    fn find(&self, range: &KeyRange) -> u32 {
        let mut at = self.root;
        while at != NIL {
            let node = self.node(at);
            at = match range.cmp(&node.range) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return at,
            };
        }
        NIL
    }

    fn allocate(&mut self, range: KeyRange, id: Id) -> u32 {
        self.drawn += 1;
        let (priority, holders) = (mix(self.drawn), Holders::One(id));
        let at = self.free.pop().unwrap_or_else(|| u32::try_from(self.nodes.len()).unwrap_or(NIL));
        assert_ne!(at, NIL, "an index holds fewer than 2^32 ranges: memory ends long before");
        let node = Node { range, priority, left: NIL, right: NIL, furthest: at, holders };
        match self.nodes.get_mut(at as usize) {
            Some(slot) => *slot = node,
            None => self.nodes.push(node),
        }
        at
    }

    /// Returns a node to the free list without keeping its keys; an emptied tree gives all its memory back.
    fn release(&mut self, at: u32) {
        if self.root == NIL {
            self.nodes = Vec::new();
            self.free = Vec::new();
            return;
        }
        self.node_mut(at).range = KeyRange::nothing();
        self.free.push(at);
    }

    /// Restores "furthest" of one node from its children.
    fn update(&mut self, at: u32) {
        let mut furthest = at;
        for child in [self.node(at).left, self.node(at).right] {
            if child != NIL {
                let candidate = self.node(child).furthest;
                if self.node(candidate).range.compare_ends(&self.node(furthest).range).is_gt() {
                    furthest = candidate;
                }
            }
        }
        self.node_mut(at).furthest = furthest;
    }

    /// Puts the single node `new` into the tree at `at`; the new root of that tree.
    fn link(&mut self, at: u32, new: u32) -> u32 {
        if at == NIL {
            return new;
        }
        if self.node(new).priority > self.node(at).priority {
            let (left, right) = self.split(at, new);
            let node = self.node_mut(new);
            (node.left, node.right) = (left, right);
            self.update(new);
            return new;
        }
        if self.node(new).range < self.node(at).range {
            let left = self.link(self.node(at).left, new);
            self.node_mut(at).left = left;
        } else {
            let right = self.link(self.node(at).right, new);
            self.node_mut(at).right = right;
        }
        self.update(at);
        at
    }

    /// The trees of the ranges below and above that of `by`.
    fn split(&mut self, at: u32, by: u32) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        if self.node(at).range < self.node(by).range {
            let (left, right) = self.split(self.node(at).right, by);
            self.node_mut(at).right = left;
            self.update(at);
            (at, right)
        } else {
            let (left, right) = self.split(self.node(at).left, by);
            self.node_mut(at).left = right;
            self.update(at);
            (left, at)
        }
    }

    /// Takes the node of exactly `range` out of the tree at `at`; the new root of that tree.
    fn unlink(&mut self, at: u32, range: &KeyRange) -> u32 {
        assert_ne!(at, NIL, "only a range that was found is unlinked");
        let (left, right) = (self.node(at).left, self.node(at).right);
        match range.cmp(&self.node(at).range) {
            Ordering::Equal => return self.merge(left, right),
            Ordering::Less => {
                let left = self.unlink(left, range);
                self.node_mut(at).left = left;
            }
            Ordering::Greater => {
                let right = self.unlink(right, range);
                self.node_mut(at).right = right;
            }
        }
        self.update(at);
        at
    }

    /// One tree out of two, all of `left` lying below all of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL || right == NIL {
            return if left == NIL { right } else { left };
        }
        if self.node(left).priority > self.node(right).priority {
            let merged = self.merge(self.node(left).right, right);
            self.node_mut(left).right = merged;
            self.update(left);
            left
        } else {
            let merged = self.merge(left, self.node(right).left);
            self.node_mut(right).left = merged;
            self.update(right);
            right
        }
    }
}

/// Spreads a counter over 64 bits (the finaliser of splitmix64).
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(key: &str, end: &str) -> Option<KeyRange> {
        KeyRange::from_request(&Bytes::from(key.to_owned()), &Bytes::from(end.to_owned())).ok()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(String, String, u8),
        Remove(usize),
        Look(String),
    }

    fn step() -> impl Strategy<Value = Step> {
        let end = prop_oneof![2 => "[a-d]{1,3}", 1 => Just(String::new()), 1 => Just("\0".to_owned())];
        prop_oneof![
            4 => ("[a-d]{1,3}", end, 0u8..6).prop_map(|(key, end, id)| Step::Insert(key, end, id)),
            3 => any::<usize>().prop_map(Step::Remove),
            3 => "[a-e]{1,3}".prop_map(Step::Look),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_index_finds_what_a_list_of_ranges_finds(steps in prop::collection::vec(step(), 1..300)) {
            let mut index = IntervalIndex::default();
            let mut list: Vec<(KeyRange, u8)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, end, id) => {
                        let Some(range) = range(&key, &end) else { continue };
                        index.insert(&range, id);
                        if !list.contains(&(range.clone(), id)) {
                            list.push((range, id));
                        }
                    }
                    Step::Remove(at) if !list.is_empty() => {
                        let (range, id) = list.swap_remove(at % list.len());
                        prop_assert!(index.remove(&range, id));
                        prop_assert!(!index.remove(&range, id));
                        prop_assert_eq!(index.contains_range(&range), list.iter().any(|(other, _)| *other == range));
                    }
                    Step::Remove(_) => {}
                    Step::Look(key) => {
                        let mut found = Vec::new();
                        index.visit(key.as_bytes(), |id| found.push(id));
                        found.sort_unstable();
                        let mut expected: Vec<u8> =
                            list.iter().filter(|(range, _)| range.contains(key.as_bytes())).map(|(_, id)| *id).collect();
                        expected.sort_unstable();
                        prop_assert_eq!(index.any(key.as_bytes(), |_| true), !expected.is_empty());
                        prop_assert_eq!(found, expected);
                    }
                }
                prop_assert_eq!(index.is_empty(), list.is_empty());
            }
        }
    }

    #[test]
    fn an_emptied_index_keeps_no_memory() {
        let mut index = IntervalIndex::default();
        let ranges: Vec<KeyRange> = (0..100).filter_map(|n| range(&format!("k{n:03}"), "z")).collect();
        ranges.iter().for_each(|range| index.insert(range, 1));
        ranges.iter().for_each(|range| assert!(index.remove(range, 1)));
        assert!(index.is_empty());
        assert_eq!(index.nodes.capacity() + index.free.capacity(), 0);
    }
}
