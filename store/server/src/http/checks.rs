//! `/livez` and `/readyz`: named checks, each also under a path of its own.

use std::fmt::Write;
use std::time::Duration;

use http::{StatusCode, Uri};
use quorate_api::etcdserverpb::AlarmType;

use super::{Page, Pages, error, query, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
    /// Takes part, and is not far behind, whether or not there is a quorum now: what a member may be counted on for. With
    /// `?exclude=linearizable_read` it makes a page that does not turn on all members at once when the quorum is lost.
    Current,
    DiskSpace,
}

/// A member that has not applied more entries than this is behind; the operator's bound for a healthy member.
const LAG_ENTRIES_MAX: u64 = 1_000;
/// How long the others are asked; far below the time-out of a probe.
const LAG_PATIENCE: Duration = Duration::from_millis(500);

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
            Check::Current => "current",
            Check::DiskSpace => "disk_space",
        }
    }

    /// Those that etcd has not are shown only when they fail, so that the text is etcd's while all is well.
    fn is_etcds(self) -> bool {
        !matches!(self, Check::Current | Check::DiskSpace)
    }

    async fn run(self, pages: &Pages) -> Result<(), String> {
        match self {
            Check::DataCorruption if pages.probe.facts().alarms.contains(&AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::NonLearner if pages.probe.facts().is_learner => Err("not supported for learner".to_owned()),
            Check::DataCorruption | Check::NonLearner => Ok(()),
            Check::Current => match pages.probe.lag(LAG_PATIENCE).await {
                Ok(Some(lag)) if lag <= LAG_ENTRIES_MAX => Ok(()),
                Ok(Some(lag)) => Err(format!("{lag} committed entries are not applied, {LAG_ENTRIES_MAX} may be")),
                Ok(None) => Err("no quorum was heard of since this member started".to_owned()),
                Err(error) => Err(error.to_string()),
            },
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
        Check::Current,
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
            Ok(()) if !check.is_etcds() => Ok(()),
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
