//! What a stream needs of the store beside the events that are published to it. The server's store is one; a map in memory,
//! in the tests here, is the other. With the hub it makes the port of a stream's session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_api::Error;
use quorate_api::etcdserverpb::ResponseHeader;
use quorate_core::backend::View;
use quorate_core::mvcc;
use quorate_core::watch::{KeyRange, Port, Ring};

use super::Hub;

pub trait Source: Clone + Send + Sync + 'static {
    type View: View;

    /// The rows as they are now, and their revisions.
    ///
    /// # Errors
    /// The database's.
    fn view(&self) -> Result<(Self::View, mvcc::State), Error>;

    /// A header of this member that shows exactly this revision.
    fn header(&self, revision: i64) -> ResponseHeader;
}

/// The hub and the store as one stream sees them.
#[derive(Clone)]
pub(super) struct Member<S> {
    pub hub: Arc<Hub>,
    pub source: S,
    /// The stream's place in the index.
    pub place: usize,
}

/// What ends a stream: an error as its client sees it.
pub(super) struct Failed(pub Error);

impl From<mvcc::Error> for Failed {
    fn from(error: mvcc::Error) -> Failed {
        Failed(error.for_client().unwrap_or_else(|| Error::Unmapped(error.to_string())))
    }
}

impl<S: Source> Port for Member<S> {
    type View = S::View;
    type Error = Failed;

    fn ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(self.hub.feed().ring())
    }

    fn published(&self) -> i64 {
        self.hub.published.load(Ordering::Acquire)
    }

    fn compacted(&self) -> i64 {
        self.hub.compacted.load(Ordering::Acquire)
    }

    fn dispatched(&self) -> i64 {
        self.hub.dispatched.load(Ordering::Acquire)
    }

    fn watch(&self, range: &KeyRange) -> i64 {
        self.hub.watch(self.place, range)
    }

    fn unwatch(&self, range: &KeyRange) {
        self.hub.unwatch(self.place, range);
    }

    fn view(&self) -> Result<(S::View, mvcc::State), Failed> {
        self.source.view().map_err(Failed)
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        self.source.header(revision)
    }

    fn fragment_bytes(&self) -> usize {
        self.hub.settings.fragment_bytes
    }
}
