//! What a watcher looks at: one key, the keys of a half-open interval, or every key from one on.

use std::cmp::Ordering;

use bytes::Bytes;

/// A non-empty set of keys between two bounds. Ordered by start, then end, with the open end last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Just the start itself.
    Single,
    Before(Bytes),
    Open,
}

/// The range of a request holds no key: its end is not above its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("mvcc: watcher range is empty")]
pub struct RangeEmpty;

impl KeyRange {
    /// Reads etcd's pair: an empty key stands for the smallest one; an empty end means the key alone, the end `"\0"` every
    /// key from the start on.
    ///
    /// # Errors
    /// When the end is not above the start.
    pub fn from_request(key: &Bytes, range_end: &Bytes) -> Result<KeyRange, RangeEmpty> {
        let start = if key.is_empty() { Bytes::from_static(&[0]) } else { key.clone() };
        match range_end.as_ref() {
            [] => Ok(KeyRange { start, end: End::Single }),
            [0] => Ok(KeyRange { start, end: End::Open }),
            _ if start < *range_end => Ok(KeyRange { start, end: End::Before(range_end.clone()) }),
            _ => Err(RangeEmpty),
        }
    }

    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// Whether this is one key; such ranges are found by a look-up instead of a search.
    pub fn is_single(&self) -> bool {
        self.end == End::Single
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.start <= key && self.ends_after(key)
    }

    /// Stands where a range was, holding none of its keys' memory.
    pub(super) fn nothing() -> KeyRange {
        KeyRange { start: Bytes::new(), end: End::Single }
    }

    /// Whether the end lies above `key`.
    pub(super) fn ends_after(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => self.start >= key,
            End::Before(end) => end > key,
            End::Open => true,
        }
    }

    /// Compares the ends alone; a single key ends at itself, which is below every end above it.
    pub(super) fn compare_ends(&self, other: &KeyRange) -> Ordering {
        match (self.end_rank(), other.end_rank()) {
            (Some(mine), Some(theirs)) => mine.cmp(&theirs),
            (mine, theirs) => mine.is_none().cmp(&theirs.is_none()),
        }
    }

    /// The end as (bytes, whether the bytes themselves are inside); `None` is the open end.
    fn end_rank(&self) -> Option<(&Bytes, bool)> {
        match &self.end {
            End::Single => Some((&self.start, true)),
            End::Before(end) => Some((end, false)),
            End::Open => None,
        }
    }
}

impl Ord for KeyRange {
    fn cmp(&self, other: &Self) -> Ordering {
        self.start.cmp(&other.start).then_with(|| self.compare_ends(other))
    }
}

impl PartialOrd for KeyRange {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_key_an_interval_or_everything_from_a_key_on() {
        // (key, range_end, keys inside, keys outside)
        type Case = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);
        let cases: [Case; 5] = [
            ("b", "", &["b"], &["a", "b\0", "ba", "c"]),
            ("b", "d", &["b", "b\0", "c", "czz"], &["a", "d", "e"]),
            ("b", "\0", &["b", "c", "zzz"], &["a"]),
            ("", "\0", &["\0", "a", "zzz"], &[]),
            ("", "", &["\0"], &["a"]),
        ];
        for (key, end, inside, outside) in cases {
            let range = KeyRange::from_request(&Bytes::from(key), &Bytes::from(end)).expect("the range holds keys");
            for key in inside {
                assert!(range.contains(key.as_bytes()), "{key:?} in {range:?}");
            }
            for key in outside {
                assert!(!range.contains(key.as_bytes()), "{key:?} not in {range:?}");
            }
        }
    }

    #[test]
    fn an_end_not_above_the_start_is_refused() {
        for (key, end) in [("b", "b"), ("b", "a"), ("b", "aa")] {
            assert_eq!(
                KeyRange::from_request(&Bytes::from(key), &Bytes::from(end)),
                Err(RangeEmpty),
                "{key:?} {end:?}"
            );
        }
    }
}
