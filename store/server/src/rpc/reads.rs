//! Runs reads of the database. A single key is read where the call runs; whatever may walk many rows goes to a thread of its own,
//! so that a long list never holds up other calls.

use std::sync::Arc;

use quorate_api::Error;
use quorate_core::mvcc;
use tokio::sync::Semaphore;

use crate::store::{ReadView, Store};

/// Reads that walk at the same time, a core: more would only share the disk and the cache; the others wait in order.
const WALKS_PER_CORE: usize = 4;

/// Bounds the reads that walk.
#[derive(Clone)]
pub struct Reads(Arc<Semaphore>);

impl Reads {
    pub fn new() -> Reads {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Reads(Arc::new(Semaphore::new(cores * WALKS_PER_CORE)))
    }

    /// Runs a read on a snapshot that is taken when its turn comes.
    ///
    /// # Errors
    /// The read's, or the database's.
    pub async fn walk<T: Send + 'static>(
        &self,
        store: &Store,
        view: impl FnOnce(&Store) -> Result<ReadView, Error>,
        read: impl FnOnce(&ReadView) -> Result<T, mvcc::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.0.clone().acquire_owned().await.expect("it is never closed");
        let view = view(store)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = read(&view);
            drop(permit);
            result
        });
        task.await.map_err(|_| Error::Stopped)?.map_err(|error| for_client(store, error))
    }
}

/// What a client is told of a read's failure. Damage that it met ends the serving of data here; another failure of the database is logged.
pub fn for_client(store: &Store, error: mvcc::Error) -> Error {
    if let Some(told) = error.for_client() {
        return told;
    }
    tracing::error!(%error, "a read failed");
    match store.report_damage_of(&error) {
        true => Error::Corrupt,
        false => Error::Unmapped(error.to_string()),
    }
}
