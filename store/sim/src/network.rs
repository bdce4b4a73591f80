//! The network: loses, delays, duplicates and reorders packets, and is cut in both or in one direction.
//!
//! Raft messages may come in any order and twice. Forwarded proposals and their refusals come in order and at most once, and not at
//! all after a restart of the receiver, because the peers' connections promise that and the node relies on it.

use bytes::Bytes;
use quorate_core::integrity::Report;
use quorate_core::log::{MemberId, SnapshotMeta, Term};
use quorate_core::membership::Word;
use quorate_core::memory::Memory;
use quorate_core::node::{Event, Proposal};
use quorate_core::replica::Message;

use crate::cluster::{Cluster, What};
use crate::host::{Host, Received};
use crate::options::Bug;

#[derive(Clone)]
pub enum Packet {
    Raft(Bytes),
    Snapshot {
        /// The sender's, which hears how it went.
        boot: u64,
        message: Bytes,
        meta: SnapshotMeta,
        rows: Box<Memory>,
    },
    Forward {
        boot: u64,
        sequence: u64,
        term: Term,
        proposals: Vec<Proposal>,
    },
    Refuse {
        proposals: Vec<Proposal>,
    },
    /// The leader wants the member's hashes.
    AskHashes {
        boot: u64,
        asked_ms: u64,
    },
    /// They are, as asked for at this time of the asker.
    Hashes {
        boot: u64,
        asked_ms: u64,
        report: Report,
    },
    /// Where the sender is reached, said on this line.
    Reachable {
        line: u64,
        word: Word,
    },
}

/// Of the transfers of snapshots, which are long, so many break while there are faults.
const SNAPSHOT_BREAKS_PERCENT: u64 = 15;

/// How bad the network is just now; all zero is good.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    pub delay_micros: u64,
}

impl Cluster {
    /// False when it is lost at once.
    pub(crate) fn send(&mut self, from: MemberId, to: MemberId, packet: Packet) -> bool {
        let size = if let Packet::Raft(bytes) = &packet { bytes.len() as u64 } else { 0 };
        self.note(from, "sends {} bytes to {}", [size, to, 0]);
        if !self.hosts.contains_key(&to) {
            return false;
        }
        let lost = self.weather.loss_percent > 0 && self.network.percent(self.weather.loss_percent);
        if lost || self.blocked.contains(&(from, to)) {
            self.world.counts.add("messages lost");
            if let Packet::Snapshot { boot, .. } = packet {
                self.snapshot_lost(from, boot, to);
            }
            return false;
        }
        if let Packet::Raft(_) = packet
            && self.weather.duplicate_percent > 0
            && self.network.percent(self.weather.duplicate_percent)
        {
            self.world.counts.add("messages duplicated");
            self.dispatch(from, to, packet.clone());
        }
        self.dispatch(from, to, packet);
        true
    }

    fn dispatch(&mut self, from: MemberId, to: MemberId, packet: Packet) {
        let mut delay = self.network.between(200, 2_000);
        if self.weather.delay_micros > 0 {
            self.world.counts.add("messages delayed");
            delay += self.network.between(0, self.weather.delay_micros);
        }
        if let Packet::Snapshot { boot, .. } = packet
            && self.faults
            && self.network.percent(SNAPSHOT_BREAKS_PERCENT)
        {
            return self.snapshot_lost(from, boot, to);
        }
        let ordered = !matches!(packet, Packet::Raft(_) | Packet::Snapshot { .. });
        if let Packet::Snapshot { .. } = packet {
            delay += self.network.between(10_000, 400_000);
        }
        let mut at = self.now + delay;
        let last = self.arrivals.entry((from, to, ordered)).or_default();
        if ordered {
            at = at.max(*last + 1);
        } else if at < *last {
            self.world.counts.add("messages reordered");
        }
        *last = at.max(*last);
        // The receiver's boot: a connection does not outlive the process.
        let boot = self.hosts.get(&to).map_or(0, |host| host.boot);
        self.at(at, What::Deliver { from, to, boot, packet });
    }

    fn snapshot_lost(&mut self, from: MemberId, boot: u64, to: MemberId) {
        self.world.counts.add("snapshots lost on the way");
        self.at(self.now + 1_000_000, What::SnapshotSent { id: from, boot, to, installed: false });
    }

    /// A packet reaches a machine.
    pub(crate) fn deliver(&mut self, host: &mut Host, from: MemberId, boot: u64, packet: Packet) {
        let Some(process) = &mut host.process else {
            match packet {
                Packet::Snapshot { boot, .. } => self.snapshot_lost(from, boot, host.id),
                _ if self.network.percent(30) => self.at(self.now + 500, What::Unreachable { id: from, to: host.id }),
                _ => {}
            }
            return;
        };
        if process.machine.membership().is_removed(from) {
            // The handshake tells a removed member so.
            self.at(self.now + 1_000, What::Gone { id: from });
            return;
        }
        match packet {
            Packet::Raft(mut bytes) => {
                if self.options.bug == Some(Bug::ReuseContext) {
                    bytes = process.contexts.incoming(bytes);
                }
                match Message::decode(bytes) {
                    Ok(message) => process.events.push(Event::Message(message)),
                    Err(error) => self.world.violate(format!("a message does not decode: {error}")),
                }
            }
            Packet::Snapshot { boot, message, meta, mut rows } => {
                if !self.faults {
                    rows.repair();
                }
                let Ok(message) = Message::decode(message) else { return };
                process.events.push(Event::Message(message));
                let name = host.take_name();
                host.received = Some(Received { name, meta, rows: *rows });
                self.at(self.now + 1_000, What::SnapshotSent { id: from, boot, to: host.id, installed: true });
            }
            Packet::Forward { boot: sender, sequence, term, proposals } if boot == host.boot => {
                process.events.push(Event::Forwarded { from, boot: sender, sequence, term, proposals });
            }
            Packet::Refuse { proposals } if boot == host.boot => process.events.push(Event::Refused { proposals }),
            Packet::Reachable { line, word } if boot == host.boot => self.heard(host, from, line, word),
            Packet::AskHashes { boot: sender, asked_ms } => self.tell_hashes(host, from, sender, asked_ms),
            Packet::Hashes { boot, asked_ms, report } if boot == host.boot => {
                self.take_hashes(host, from, asked_ms, report);
            }
            Packet::Forward { .. } | Packet::Refuse { .. } | Packet::Reachable { .. } | Packet::Hashes { .. } => {}
        }
        self.turn(host);
    }
}
