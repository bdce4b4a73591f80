//! RangeStream: one range in messages of a bounded size, all at one revision (`etcd-surface` 2.2).
//!
//! Each chunk reads a snapshot of its own at the pinned revision, so that a slow client keeps nothing alive; a compaction that
//! passes the revision meanwhile ends the stream with Compacted.

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use prost::Message;
use quorate_api::Error;
use quorate_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_api::etcdserverpb::{self as pb};
use quorate_core::{mvcc, validate};
use tonic::Status;

use super::reads::Reads;
use crate::store::Store;

/// Keys of the first message, before anything is known of their size; etcd's.
const FIRST_KEYS: i64 = 10;

/// Refuses what this call does not do.
///
/// # Errors
/// Unimplemented for orders and filters, or the argument errors of Range.
pub fn check(request: &pb::RangeRequest) -> Result<(), Status> {
    validate::range(request)?;
    let ordered = request.sort_order != SortOrder::None as i32;
    let by_key = request.sort_target == SortTarget::Key as i32 && request.sort_order == SortOrder::Ascend as i32;
    if ordered && !by_key {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    if filters != [0; 4] {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

/// Where a stream stands.
struct Progress {
    store: Store,
    reads: Reads,
    /// For the rest of the range; its revision is pinned by the first chunk.
    request: pb::RangeRequest,
    /// Keys that may still be sent; `None` without a limit.
    left: Option<i64>,
    chunk_keys: i64,
    /// Total and current revision; known after the first chunk.
    first: Option<(i64, i64)>,
    done: bool,
}

/// The messages of a range whose request was checked and, unless serializable, linearized.
pub fn stream(
    store: Store,
    reads: Reads,
    request: pb::RangeRequest,
) -> impl Stream<Item = Result<pb::RangeStreamResponse, Status>> {
    let left = Some(request.limit).filter(|limit| *limit > 0);
    // A negative limit is none, and to etcd one message then.
    let chunk_keys = if request.limit < 0 { i64::MAX } else { FIRST_KEYS };
    let progress = Progress { store, reads, request, left, chunk_keys, first: None, done: false };
    futures::stream::try_unfold(progress, |mut progress| async move {
        if progress.done {
            return Ok(None);
        }
        let response = progress.next().await?;
        Ok(Some((pb::RangeStreamResponse { range_response: Some(response) }, progress)))
    })
}

impl Progress {
    async fn next(&mut self) -> Result<pb::RangeResponse, Error> {
        let mut request = self.request.clone();
        request.limit = self.left.map_or(self.chunk_keys, |left| left.min(self.chunk_keys));
        let counted = self.first.is_none();
        let mut response = self
            .reads
            .walk(&self.store, Store::served_view, move |view| match counted {
                true => mvcc::range(&**view, &view.state, &request),
                false => mvcc::range_uncounted(&**view, &view.state, &request),
            })
            .await?;
        let current = response.header.as_ref().map_or(0, |header| header.revision);
        let (total, revision) = *self.first.get_or_insert((response.count, current));
        if self.request.revision <= 0 {
            self.request.revision = revision;
        }
        let sent = i64::try_from(response.kvs.len()).expect("a message holds far fewer than 2^63 keys");
        self.left = self.left.map(|left| left - sent);
        self.done = !response.more || self.left == Some(0);
        if self.done {
            response.header = Some(self.store.header(revision));
            response.count = total;
        } else {
            self.go_on_after(&response.kvs.last().expect("more keys follow those that were read").key);
            self.resize(response.encoded_len());
            response = pb::RangeResponse { kvs: response.kvs, ..Default::default() };
        }
        Ok(response)
    }

    fn go_on_after(&mut self, key: &Bytes) {
        let mut next = BytesMut::with_capacity(key.len() + 1);
        next.put_slice(key);
        next.put_u8(0);
        self.request.key = next.freeze();
    }

    /// Doubles or halves the chunk so that messages stay within half and twice the largest request.
    fn resize(&mut self, bytes: usize) {
        let target = self.store.limits().request_bytes_max;
        if bytes > target * 2 {
            self.chunk_keys = (self.chunk_keys / 2).max(1);
        } else if bytes < target / 2 {
            self.chunk_keys = self.chunk_keys.saturating_mul(2);
        }
    }
}
