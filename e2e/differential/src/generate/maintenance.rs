//! Cluster, maintenance, health, and what of auth there is while it is off.

use super::{Draw, Kind};
use crate::exceptions::is_not_there;
use crate::wire;

impl Draw {
    pub(super) fn maintenance(&mut self, lines: &mut Vec<String>) {
        match self.below(100) {
            0..30 => {
                let revision = if self.percent(40) { "0".to_owned() } else { self.revision() };
                lines.push(format!("Maintenance.HashKV revision: {revision}"));
            }
            30..42 if self.kind != Kind::Three => lines.push("Maintenance.Status".to_owned()),
            42..46 => lines.push("Maintenance.Defragment".to_owned()),
            46..50 if self.kind != Kind::Three => {
                let target = self.one(&["self", "1", "0"]);
                lines.push(format!("Maintenance.MoveLeader targetID: {target}"));
            }
            50..58 => lines.push("Maintenance.Alarm action: GET".to_owned()),
            58..70 => self.alarm(lines),
            70 => lines.push("Health.List".to_owned()),
            71..76 => {
                let service = self.one(&["", "service: \"etcdserverpb.KV\"", "service: \"\""]);
                lines.push(format!("Health.Check {service}"));
            }
            76..80 => lines.push("Auth.AuthStatus".to_owned()),
            80..84 => lines.push("Auth.Authenticate name: \"root\" password: \"a\"".to_owned()),
            _ if self.kind != Kind::Three => self.members(lines),
            _ => lines.push("Maintenance.HashKV".to_owned()),
        }
    }

    /// An alarm, what it refuses, and its end.
    fn alarm(&mut self, lines: &mut Vec<String>) {
        let kind = self.one(&["NOSPACE", "CORRUPT", "NOSPACE", "NONE"]);
        // A member of the other side has another id where Quorate has three.
        let member = if self.kind == Kind::Three { "7" } else { self.one(&["self", "7", "0"]) };
        lines.push(format!("Maintenance.Alarm action: ACTIVATE memberID: {member} alarm: {kind}"));
        let both = self.percent(15);
        if both {
            lines.push("Maintenance.Alarm action: ACTIVATE memberID: 3 alarm: NOSPACE".to_owned());
            lines.push("Maintenance.Alarm action: ACTIVATE memberID: 2 alarm: CORRUPT".to_owned());
            lines.push("Maintenance.Alarm action: GET".to_owned());
        }
        for _ in 0..2 + self.below(5) {
            let line = match self.below(9) {
                0 | 1 => self.put(),
                2 => self.delete(),
                3 | 4 => self.txn(),
                5 => "Lease.LeaseGrant ID: 106 TTL: 600".to_owned(),
                6 => "Lease.LeaseRevoke ID: 106".to_owned(),
                7 => self.compact(),
                _ if self.kind != Kind::Three => "Maintenance.Status".to_owned(),
                _ => "Maintenance.Alarm action: GET alarm: NOSPACE".to_owned(),
            };
            lines.push(line);
        }
        if self.percent(30) {
            lines.push(format!("Maintenance.Alarm action: DEACTIVATE memberID: 12 alarm: {kind}"));
        }
        lines.push("Maintenance.Alarm action: GET alarm: CORRUPT".to_owned());
        lines.push(format!("Maintenance.Alarm action: DEACTIVATE memberID: {member} alarm: {kind}"));
        if both {
            lines.push("Maintenance.Alarm action: DEACTIVATE memberID: 3 alarm: NOSPACE".to_owned());
            lines.push("Maintenance.Alarm action: DEACTIVATE memberID: 2 alarm: CORRUPT".to_owned());
        }
    }

    fn members(&mut self, lines: &mut Vec<String>) {
        match self.below(14) {
            0..3 => {
                let linearizable = if self.percent(50) { " linearizable: true" } else { "" };
                lines.push(format!("Cluster.MemberList{linearizable}"));
            }
            3 | 4 => {
                let url = self.one(&["http://127.0.0.1:1", "localhost:1", "http://localhost:1/path", ""]);
                // A voter that is let in would never start, and its cluster have no majority.
                let learner = if url.starts_with("http://127") || self.percent(50) { " isLearner: true" } else { "" };
                let url = if url.is_empty() { String::new() } else { format!("peerURLs: \"{url}\"") };
                lines.push(format!("Cluster.MemberAdd {url}{learner}"));
            }
            5..8 => self.learner(lines),
            8 => {
                let id = self.one(&["self", "self", "1", "member1", "member2"]);
                lines.push(format!("Cluster.MemberRemove ID: {id}"));
            }
            9 => {
                let id = self.one(&["self", "self", "1", "member1"]);
                lines.push(format!("Cluster.MemberPromote ID: {id}"));
            }
            _ => {
                let id = self.one(&["self", "self", "self", "1"]);
                let url = self.one(&["http://127.0.0.1:1", "http://127.0.0.1:2", "localhost:1"]);
                lines.push(format!("Cluster.MemberUpdate ID: {id} peerURLs: \"{url}\""));
            }
        }
    }

    /// A learner that never starts: the only member that may be added without losing the majority.
    fn learner(&mut self, lines: &mut Vec<String>) {
        let port = 3 + self.below(5);
        lines.push(format!("Cluster.MemberAdd peerURLs: \"http://127.0.0.1:{port}\" isLearner: true"));
        lines.push("Cluster.MemberList linearizable: true".to_owned());
        if self.percent(30) {
            lines.push("Cluster.MemberAdd peerURLs: \"http://127.0.0.1:9\" isLearner: true".to_owned());
        }
        for number in 1..=3 {
            if self.percent(50) {
                lines.push(format!("Cluster.MemberPromote ID: member{number}"));
            }
        }
        for number in 1..=6 {
            lines.push(format!("Cluster.MemberRemove ID: member{number}"));
        }
    }

    /// A call of a kind that Quorate does not have.
    pub(super) fn not_there(&mut self) -> String {
        let names: Vec<&str> =
            wire::methods().iter().map(|method| method.name.as_str()).filter(|name| is_not_there(name)).collect();
        self.one(&names).to_owned()
    }
}
