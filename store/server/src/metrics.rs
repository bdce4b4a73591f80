//! What a server counts and measures, under etcd's metric names, so that existing dashboards and alerts work.
//!
//! Every part gets its handles from here and feeds them; gauges that merely show the member's state are set when somebody scrapes
//! (`http`). Nothing is registered that nobody feeds.

mod alarms;
mod grpc;
mod lease;
mod memory;
mod parts;
mod peers;
mod process;
mod rocksdb;
mod streams;
mod transfers;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use alarms::Alarms;
pub use grpc::{Grpc, Kind, Method};
pub use lease::Lease;
pub use memory::Memory;
pub use parts::{Disk, Health, Mvcc, Network, Server, Watch};
pub use peers::Peers;
pub use rocksdb::Rocksdb;
pub use streams::Streams;
pub use transfers::Transfers;

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    pub server: Server,
    pub alarms: Alarms,
    pub disk: Disk,
    pub mvcc: Mvcc,
    pub lease: Lease,
    pub watch: Watch,
    pub peers: Peers,
    pub transfers: Transfers,
    pub rocksdb: Rocksdb,
    pub network: Network,
    pub streams: Streams,
    pub memory: Memory,
    pub health: Health,
    pub grpc: Grpc,
    process: process::Process,
}

impl Metrics {
    /// `extensive` adds a histogram of every gRPC method (`--metrics=extensive`).
    pub fn new(extensive: bool) -> Metrics {
        let registry = Registry::new();
        register(&registry, ProcessCollector::for_self());
        Metrics {
            server: Server::new(&registry),
            alarms: Alarms::new(&registry),
            disk: Disk::new(&registry),
            mvcc: Mvcc::new(&registry),
            lease: Lease::new(&registry),
            watch: Watch::new(&registry),
            peers: Peers::new(&registry),
            transfers: Transfers::new(&registry),
            rocksdb: Rocksdb::new(&registry),
            network: Network::new(&registry),
            streams: Streams::new(&registry),
            memory: Memory::new(&registry),
            health: Health::new(&registry),
            grpc: Grpc::new(&registry, extensive),
            process: process::Process::new(&registry),
            registry,
        }
    }

    /// Registers what another part measures under names of its own.
    pub fn add(&self, collector: impl Collector + 'static) {
        register(&self.registry, collector);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        self.process.look();
        let mut text = Vec::with_capacity(128 * 1024);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("every family has a sample and a Vec takes all bytes");
        text
    }
}

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const DISTINCT: &str = "names are written once, in this module, and a test registers them all";

fn register(registry: &Registry, collector: impl Collector + 'static) {
    registry.register(Box::new(collector)).expect(DISTINCT);
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect(DISTINCT);
    register(registry, gauge.clone());
    gauge
}

fn float_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::new(name, help).expect(DISTINCT);
    register(registry, gauge.clone());
    gauge
}

/// A gauge that is 1 under this label.
fn labelled_one(registry: &Registry, name: &str, help: &str, label: &str, value: &str) {
    let gauge = IntGauge::with_opts(Opts::new(name, help).const_label(label, value)).expect(DISTINCT);
    gauge.set(1);
    register(registry, gauge);
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help).expect(DISTINCT);
    register(registry, counter.clone());
    counter
}

/// A histogram whose buckets begin at `start` and grow by `factor`.
fn histogram(registry: &Registry, name: &str, help: &str, (start, factor, count): (f64, f64, usize)) -> Histogram {
    let buckets = prometheus::exponential_buckets(start, factor, count).expect("bounds are positive and growing");
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect(DISTINCT);
    register(registry, histogram.clone());
    histogram
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let vec = IntCounterVec::new(Opts::new(name, help), labels).expect(DISTINCT);
    register(registry, vec.clone());
    vec
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let vec = IntGaugeVec::new(Opts::new(name, help), labels).expect(DISTINCT);
    register(registry, vec.clone());
    vec
}

/// As [`histogram`], one for each value of the labels.
fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    (start, factor, count): (f64, f64, usize),
    labels: &[&str],
) -> HistogramVec {
    let buckets = prometheus::exponential_buckets(start, factor, count).expect("bounds are positive and growing");
    let vec = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels).expect(DISTINCT);
    register(registry, vec.clone());
    vec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_metrics_render_every_family_with_etcds_names() {
        let metrics = Metrics::new(true);
        metrics.server.identify(0x628170c800dbcee);
        metrics.disk.wal_fsync.observe(0.0005);
        metrics.grpc.method("/etcdserverpb.KV/Put").unwrap().started();
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            "etcd_server_has_leader 0",
            "etcd_server_id{server_id=\"628170c800dbcee\"} 1",
            "etcd_server_version{server_version=\"3.7.3\"} 1",
            "etcd_cluster_version{cluster_version=\"3.7\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"8.192\"} 1",
            "etcd_mvcc_put_total 0",
            "# TYPE etcd_server_proposals_committed_total gauge",
            "grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0",
            "# TYPE grpc_server_handling_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes ") && text.contains("os_fd_used "));
    }

    #[test]
    fn clients_that_make_up_versions_are_counted_together() {
        let metrics = Metrics::new(false);
        metrics.server.asked(false, Some("3.7"));
        (0..1_000).for_each(|made_up| metrics.server.asked(false, Some(&format!("x{made_up}"))));
        metrics.server.asked(true, Some("3.7"));
        metrics.server.asked(true, Some(&"9".repeat(1_000)));
        metrics.server.asked(true, None);
        let text = String::from_utf8(metrics.render()).unwrap();
        let shown = |kind: &str, version: &str| {
            let series =
                format!("etcd_server_client_requests_total{{client_api_version=\"{version}\",type=\"{kind}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(series.as_str())?.parse::<u64>().ok())
        };
        assert_eq!(
            (shown("unary", "3.7"), shown("stream", "3.7"), shown("stream", "unknown")),
            (Some(1), Some(1), Some(2))
        );
        assert_eq!(text.lines().filter(|line| line.starts_with("etcd_server_client_requests_total{")).count(), 64 + 3);
    }
}
