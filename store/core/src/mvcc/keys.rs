//! Keys of rows in the families `values` and `log`, part of the on-disk format.
//!
//! `values`: the user key escaped so that byte order stays key order (a zero byte becomes `00 ff`, the end is `00 01`), then the
//! revision with all bits turned, so that the newest version of a key stands first. `log`: the revision.

use bytes::BufMut;

use super::rows::NEVER_REACHED;
use super::{Error, Revision};
use crate::backend::Family;

/// Key of the row in every family that tells up to where the raft log is applied. No other row has it: user keys are never
/// empty and every other key has a fixed beginning.
pub const APPLIED_KEY: &[u8] = b"";

/// Main (8 bytes) and sub (4 bytes).
pub(crate) const REVISION_BYTES: usize = 12;

const END: [u8; 2] = [0, 1];
/// Follows every row of a key whose escaped form precedes it.
const AFTER: [u8; 2] = [0, 2];

fn sub_bits(revision: Revision) -> u32 {
    u32::try_from(revision.sub).expect("a command has fewer than 2^32 changes: its size is limited")
}

fn main_bits(revision: Revision) -> u64 {
    u64::try_from(revision.main).expect("revisions of rows are positive")
}

pub(crate) fn log_key(revision: Revision) -> [u8; REVISION_BYTES] {
    let mut key = [0; REVISION_BYTES];
    key[..8].copy_from_slice(&main_bits(revision).to_be_bytes());
    key[8..].copy_from_slice(&sub_bits(revision).to_be_bytes());
    key
}

fn revision_of(main: u64, sub: u32) -> Option<Revision> {
    let main = i64::try_from(main).ok().filter(|main| *main < NEVER_REACHED)?;
    Some(Revision { main, sub: i64::from(sub) })
}

pub(crate) fn read_log_key(key: &[u8]) -> Result<Revision, Error> {
    let split = key.split_first_chunk::<8>();
    split
        .and_then(|(main, sub)| revision_of(u64::from_be_bytes(*main), u32::from_be_bytes(sub.try_into().ok()?)))
        .ok_or_else(|| Error::malformed(Family::Log, key, "not a revision"))
}

fn put_escaped(user_key: &[u8], out: &mut impl BufMut) {
    let mut parts = user_key.split(|byte| *byte == 0);
    out.put_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.put_slice(&[0, 0xff]);
        out.put_slice(part);
    }
}

/// Upper bound of the length of a `values` key.
pub(crate) fn values_key_bytes_max(user_key: &[u8]) -> usize {
    2 * user_key.len() + END.len() + REVISION_BYTES
}

/// What every `values` row of the key begins with, and no other row.
pub(crate) fn put_values_prefix(user_key: &[u8], out: &mut impl BufMut) {
    put_escaped(user_key, out);
    out.put_slice(&END);
}

pub(crate) fn put_turned(revision: Revision, out: &mut impl BufMut) {
    out.put_u64(!main_bits(revision));
    out.put_u32(!sub_bits(revision));
}

pub(crate) fn values_prefix(user_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(values_key_bytes_max(user_key));
    put_values_prefix(user_key, &mut key);
    key
}

pub(crate) fn values_key(user_key: &[u8], revision: Revision) -> Vec<u8> {
    let mut key = values_prefix(user_key);
    put_turned(revision, &mut key);
    key
}

/// First place after all rows of the key.
pub(crate) fn values_after(user_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(values_key_bytes_max(user_key));
    put_escaped(user_key, &mut key);
    key.put_slice(&AFTER);
    key
}

/// Turns a prefix into the first place after all rows that have it.
pub(crate) fn prefix_to_after(prefix: &mut Vec<u8>) {
    assert!(prefix.ends_with(&END));
    prefix.truncate(prefix.len() - END.len());
    prefix.extend_from_slice(&AFTER);
}

/// The newest place of a key at or below a main revision.
pub(crate) fn newest_at(main: i64) -> [u8; REVISION_BYTES] {
    let mut key = [0; REVISION_BYTES];
    key[..8].copy_from_slice(&(!u64::try_from(main).unwrap_or(0)).to_be_bytes());
    key
}

/// Splits a `values` key into the prefix of its user key and the revision.
pub(crate) fn split_values_key(key: &[u8]) -> Result<(&[u8], Revision), Error> {
    let bad = |reason| Error::malformed(Family::Values, key, reason);
    let (prefix, turned) = key.split_last_chunk::<REVISION_BYTES>().ok_or_else(|| bad("shorter than a revision"))?;
    if !prefix.ends_with(&END) {
        return Err(bad("no end of the user key before the revision"));
    }
    let (main, sub) = turned.split_at(8);
    let main = !u64::from_be_bytes(main.try_into().expect("8 of 12 bytes"));
    let sub = !u32::from_be_bytes(sub.try_into().expect("4 of 12 bytes"));
    let revision = revision_of(main, sub).ok_or_else(|| bad("no history leads to its revision"))?;
    Ok((prefix, revision))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_sort_by_user_key_and_then_newest_first(
            a in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(0xff), any::<u8>()], 1..6),
            b in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(0xff), any::<u8>()], 1..6),
            main_a in 1i64..4, main_b in 1i64..4, sub_a in 0i64..3, sub_b in 0i64..3,
        ) {
            let (rev_a, rev_b) = (Revision::new(main_a, sub_a), Revision::new(main_b, sub_b));
            let expected = a.cmp(&b).then(rev_b.cmp(&rev_a));
            prop_assert_eq!(values_key(&a, rev_a).cmp(&values_key(&b, rev_b)), expected);
            let after = values_after(&a);
            prop_assert_eq!(values_key(&b, rev_b) < after, b <= a);
            let (key, prefix) = (values_key(&a, rev_a), values_prefix(&a));
            prop_assert_eq!(split_values_key(&key).unwrap(), (&prefix[..], rev_a));
            prop_assert_eq!(log_key(rev_a).cmp(&log_key(rev_b)), rev_a.cmp(&rev_b));
            prop_assert_eq!(read_log_key(&log_key(rev_a)).unwrap(), rev_a);
        }
    }

    #[test]
    fn keys_that_are_not_ours_are_named() {
        for key in [&b"abc"[..], &[0; 13], &[0xff; 14]] {
            assert!(split_values_key(key).is_err(), "{key:?}");
            assert!(read_log_key(key).is_err(), "{key:?}");
        }
        let error = read_log_key(b"\xab\xcd").unwrap_err().to_string();
        assert!(error.contains("abcd") && error.contains("log"), "{error}");
    }
}
