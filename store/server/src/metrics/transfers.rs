//! Snapshots that travel between members, and the files that they become.

use std::time::Instant;

use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGaugeVec, Registry};
use quorate_core::log::MemberId;

use super::{counters, gauges, histogram, histograms};

/// From a tenth of a second to 51 s, as etcd's.
const TRANSFER: (f64, f64, usize) = (0.1, 2.0, 10);

pub struct Transfers {
    sent: Direction,
    received: Direction,
    /// From a received snapshot's first chunk until all of it is verified and durable.
    pub save: Histogram,
}

struct Direction {
    inflight: IntGaugeVec,
    success: IntCounterVec,
    failures: IntCounterVec,
    seconds: HistogramVec,
}

/// A transfer under way; one that is dropped has failed.
pub struct Transfer<'a> {
    direction: &'a Direction,
    other: String,
    began: Instant,
    succeeded: bool,
}

impl Direction {
    fn new(r: &Registry, verb: &str, label: &str) -> Direction {
        let name = |rest: &str| format!("etcd_network_snapshot_{verb}_{rest}");
        Direction {
            inflight: gauges(r, &name("inflights_total"), "Snapshots that are under way.", &[label]),
            success: counters(r, &name("success"), "Snapshots that arrived.", &[label]),
            failures: counters(r, &name("failures"), "Snapshots that did not arrive.", &[label]),
            seconds: histograms(r, &name("total_duration_seconds"), "Seconds of a snapshot's way.", TRANSFER, &[label]),
        }
    }

    fn begin(&self, other: MemberId) -> Transfer<'_> {
        let other = format!("{other:x}");
        self.inflight.with_label_values(&[&other]).inc();
        Transfer { direction: self, other, began: Instant::now(), succeeded: false }
    }
}

impl Transfers {
    pub(super) fn new(r: &Registry) -> Transfers {
        Transfers {
            sent: Direction::new(r, "send", "To"),
            received: Direction::new(r, "receive", "From"),
            save: histogram(
                r,
                "etcd_snap_db_save_total_duration_seconds",
                "Seconds from a received snapshot's first chunk until it is durable.",
                TRANSFER,
            ),
        }
    }

    pub fn send(&self, to: MemberId) -> Transfer<'_> {
        self.sent.begin(to)
    }

    pub fn receive(&self, from: MemberId) -> Transfer<'_> {
        self.received.begin(from)
    }
}

impl Transfer<'_> {
    /// It arrived.
    pub fn done(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        let label = [self.other.as_str()];
        self.direction.inflight.with_label_values(&label).dec();
        if self.succeeded {
            self.direction.success.with_label_values(&label).inc();
            self.direction.seconds.with_label_values(&label).observe(self.began.elapsed().as_secs_f64());
        } else {
            self.direction.failures.with_label_values(&label).inc();
        }
    }
}
