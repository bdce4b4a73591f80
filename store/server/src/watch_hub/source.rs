//! What a stream needs of the store beside the events that are published to it. The server's store is one; a map in memory,
//! in the tests here, is the other.

use quorate_api::Error;
use quorate_api::etcdserverpb::ResponseHeader;
use quorate_core::backend::View;
use quorate_core::mvcc;

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
