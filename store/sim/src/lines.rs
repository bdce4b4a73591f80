//! Connections between members, as far as they decide who is sent to. A member sends only where `membership::Reach` says, which is what the
//! server's peers ask as well; it calls everybody whom it reaches, and says there where it is reached itself.

use std::collections::BTreeMap;

use quorate_core::log::{Index, MemberId};
use quorate_core::membership::{Membership, Reach, Word};

use crate::cluster::{Cluster, What};
use crate::host::Host;
use crate::network::Packet;
use crate::options::Bug;

/// How often a line says what is new, as the server's `peer/outgoing.rs`.
const SPEAK_MICROS: u64 = 1_000_000;
/// So long a line outlives the configuration that it was made for, as there.
const LINGER_MICROS: u64 = 1_000_000;
/// A killed process's connections end at once; of one whose power failed, when nothing was acknowledged for so long.
const KILLED_MICROS: u64 = 500;
const LIFELINE_MICROS: u64 = 5_000_000;
/// A line that is cut ends at a tick with this chance.
const CUT_ENDS_PERCENT: u64 = 3;

/// A connection to another member.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Rises over all lines of a run.
    number: u64,
    /// The process that answered it.
    boot: u64,
    /// By the configuration of which index it was said where this member is reached.
    told: Option<Index>,
    speaks_at: u64,
}

/// Of one process; nothing of it outlives that.
#[derive(Debug, Default)]
pub struct Lines {
    reach: Reach,
    to: BTreeMap<MemberId, Line>,
    from: BTreeMap<MemberId, Caller>,
}

#[derive(Debug, Default)]
struct Caller {
    /// Number of its newest line.
    line: u64,
    /// `None` when it said nothing, or has hung up.
    visit: Option<u64>,
}

/// Whom a packet goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addressee {
    Member,
    Visitor,
    Stranger,
}

impl Host {
    /// The configuration to find others by: applied, or as founded or admitted while nothing is applied.
    fn membership(&self) -> &Membership {
        let applied = self.process.as_ref().map(|process| &process.machine);
        applied.filter(|machine| machine.applied().index > 0).map_or(&self.seeds, |machine| machine.membership())
    }

    fn addressee(&self, to: MemberId) -> Addressee {
        let (Some(process), membership) = (&self.process, self.membership()) else { return Addressee::Stranger };
        match (process.lines.reach.urls(self.id, membership, to), membership.get(to)) {
            ([], _) => Addressee::Stranger,
            (_, Some(_)) => Addressee::Member,
            (_, None) => Addressee::Visitor,
        }
    }
}

impl Cluster {
    /// Sends to whom the member reaches; what goes to others comes back as the server's `Peers` gives it back.
    pub(crate) fn post(&mut self, host: &mut Host, to: MemberId, packet: Packet) {
        match host.addressee(to) {
            Addressee::Member => {}
            // A snapshot's own connection is made to members only.
            Addressee::Visitor if !matches!(packet, Packet::Snapshot { .. }) => {
                self.world.counts.add("messages to a visitor");
            }
            Addressee::Visitor | Addressee::Stranger => return self.keep_back(host, to, packet),
        }
        self.send(host.id, to, packet);
    }

    fn keep_back(&mut self, host: &Host, to: MemberId, packet: Packet) {
        self.world.counts.add("messages to strangers kept back");
        self.note(host.id, "does not reach {}", [to, 0, 0]);
        let (id, boot, at) = (host.id, host.boot, self.now + 500);
        match packet {
            Packet::Raft(_) => self.at(at, What::Unreachable { id, to }),
            Packet::Snapshot { boot, .. } => self.at(at, What::SnapshotSent { id, boot, to, installed: false }),
            Packet::Forward { proposals, .. } => self.at(at, What::GivenBack { id, boot, proposals }),
            Packet::Refuse { .. } | Packet::Reachable { .. } | Packet::AskHashes { .. } | Packet::Hashes { .. } => {}
        }
    }

    /// At every tick: leaves whom the member reaches no more, calls the others, and says what is new.
    pub(crate) fn keep_lines(&mut self, host: &mut Host) {
        let Some(process) = &host.process else { return };
        let reached = process.lines.reach.ids(host.id, host.membership());
        let left: Vec<MemberId> = process.lines.to.keys().copied().filter(|id| !reached.contains(id)).collect();
        for to in left {
            self.hang_up(host, to, LINGER_MICROS);
        }
        for to in reached {
            if self.call(host, to) {
                self.speak(host, to);
            }
        }
    }

    /// Whether there is a line.
    fn call(&mut self, host: &mut Host, to: MemberId) -> bool {
        let boot = self.hosts.get(&to).and_then(|peer| peer.process.as_ref()).map(|process| process.boot);
        let is_cut = self.blocked.contains(&(host.id, to)) || self.blocked.contains(&(to, host.id));
        let Some(process) = &mut host.process else { return false };
        let lines = &mut process.lines.to;
        if lines.get(&to).is_some_and(|line| Some(line.boot) != boot) {
            lines.remove(&to);
        }
        match (boot, lines.get(&to)) {
            (None, _) => false,
            (Some(_), Some(_)) => {
                let ends = is_cut && self.network.percent(CUT_ENDS_PERCENT);
                if ends {
                    self.world.counts.add("connections ended by a partition");
                    self.hang_up(host, to, 0);
                }
                !ends
            }
            (Some(_), None) if is_cut => false,
            (Some(boot), None) => {
                self.lines += 1;
                lines.insert(to, Line { number: self.lines, boot, told: None, speaks_at: self.now });
                true
            }
        }
    }

    /// Says where the member is reached, if that is new. A line on which that is lost has ended.
    fn speak(&mut self, host: &mut Host, to: MemberId) {
        let Some(line) = host.process.as_ref().and_then(|process| process.lines.to.get(&to).copied()) else { return };
        if self.now < line.speaks_at {
            return;
        }
        let word = Word::new(host.id, host.membership(), line.told);
        let told = word.as_ref().map_or(line.told, |word| Some(word.index));
        if let Some(process) = &mut host.process {
            process.lines.to.insert(to, Line { told, speaks_at: self.now + SPEAK_MICROS, ..line });
        }
        if let Some(word) = word
            && !self.send(host.id, to, Packet::Reachable { line: line.number, word })
        {
            self.hang_up(host, to, 0);
        }
    }

    fn hang_up(&mut self, host: &mut Host, to: MemberId, after_micros: u64) {
        let line = host.process.as_mut().and_then(|process| process.lines.to.remove(&to));
        if let Some(Line { number, .. }) = line {
            self.at(self.now + after_micros, What::HungUp { from: host.id, to, line: number });
        }
    }

    /// The process died, and with it its connections.
    pub(crate) fn drop_lines(&mut self, from: MemberId, lines: Lines, power: bool) {
        let after = if power { LIFELINE_MICROS } else { KILLED_MICROS };
        for (to, Line { number, .. }) in lines.to {
            self.at(self.now + after, What::HungUp { from, to, line: number });
        }
    }

    /// A caller said where it is reached.
    pub(crate) fn heard(&mut self, host: &mut Host, from: MemberId, line: u64, word: Word) {
        let Some(process) = &mut host.process else { return };
        let Lines { reach, from: callers, .. } = &mut process.lines;
        let caller = callers.entry(from).or_default();
        let has_ended = line < caller.line || (line == caller.line && caller.visit.is_none());
        if has_ended || self.options.bug == Some(Bug::ForgetVisitors) {
            return;
        }
        let visit = reach.arrived(from, word).or(caller.visit);
        *caller = Caller { line, visit };
    }

    /// The end of a line reaches whom it led to.
    pub(crate) fn hung_up(&mut self, host: &mut Host, from: MemberId, line: u64) {
        let Some(process) = &mut host.process else { return };
        let Lines { reach, from: callers, .. } = &mut process.lines;
        let caller = callers.entry(from).or_default();
        if line < caller.line {
            return;
        }
        if let Some(visit) = caller.visit {
            reach.left(from, visit);
        }
        *caller = Caller { line, visit: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn word(index: Index) -> Word {
        Word { index, urls: vec!["http://peer-9:2380".into()] }
    }

    /// A cluster in which member 1 runs, founded with 2 and 3.
    fn running() -> (Cluster, Host) {
        let mut cluster = Cluster::new(3, Options::default());
        let mut host = Host::new(1, Host::founders(&[1, 2, 3]), true, 3, 100_000);
        host.open(3, 0, cluster.options.flush).unwrap();
        cluster.hosts.remove(&1);
        (cluster, host)
    }

    #[test]
    fn a_word_that_comes_after_the_end_of_its_line_is_not_believed() {
        let (mut cluster, mut host) = running();
        assert_eq!((host.addressee(2), host.addressee(9)), (Addressee::Member, Addressee::Stranger));
        cluster.heard(&mut host, 9, 5, word(50));
        assert_eq!(host.addressee(9), Addressee::Visitor);
        cluster.hung_up(&mut host, 9, 4);
        assert_eq!(host.addressee(9), Addressee::Visitor, "an older line ended");
        cluster.hung_up(&mut host, 9, 5);
        assert_eq!(host.addressee(9), Addressee::Stranger);
        cluster.heard(&mut host, 9, 5, word(60));
        assert_eq!(host.addressee(9), Addressee::Stranger, "it overtook nothing: its line had ended");
        cluster.heard(&mut host, 9, 6, word(60));
        assert_eq!(host.addressee(9), Addressee::Visitor);
    }
}
