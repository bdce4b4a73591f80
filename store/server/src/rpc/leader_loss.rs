//! Ends the streams of clients: those that want a leader (the metadata `hasleader`) when this member has known none for a while, all
//! when it is fenced or its data are corrupt.

use quorate_api::Error;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::store::{FENCED, Store};

/// Election timeouts in a row without a leader after which such streams end, as in etcd.
const TIMEOUTS_MAX: u32 = 3;

/// Completes when the stream of a request with this metadata must end.
pub(super) fn lost(store: Store, metadata: &MetadataMap) -> impl Future<Output = Status> + Send + 'static {
    let required = metadata.get("hasleader").is_some_and(|value| value == "true");
    async move {
        tokio::select! {
            () = store.fenced() => Status::unavailable(FENCED),
            () = store.quarantined() => Error::Corrupt.into(),
            () = leaderless(&store), if required => Error::NoLeader.into(),
        }
    }
}

async fn leaderless(store: &Store) {
    let mut without = 0;
    while without < TIMEOUTS_MAX {
        tokio::time::sleep(store.election_timeout()).await;
        without = if store.status().leader == 0 { without + 1 } else { 0 };
    }
}
