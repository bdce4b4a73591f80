//! What a call's metadata and this member's state forbid before any service is asked: etcd's interceptors.

use http::request::Parts;
use quorate_api::Error;

use super::Gate;
use crate::store::{Status, Store};

/// Calls that a learner serves; of Range only the serializable ones, which `kv` checks.
const LEARNER_SERVES: [&str; 3] =
    ["/etcdserverpb.Maintenance/Status", "/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Snapshot"];

/// The gate of the client listeners.
pub fn gate(store: Store) -> Gate {
    Box::new(move |call| admit(call, &store.status()).map_err(Into::into))
}

fn admit(call: &Parts, status: &Status) -> Result<(), Error> {
    if status.is_learner && !LEARNER_SERVES.contains(&call.uri.path()) {
        return Err(Error::NotSupportedForLearner);
    }
    if let Some(version) = call.headers.get("client-api-version")
        && std::str::from_utf8(version.as_bytes()).is_err()
    {
        return Err(Error::InvalidClientAPIVersion);
    }
    let needs_leader = call.headers.get("hasleader").is_some_and(|value| value == "true");
    if needs_leader && status.leader == 0 {
        return Err(Error::NoLeader);
    }
    Ok(())
}
