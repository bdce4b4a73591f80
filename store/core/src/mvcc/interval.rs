//! A range of user keys as requests name it: one key, `[key, range_end)`, or every key from `key` on (`range_end` = one zero byte).

use bytes::Bytes;

use super::keys;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    start: Bytes,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Only `start`.
    Point,
    Before(Bytes),
    Open,
}

/// Lower bound, inclusive, and upper bound, exclusive (`None` = none).
pub(crate) type Bounds = (Vec<u8>, Option<Vec<u8>>);

impl Interval {
    /// `key` and `range_end` of a request.
    pub fn new(key: &Bytes, range_end: &Bytes) -> Interval {
        let end = match &range_end[..] {
            [] => End::Point,
            [0] => End::Open,
            _ => End::Before(range_end.clone()),
        };
        Interval { start: key.clone(), end }
    }

    pub fn point(key: &Bytes) -> Interval {
        Interval { start: key.clone(), end: End::Point }
    }

    /// The one key, when the interval names just one.
    pub fn as_point(&self) -> Option<&Bytes> {
        matches!(self.end, End::Point).then_some(&self.start)
    }

    /// True when no key can be in it; it is legal in requests.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Point => key == self.start,
            End::Before(end) => self.start <= key && key < &end[..],
            End::Open => self.start <= key,
        }
    }

    /// The part of this interval that follows `key`. Not for points.
    pub(crate) fn after(&self, key: &[u8]) -> Interval {
        assert!(self.as_point().is_none());
        Interval { start: [key, &[0]].concat().into(), end: self.end.clone() }
    }

    /// In the family `keys`.
    pub(crate) fn keys_bounds(&self) -> Bounds {
        let upper = match &self.end {
            End::Point => Some([&self.start[..], &[0]].concat()),
            End::Before(end) => Some(end.to_vec()),
            End::Open => None,
        };
        (self.start.to_vec(), upper)
    }

    /// In the family `values`.
    pub(crate) fn values_bounds(&self) -> Bounds {
        let upper = match &self.end {
            End::Point => Some(keys::values_after(&self.start)),
            End::Before(end) => Some(keys::values_prefix(end)),
            End::Open => None,
        };
        (keys::values_prefix(&self.start), upper)
    }
}
