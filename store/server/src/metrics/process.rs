//! What the system says of this process, beside what the client library shows by itself; looked up when somebody scrapes.

use nix::sys::resource::{Resource, getrlimit};
use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use super::{counter, float_gauge, gauge};

pub(super) struct Process {
    fds_used: IntGauge,
    fds_limit: IntGauge,
    /// 2^64 - 1 without a limit, as Go's client library shows it.
    memory_limit_bytes: Gauge,
    received_bytes: IntCounter,
    sent_bytes: IntCounter,
}

impl Process {
    pub fn new(r: &Registry) -> Process {
        Process {
            fds_used: gauge(r, "os_fd_used", "The number of used file descriptors."),
            fds_limit: gauge(r, "os_fd_limit", "The file descriptor limit."),
            memory_limit_bytes: float_gauge(
                r,
                "process_virtual_memory_max_bytes",
                "The most virtual memory that this process may have.",
            ),
            received_bytes: counter(
                r,
                "process_network_receive_bytes_total",
                "Bytes that the process's network namespace received over IP.",
            ),
            sent_bytes: counter(
                r,
                "process_network_transmit_bytes_total",
                "Bytes that the process's network namespace sent over IP.",
            ),
        }
    }

    /// Reads it all anew; what cannot be read keeps its value.
    pub fn look(&self) {
        let count = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count());
        self.fds_used.set(i64::try_from(count).unwrap_or(i64::MAX));
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            self.fds_limit.set(i64::try_from(soft).unwrap_or(i64::MAX));
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_AS) {
            self.memory_limit_bytes.set(soft as f64);
        }
        let statistics = std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
        if let Some((received, sent)) = octets(&statistics) {
            self.received_bytes.inc_by(received.saturating_sub(self.received_bytes.get()));
            self.sent_bytes.inc_by(sent.saturating_sub(self.sent_bytes.get()));
        }
    }
}

/// Bytes in and out of the file `netstat`: a line of names and a line of values, both beginning with the group's.
fn octets(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().filter(|line| line.starts_with("IpExt:"));
    let (names, values) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    let pairs: Vec<_> = names.zip(values).collect();
    let value = |wanted| pairs.iter().find(|(name, _)| *name == wanted)?.1.parse().ok();
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_found_by_name() {
        let text = "TcpExt: A InOctets\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 70 80\n";
        assert_eq!(octets(text), Some((70, 80)));
        assert_eq!(octets("IpExt: InOctets\nIpExt: 1\n"), None);
        assert_eq!(octets(""), None);
    }
}
