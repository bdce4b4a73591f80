//! `/health`, the oldest of etcd's checks: alarms, then a leader, then a read.

use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use quorate_api::etcdserverpb::AlarmType;

use super::{Page, Pages, TEXT, error, page, query};

pub(super) async fn answer(pages: &Pages, uri: &Uri) -> Page {
    match reason(pages, uri).await {
        None => {
            pages.metrics.health.success.inc();
            let mut page = page(StatusCode::OK, r#"{"health":"true","reason":""}"#);
            page.headers_mut().insert(CONTENT_TYPE, TEXT);
            page
        }
        Some(reason) => {
            pages.metrics.health.failures.inc();
            tracing::warn!(reason, "/health fails");
            let body = serde_json::json!({ "health": "false", "reason": reason });
            error(StatusCode::SERVICE_UNAVAILABLE, &body.to_string())
        }
    }
}

/// Why this member is not healthy; `None` when it is.
async fn reason(pages: &Pages, uri: &Uri) -> Option<String> {
    let serializable = query(uri, "serializable").next() == Some("true");
    let facts = pages.probe.facts();
    for alarm in &facts.alarms {
        let name = match alarm {
            AlarmType::Nospace => "NOSPACE",
            AlarmType::Corrupt => "CORRUPT",
            AlarmType::None => "UNKNOWN",
        };
        if !query(uri, "exclude").any(|excluded| excluded == name) {
            return Some(format!("ALARM {name}"));
        }
    }
    if !serializable && !facts.has_leader {
        return Some("RAFT NO LEADER".to_owned());
    }
    let read = match serializable {
        true => pages.probe.serializable_read(),
        false => pages.probe.linearizable_read().await,
    };
    read.err().map(|error| format!("RANGE ERROR:{error}"))
}
