//! Making a watcher: first its request is judged, then the caller makes sure that the stream is woken for the range, and
//! only then the watcher joins, so that nothing between the two can be missed.

use bytes::Bytes;
use quorate_api::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};

use super::{Stream, Watcher};
use crate::watch::range::{KeyRange, RangeEmpty};

/// Why a watcher is not made. The client gets one response that is created and canceled at once; the stream lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("etcdserver: mvcc: required revision has been compacted")]
    NegativeRevision,
    #[error(transparent)]
    RangeEmpty(#[from] RangeEmpty),
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}

/// A request that will become a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub range: KeyRange,
    /// The stream is not yet woken for this very range.
    pub unwatched: bool,
    request: WatchCreateRequest,
}

/// Where the store stands when a watcher joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The newest revision whose events were published; at least that of every write answered before.
    pub published: i64,
    /// Streams were woken for the events up to here before this stream was woken for the watcher's range.
    pub dispatched: i64,
}

/// A watcher was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    pub watch_id: i64,
    /// For the header of its created response.
    pub revision: i64,
}

impl Stream {
    /// Judges a request; changes nothing.
    ///
    /// # Errors
    /// See [`Rejection`].
    pub fn admit(&self, request: WatchCreateRequest) -> Result<Admitted, Rejection> {
        if request.start_revision < 0 {
            return Err(Rejection::NegativeRevision);
        }
        // Copies, since the request's keys are slices of a frame that may be much larger and would live as long.
        let key = Bytes::copy_from_slice(&request.key);
        let range = KeyRange::from_request(&key, &Bytes::copy_from_slice(&request.range_end))?;
        if request.watch_id != 0 && self.watchers.by_id.contains_key(&request.watch_id) {
            return Err(Rejection::DuplicateId);
        }
        let unwatched = !self.live.contains_range(&range) && !self.lagging.contains_range(&range);
        Ok(Admitted { range, unwatched, request })
    }

    /// Makes the watcher. One that starts below the compacted revision is made too; `cancel_compacted` ends it.
    pub fn create(&mut self, admitted: Admitted, now: Now) -> Created {
        let Admitted { range, unwatched: _, request } = admitted;
        let Now { published, dispatched } = now;
        let id = if request.watch_id == 0 { self.draw_id() } else { request.watch_id };
        let start = request.start_revision;
        let next = if start == 0 { published + 1 } else { start };
        let lags = next <= published;
        let filters = &request.filters;
        let watcher = Watcher {
            id,
            range: range.clone(),
            no_put: filters.contains(&i32::from(FilterType::Noput)),
            no_delete: filters.contains(&i32::from(FilterType::Nodelete)),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress_notify: request.progress_notify,
            quiet: true,
            notify_due: false,
            start,
            next,
            unseen_up_to: dispatched,
        };
        let slot = self.watchers.insert(watcher);
        if lags {
            self.lagging_slots.insert(slot);
            self.lagging.insert(&range, slot);
        } else {
            self.live.insert(&range, slot);
        }
        Created { watch_id: id, revision: published }
    }

    fn draw_id(&mut self) -> i64 {
        while self.watchers.by_id.contains_key(&self.next_auto_id) {
            self.next_auto_id += 1;
        }
        let id = self.next_auto_id;
        self.next_auto_id += 1;
        id
    }
}
