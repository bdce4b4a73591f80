//! What a range request finds: every option of it, over what lives at its revision.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, range_request::SortOrder, range_request::SortTarget};
use quorate_api::mvccpb::KeyValue;

use super::{Answer, Model};

/// An empty end means the key alone, one zero byte every key from it on.
pub fn within(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}

impl Model {
    /// What lives in an interval at a revision, whatever was compacted, by key.
    pub fn live(&self, start: &[u8], end: &[u8], revision: i64) -> Vec<KeyValue> {
        let inside = self.keys.iter().filter(|(key, _)| within(key, start, end));
        let at = inside.filter_map(|(_, versions)| versions.iter().rev().find(|version| version.revision <= revision));
        at.filter_map(|version| version.kv.clone()).collect()
    }

    /// Answers a range from the state at `current`, with `compacted` as its watermark. The header's revision is the caller's.
    pub fn range(&self, request: &pb::RangeRequest, current: i64, compacted: i64) -> Result<Answer, ApiError> {
        let revision = if request.revision <= 0 { current } else { request.revision };
        if revision > current {
            return Err(ApiError::FutureRev);
        }
        if revision < compacted {
            return Err(ApiError::Compacted);
        }
        let mut kvs = self.live(&request.key, &request.range_end, revision);
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(Answer { numbers: vec![count, 0], ..Answer::default() });
        }
        if request.keys_only && request.sort_target() != SortTarget::Value {
            // Such an answer comes out of etcd's index, which knows no leases.
            kvs.iter_mut().for_each(|kv| kv.lease = 0);
        }
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let ascending_keys = request.sort_order() == SortOrder::None
            || request.sort_target() == SortTarget::Key && request.sort_order() == SortOrder::Ascend;
        if ascending_keys && limit > 0 {
            // What is sorted without an order is sorted among what was read: one more than the limit.
            kvs.truncate(limit + 1);
        }
        sort(&mut kvs, request);
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(Answer { numbers: vec![count, i64::from(more)], kvs, ..Answer::default() })
    }
}

fn sort(kvs: &mut [KeyValue], request: &pb::RangeRequest) {
    let number = |kv: &KeyValue| match request.sort_target() {
        SortTarget::Version => kv.version,
        SortTarget::Create => kv.create_revision,
        SortTarget::Mod => kv.mod_revision,
        SortTarget::Key | SortTarget::Value => 0,
    };
    let by_value = request.sort_target() == SortTarget::Value;
    let by_key = request.sort_target() == SortTarget::Key;
    kvs.sort_by(|a, b| {
        let numbers = number(a).cmp(&number(b));
        let texts = if by_value { a.value.cmp(&b.value) } else { std::cmp::Ordering::Equal };
        let keys = if by_key { a.key.cmp(&b.key) } else { std::cmp::Ordering::Equal };
        let ascending = numbers.then(texts).then(keys);
        if request.sort_order() == SortOrder::Descend { ascending.reverse() } else { ascending }
    });
}
