//! `/livez` and `/readyz`: named checks, each also under a path of its own.

use std::fmt::Write;

use http::{StatusCode, Uri};
use quorate_api::etcdserverpb::AlarmType;

use super::{Page, Pages, error, query, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
    /// Not one of etcd's: shown only when it fails, so that the text is etcd's while all is well.
    DiskSpace,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
            Check::DiskSpace => "disk_space",
        }
    }

    async fn run(self, pages: &Pages) -> Result<(), String> {
        match self {
            Check::DataCorruption if pages.probe.facts().alarms.contains(&AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::NonLearner if pages.probe.facts().is_learner => Err("not supported for learner".to_owned()),
            Check::DataCorruption | Check::NonLearner => Ok(()),
            Check::DiskSpace => pages.probe.facts().disk_full.map_or(Ok(()), Err),
            Check::SerializableRead => pages.probe.serializable_read().map_err(|error| error.to_string()),
            Check::LinearizableRead => pages.probe.linearizable_read().await.map_err(|error| error.to_string()),
        }
    }
}

/// What a path asks for.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    kind: &'static str,
    checks: &'static [Check],
}

const LIVEZ: Endpoint = Endpoint { kind: "livez", checks: &[Check::SerializableRead] };
const READYZ: Endpoint = Endpoint {
    kind: "readyz",
    checks: &[
        Check::DataCorruption,
        Check::SerializableRead,
        Check::LinearizableRead,
        Check::NonLearner,
        Check::DiskSpace,
    ],
};

impl Endpoint {
    /// The endpoint of `/livez`, `/readyz` or one of their checks.
    pub fn find(path: &str) -> Option<Endpoint> {
        let (kind, check) = match path.strip_prefix('/')?.split_once('/') {
            Some((kind, check)) => (kind, Some(check)),
            None => (path.strip_prefix('/')?, None),
        };
        let endpoint = [LIVEZ, READYZ].into_iter().find(|endpoint| endpoint.kind == kind)?;
        let Some(check) = check else { return Some(endpoint) };
        let at = endpoint.checks.iter().position(|known| known.name() == check)?;
        Some(Endpoint { checks: &endpoint.checks[at..=at], ..endpoint })
    }
}

pub(super) async fn answer(pages: &Pages, endpoint: Endpoint, uri: &Uri) -> Page {
    let mut lines = String::new();
    let mut healthy = true;
    for check in endpoint.checks {
        let name = check.name();
        if query(uri, "exclude").any(|excluded| excluded == name) {
            continue;
        }
        let result = check.run(pages).await;
        pages.metrics.health.checked(endpoint.kind, name, result.is_ok());
        let _ = match &result {
            Ok(()) if *check == Check::DiskSpace => Ok(()),
            Ok(()) => writeln!(lines, "[+]{name} ok"),
            Err(reason) => writeln!(lines, "[-]{name} failed: {reason}"),
        };
        healthy &= result.is_ok();
    }
    if !healthy {
        tracing::warn!(endpoint = endpoint.kind, checks = %lines.trim_end(), "health check fails");
        return error(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    match query(uri, "verbose").next() {
        Some(_) => text(StatusCode::OK, format!("{lines}ok\n")),
        None => text(StatusCode::OK, "ok\n"),
    }
}
