//! A branch of a transaction must not put one key twice, nor put a key that it deletes. Exactly etcd's rules, its gaps included:
//! deletes may overlap each other, the ends of deletes are taken literally (so a delete of every key from one on is not seen),
//! and a nested delete is tested only against later siblings' puts and the puts of the levels above.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, request_op::Request};

pub(super) fn check(ops: &[pb::RequestOp]) -> Result<(), Error> {
    Branch::of(ops).map(|_| ())
}

/// What a branch, with all that is nested in it, puts and deletes.
#[derive(Default)]
struct Branch<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals,
}

impl<'a> Branch<'a> {
    fn of(ops: &'a [pb::RequestOp]) -> Result<Branch<'a>, Error> {
        let mut branch = Branch::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                branch.deletes.insert_delete(delete);
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                branch.add_nested(nested)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                branch.put(&put.key)?;
            }
        }
        Ok(branch)
    }

    fn add_nested(&mut self, nested: &'a pb::TxnRequest) -> Result<(), Error> {
        let then = Branch::of(&nested.success)?;
        let otherwise = Branch::of(&nested.failure)?;
        for key in &then.puts {
            self.put(key)?;
        }
        // Only one of the two runs: they may put the same keys.
        for key in otherwise.puts.difference(&then.puts) {
            self.put(key)?;
        }
        self.deletes.join(then.deletes);
        self.deletes.join(otherwise.deletes);
        Ok(())
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }
}

/// A set of keys as disjoint intervals: start → end (exclusive).
#[derive(Default)]
struct Intervals {
    ends: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Intervals {
    fn insert_delete(&mut self, delete: &pb::DeleteRangeRequest) {
        let end = match &delete.range_end[..] {
            [] => [&delete.key[..], &[0]].concat(),
            end => end.to_vec(),
        };
        if delete.key[..] < end[..] {
            self.insert(delete.key.to_vec(), end);
        }
    }

    fn insert(&mut self, mut start: Vec<u8>, mut end: Vec<u8>) {
        // Those that begin at or before the new end and reach its start melt into it.
        while let Some((before, reaches)) = self.ends.range::<[u8], _>(upto(&end)).next_back() {
            if reaches < &start {
                break;
            }
            let before = before.clone();
            let reaches = self.ends.remove(&before).expect("it was just found");
            start = start.min(before);
            end = end.max(reaches);
        }
        self.ends.insert(start, end);
    }

    /// The smaller set goes into the larger one.
    fn join(&mut self, mut other: Intervals) {
        if self.ends.len() < other.ends.len() {
            std::mem::swap(&mut self.ends, &mut other.ends);
        }
        for (start, end) in other.ends {
            self.insert(start, end);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.ends.range::<[u8], _>(upto(key)).next_back().is_some_and(|(_, end)| key < &end[..])
    }
}

fn upto(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_exactly_what_was_put_in() {
        let mut intervals = Intervals::default();
        for (start, end) in [("b", "d"), ("f", "g"), ("h", "i"), ("d", "e"), ("a", "b\0")] {
            intervals.insert(start.into(), end.into());
        }
        for (key, expected) in
            [("", false), ("a", true), ("b", true), ("dz", true), ("e", false), ("f", true), ("g", false)]
        {
            assert_eq!(intervals.contains(key.as_bytes()), expected, "{key}");
        }
        intervals.insert("c".into(), "h".into());
        assert_eq!(intervals.ends.into_iter().collect::<Vec<_>>(), vec![(b"a".to_vec(), b"i".to_vec())]);
    }
}
