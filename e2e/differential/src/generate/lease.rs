//! Leases. One that could expire while the sequence runs is revoked or awaited at once, so that its end is the same on both sides.

use super::Draw;

impl Draw {
    pub(super) fn lease(&mut self, lines: &mut Vec<String>) {
        let id = self.lease_id();
        match self.below(100) {
            0..32 => {
                let ttl = self.one(&["600", "6000", "60000", "9000000000", "9000000001"]);
                // Never an id that the server could choose.
                let id = self.one(&["101", "102", "103", "104", "105", "106", "-3"]);
                lines.push(format!("Lease.LeaseGrant ID: {id} TTL: {ttl}"));
            }
            32..38 => lines.push("Lease.LeaseGrant TTL: 600".to_owned()),
            38..50 => lines.push(format!("Lease.LeaseRevoke ID: {id}")),
            50..62 => lines.push(format!("Lease.LeaseKeepAlive ID: {id}")),
            62..78 => {
                let keys = if self.percent(60) { " keys: true" } else { "" };
                lines.push(format!("Lease.LeaseTimeToLive ID: {id}{keys}"));
            }
            78..88 => lines.push("Lease.LeaseLeases".to_owned()),
            88..97 => {
                let ttl = self.one(&["0", "-5", "1", "2"]);
                lines.push(format!("Lease.LeaseGrant ID: 201 TTL: {ttl}"));
                if self.percent(50) {
                    lines.push(format!("KV.Put key: \"{}\" value: \"short\" lease: 201", self.key()));
                }
                lines.push("Lease.LeaseRevoke ID: 201".to_owned());
            }
            _ if self.percent(20) => {
                lines.push("Lease.LeaseGrant ID: 301 TTL: 1".to_owned());
                for _ in 0..self.below(3) {
                    lines.push(format!("KV.Put key: \"{}\" value: \"short\" lease: 301", self.key()));
                }
                lines.push("gone ID: 301".to_owned());
            }
            _ => lines.push("Lease.LeaseLeases".to_owned()),
        }
    }
}
