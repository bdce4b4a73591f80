//! Leases. One that could expire while the sequence runs is revoked or awaited at once, so that its end is the same on both sides.

use super::Draw;

impl Draw {
    pub(super) fn lease(&mut self, lines: &mut Vec<String>) {
        let id = self.lease_id();
        match self.below(100) {
            0..32 => {
                let ttl = self.one(&["600", "6000", "60000", "9000000000", "9000000001"]);
                // Never an id that the server could choose.
                let id = self.one(&["101", "102", "103", "101", "102", "103", "-3"]);
                lines.push(format!("Lease.LeaseGrant ID: {id} TTL: {ttl}"));
            }
            32..38 => lines.push("Lease.LeaseGrant TTL: 600".to_owned()),
            38..46 => lines.push(format!("Lease.LeaseRevoke ID: {id}")),
            46..60 => lines.push(format!("Lease.LeaseKeepAlive ID: {id}")),
            60..78 => {
                let keys = if self.percent(60) { " keys: true" } else { "" };
                lines.push(format!("Lease.LeaseTimeToLive ID: {id}{keys}"));
            }
            78..82 => self.leased_keys(lines),
            82..88 => lines.push("Lease.LeaseLeases".to_owned()),
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

    /// A lease with keys, which are listed and now and then go with it.
    fn leased_keys(&mut self, lines: &mut Vec<String>) {
        lines.push("Lease.LeaseGrant ID: 104 TTL: 6000".to_owned());
        for _ in 0..1 + self.below(4) {
            lines.push(format!("KV.Put key: \"{}\" value: \"leased\" lease: 104", self.key()));
        }
        lines.push("Lease.LeaseTimeToLive ID: 104 keys: true".to_owned());
        if self.percent(60) {
            lines.push("Lease.LeaseRevoke ID: 104".to_owned());
        }
    }
}
