//! Traffic with the other members, by their ids; set when somebody scrapes.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use quorate_core::log::MemberId;

use super::register;
use crate::peer::Link;

pub struct Peers {
    sent_bytes: IntCounterVec,
    received_bytes: IntCounterVec,
    active: IntGaugeVec,
    known: IntGaugeVec,
}

impl Peers {
    pub(super) fn new(registry: &Registry) -> Peers {
        const WELL_FORMED: &str = "the names are well-formed";
        let counter = |name: &str, help: &str, label: &str| {
            let vec = IntCounterVec::new(Opts::new(name, help), &[label]).expect(WELL_FORMED);
            register(registry, vec.clone());
            vec
        };
        let gauge = |name: &str, help: &str| {
            let vec = IntGaugeVec::new(Opts::new(name, help), &["Local", "Remote"]).expect(WELL_FORMED);
            register(registry, vec.clone());
            vec
        };
        Peers {
            sent_bytes: counter("etcd_network_peer_sent_bytes_total", "Bytes sent to a peer.", "To"),
            received_bytes: counter("etcd_network_peer_received_bytes_total", "Bytes received from a peer.", "From"),
            active: gauge("etcd_network_active_peers", "1 while a peer is connected."),
            known: gauge("etcd_network_known_peers", "1 for each peer that this member has known."),
        }
    }

    /// Shows what is known of the connections of member `local`.
    pub fn set<'a>(&self, local: MemberId, links: impl IntoIterator<Item = (&'a MemberId, &'a Link)>) {
        let local = format!("{local:x}");
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
