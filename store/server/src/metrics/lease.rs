//! Leases: what was applied on this member, and what it did as leader.

use prometheus::{Histogram, IntCounter, Registry};
use quorate_core::apply::LeaseChange;

use super::{counter, histogram};

pub struct Lease {
    granted: IntCounter,
    revoked: IntCounter,
    /// Fed by who answers keep-alives, on the leader.
    pub renewed: IntCounter,
    /// Fed by who lets leases expire, on the leader.
    pub expired: IntCounter,
    ttl_seconds: Histogram,
}

impl Lease {
    pub(super) fn new(r: &Registry) -> Lease {
        Lease {
            granted: counter(r, "etcd_debugging_lease_granted_total", "Grants applied."),
            revoked: counter(r, "etcd_debugging_lease_revoked_total", "Revocations applied, and expiries among them."),
            renewed: counter(r, "etcd_debugging_lease_renewed_total", "Renewals by this member as leader."),
            expired: counter(r, "etcd_debugging_server_lease_expired_total", "Expiries by this member as leader."),
            ttl_seconds: histogram(r, "etcd_debugging_lease_ttl_total", "Granted seconds to live.", (1.0, 2.0, 24)),
        }
    }

    /// Counts what was applied.
    pub fn applied(&self, changes: &[LeaseChange]) {
        for change in changes {
            match change {
                LeaseChange::Granted { ttl_seconds, .. } => {
                    self.granted.inc();
                    self.ttl_seconds.observe(*ttl_seconds as f64);
                }
                LeaseChange::Revoked { .. } => self.revoked.inc(),
            }
        }
    }
}
