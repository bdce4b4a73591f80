//! Ends the streams of clients that want a leader (the metadata `hasleader`) when this member has known none for a while.

use std::future;

use quorate_api::Error;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::store::Store;

/// Election timeouts in a row without a leader after which such streams end, as in etcd.
const TIMEOUTS_MAX: u32 = 3;

/// Completes when the stream of a request with this metadata must end; never when it does not ask for a leader.
pub(super) fn lost_if_required(store: Store, metadata: &MetadataMap) -> impl Future<Output = Status> + Send + 'static {
    let required = metadata.get("hasleader").is_some_and(|value| value == "true");
    async move {
        if !required {
            future::pending::<()>().await;
        }
        let mut without = 0;
        while without < TIMEOUTS_MAX {
            tokio::time::sleep(store.election_timeout()).await;
            without = if store.status().leader == 0 { without + 1 } else { 0 };
        }
        Error::NoLeader.into()
    }
}
