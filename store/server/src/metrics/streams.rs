//! Streams of clients that failed although their client was still there.

use prometheus::{IntCounter, Registry};

use super::counters;

/// Fed by who reads and who encodes the messages of a stream. What renewals are answered with always fits into a message, so no failed
/// send of them is counted.
pub struct Streams {
    pub watch_receive: IntCounter,
    pub watch_send: IntCounter,
    pub keep_alive_receive: IntCounter,
}

impl Streams {
    pub(super) fn new(registry: &Registry) -> Streams {
        let failures = counters(
            registry,
            "etcd_network_server_stream_failures_total",
            "Streams that failed while their client was there.",
            &["Type", "API"],
        );
        let failures = |kind: &str, api: &str| failures.with_label_values(&[kind, api]);
        Streams {
            watch_receive: failures("receive", "watch"),
            watch_send: failures("send", "watch"),
            keep_alive_receive: failures("receive", "lease-keepalive"),
        }
    }
}
