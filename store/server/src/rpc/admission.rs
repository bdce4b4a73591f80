//! What a call's metadata and this member's state forbid before any service is asked: etcd's interceptors.

use http::request::Parts;
use quorate_api::Error;

use super::Gate;
use crate::metrics::Kind;
use crate::store::{Status, Store};

/// Calls that a learner serves; of Range only the serializable ones, which `kv` checks.
const LEARNER_SERVES: [&str; 3] =
    ["/etcdserverpb.Maintenance/Status", "/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Snapshot"];

/// Services whose answers are made of the data.
const SERVES_DATA: [&str; 3] = ["/etcdserverpb.KV/", "/etcdserverpb.Watch/", "/etcdserverpb.Lease/"];

/// The gate of the client listeners.
pub fn gate(store: Store) -> Gate {
    Box::new(move |call| match store.closed() {
        Some(reason) => Err(tonic::Status::unavailable(reason)),
        None => {
            let status = store.0.status.load();
            if store.is_quarantined() && serves_data(call.uri.path()) {
                return Err(Error::Corrupt.into());
            }
            admit(call, &status, |version| {
                let metrics = store.metrics();
                if let Some(method) = metrics.grpc.method(call.uri.path()) {
                    metrics.server.asked(method.kind() != Kind::Unary, version);
                }
            })
            .map_err(Into::into)
        }
    })
}

/// A member whose data were found to differ, or to be damaged, serves none of them; its state can be asked for, and it can be rebuilt.
fn serves_data(path: &str) -> bool {
    SERVES_DATA.iter().any(|service| path.starts_with(service))
}

/// `count` is told the version of a client that may ask this member, wherever etcd counts it.
fn admit(call: &Parts, status: &Status, count: impl FnOnce(Option<&str>)) -> Result<(), Error> {
    if status.is_learner && !LEARNER_SERVES.contains(&call.uri.path()) {
        return Err(Error::NotSupportedForLearner);
    }
    let version = call.headers.get("client-api-version").map(|version| std::str::from_utf8(version.as_bytes()));
    count(version.transpose().map_err(|_| Error::InvalidClientAPIVersion)?);
    let needs_leader = call.headers.get("hasleader").is_some_and(|value| value == "true");
    if needs_leader && status.leader == 0 {
        return Err(Error::NoLeader);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Request};
    use quorate_core::replica::Role;

    fn status(leader: u64, is_learner: bool) -> Status {
        Status {
            role: Role::Follower,
            leader,
            term: 1,
            committed: 0,
            applied: 0,
            is_learner,
            revision: 1,
            compact_revision: -1,
            feature_level: 1,
            alarms: Vec::new(),
            db_size_in_use: 0,
            db_size: 0,
            leader_lost: None,
            removed: false,
            disk_full: None,
        }
    }

    fn call(path: &str, name: &'static str, value: &[u8]) -> Parts {
        let mut request = Request::builder().uri(path).body(()).unwrap();
        request.headers_mut().insert(name, HeaderValue::from_bytes(value).unwrap());
        request.into_parts().0
    }

    #[test]
    fn calls_are_admitted_and_refused_as_by_etcds_interceptors() {
        const PUT: &str = "/etcdserverpb.KV/Put";
        for (path, name, value, status, expected) in [
            (PUT, "hasleader", &b"true"[..], status(1, false), Ok(())),
            (PUT, "hasleader", b"true", status(0, false), Err(Error::NoLeader)),
            (PUT, "hasleader", b"false", status(0, false), Ok(())),
            (PUT, "client-api-version", b"3.7", status(0, false), Ok(())),
            (PUT, "client-api-version", b"\xff", status(1, false), Err(Error::InvalidClientAPIVersion)),
            (PUT, "x", b"", status(1, true), Err(Error::NotSupportedForLearner)),
            ("/grpc.health.v1.Health/Check", "x", b"", status(1, true), Err(Error::NotSupportedForLearner)),
            ("/etcdserverpb.Watch/Watch", "x", b"", status(1, true), Err(Error::NotSupportedForLearner)),
            ("/etcdserverpb.KV/Range", "x", b"", status(1, true), Ok(())),
            ("/etcdserverpb.Maintenance/Status", "x", b"", status(1, true), Ok(())),
            ("/etcdserverpb.Maintenance/Snapshot", "x", b"", status(1, true), Ok(())),
        ] {
            assert_eq!(admit(&call(path, name, value), &status, |_| {}), expected, "{path} {name}: {value:?}");
        }
    }
}
