//! Traffic with the other members, by their ids: what links show, when somebody scrapes, and what connections count.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry};
use quorate_core::log::MemberId;

use super::{counters, gauges, histograms};
use crate::peer::Link;

pub struct Peers {
    sent_bytes: IntCounterVec,
    received_bytes: IntCounterVec,
    active: IntGaugeVec,
    known: IntGaugeVec,
    round_trip: HistogramVec,
    sent_failures: IntCounterVec,
    received_failures: IntCounterVec,
    disconnected: IntCounterVec,
}

/// From a tenth of a millisecond to 3.3 s, as etcd's.
const ROUND_TRIP: (f64, f64, usize) = (0.0001, 2.0, 16);

impl Peers {
    pub(super) fn new(registry: &Registry) -> Peers {
        let r = registry;
        let between = ["Local", "Remote"];
        Peers {
            sent_bytes: counters(r, "etcd_network_peer_sent_bytes_total", "Bytes sent to a peer.", &["To"]),
            received_bytes: counters(
                r,
                "etcd_network_peer_received_bytes_total",
                "Bytes received from a peer.",
                &["From"],
            ),
            active: gauges(r, "etcd_network_active_peers", "1 while a peer is connected.", &between),
            known: gauges(r, "etcd_network_known_peers", "1 for each member that this one has known.", &between),
            round_trip: histograms(
                r,
                "etcd_network_peer_round_trip_time_seconds",
                "Seconds of the way to a peer and back.",
                ROUND_TRIP,
                &["To"],
            ),
            sent_failures: counters(
                r,
                "etcd_network_peer_sent_failures_total",
                "Frames for a peer that were dropped, and connections to it that broke.",
                &["To"],
            ),
            received_failures: counters(
                r,
                "etcd_network_peer_received_failures_total",
                "Connections of a peer that ended with an error.",
                &["From"],
            ),
            disconnected: counters(
                r,
                "etcd_network_disconnected_peers_total",
                "How often the connection to a peer was lost.",
                &between,
            ),
        }
    }

    pub fn round_trip(&self, to: MemberId, took: Duration) {
        self.round_trip.with_label_values(&[&format!("{to:x}")]).observe(took.as_secs_f64());
    }

    pub fn not_sent(&self, to: MemberId, frames: u64) {
        self.sent_failures.with_label_values(&[&format!("{to:x}")]).inc_by(frames);
    }

    pub fn not_received(&self, from: MemberId) {
        self.received_failures.with_label_values(&[&format!("{from:x}")]).inc();
    }

    pub fn disconnected(&self, local: MemberId, remote: MemberId) {
        self.disconnected.with_label_values(&[&format!("{local:x}"), &format!("{remote:x}")]).inc();
    }

    /// Shows what is known of the connections of member `local`.
    pub fn set<'a>(&self, local: MemberId, links: impl IntoIterator<Item = (&'a MemberId, &'a Link)>) {
        let local = format!("{local:x}");
        // etcd counts a member among those that it knows.
        self.known.with_label_values(&[&local, &local]).set(1);
        for (remote, link) in links {
            let remote = format!("{remote:x}");
            let sent = self.sent_bytes.with_label_values(&[&remote]);
            sent.inc_by(link.sent_bytes.saturating_sub(sent.get()));
            let received = self.received_bytes.with_label_values(&[&remote]);
            received.inc_by(link.received_bytes.saturating_sub(received.get()));
            let between = [local.as_str(), remote.as_str()];
            self.active.with_label_values(&between).set(i64::from(link.connected_since.is_some()));
            self.known.with_label_values(&between).set(1);
        }
    }
}
