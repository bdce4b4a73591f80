//! Performs what the node decides, in the order of the server's driver: `driver/mod.rs`, `apply.rs`, `install.rs`, `log_role.rs`.

use bytes::{Bytes, BytesMut};
use quorate_core::log::{Entry, SnapshotMeta};
use quorate_core::node::{Effect, Event};
use quorate_core::replica::{LogRange, LogReadError, LogReader, Message, Role};

use crate::cluster::{Cluster, What};
use crate::guard;
use crate::host::{Host, Job};
use crate::network::Packet;
use crate::options::Bug;

impl Cluster {
    /// Lets the node decide until nothing is left to do now.
    pub(crate) fn turn(&mut self, host: &mut Host) {
        loop {
            let Some(process) = &mut host.process else { return };
            let events = std::mem::take(&mut process.events);
            let node = &mut process.node;
            let effects =
                if host.log.lock().is_damaged() { guard::catch(|| node.turn(events)) } else { Ok(node.turn(events)) };
            let effects = match effects {
                Ok(effects) => effects,
                Err(said) => return self.stop_on_damage(host, &said),
            };
            for effect in effects {
                if self.crash_point(host) {
                    return;
                }
                self.perform(host, effect);
                if host.process.is_none() || self.world.violation.is_some() {
                    return;
                }
            }
            let Some(process) = &host.process else { return };
            if process.events.is_empty() {
                break;
            }
        }
        let Some(process) = &host.process else { return };
        let status = process.node.status();
        if status.role == Role::Leader {
            self.world.leads(host.id, status.term);
            let own = process.machine.membership().get(host.id);
            if own.is_some_and(|member| member.learner) {
                self.world.violate(format!("member {} leads as a learner", host.id));
            }
        }
        self.tell_lessor(host);
    }

    /// Raft cannot go on without an entry that its log does not give back: the process ends.
    fn stop_on_damage(&mut self, host: &mut Host, said: &str) {
        if !said.contains("cannot be read") {
            return self.world.violate(format!("member {}: an assertion failed: {said}", host.id));
        }
        self.world.counts.add("damaged entries met while running");
        self.mark(host.id, "meets a damaged entry", [0, 0, 0]);
        self.crash(host, false);
    }

    /// Returns whether the process died here.
    pub(crate) fn crash_point(&mut self, host: &mut Host) -> bool {
        let Some((left, power)) = host.crash_in else { return false };
        if left > 0 {
            host.crash_in = Some((left - 1, power));
            return false;
        }
        self.world.counts.add("crashes between two effects");
        self.crash(host, power);
        true
    }

    fn perform(&mut self, host: &mut Host, effect: Effect) {
        match effect {
            Effect::Send(message) => match message.snapshot() {
                Some(meta) => self.send_snapshot(host, &message, &meta),
                None => {
                    let mut bytes = encode(&message);
                    if self.options.bug == Some(Bug::ReuseContext)
                        && let Some(process) = &mut host.process
                    {
                        bytes = process.contexts.outgoing(bytes);
                    }
                    self.post(host, message.to(), Packet::Raft(bytes));
                }
            },
            Effect::Forward { to, sequence, term, proposals } => {
                if self.options.bug == Some(Bug::ForwardTwice)
                    && host.chance.percent(20)
                    && let Some(process) = &mut host.process
                {
                    process.events.extend(proposals.iter().cloned().map(Event::Propose));
                }
                let boot = host.boot;
                self.post(host, to, Packet::Forward { boot, sequence, term, proposals });
            }
            Effect::Refuse { to, proposals } => self.post(host, to, Packet::Refuse { proposals }),
            Effect::Persist { number, hard_state, entries, snapshot } => {
                self.note(host.id, "persists {} with {} entries", [number, entries.len() as u64, 0]);
                match snapshot {
                    Some(meta) => self.install(host, number, meta, hard_state, &entries),
                    None => self.persist(host, Job { number, hard_state, entries }),
                }
            }
            Effect::Apply(entries) => self.apply(host, entries),
            Effect::ApplyChange { entry, payload } => self.apply_change(host, &entry, payload),
            Effect::ReadReady { token, index, term, leads } => {
                self.confirm_reads(host, token, index, leads.then_some(term));
            }
            Effect::Overloaded(id) => self.world.violate(format!("{id:?} refused, the queue is far from full")),
            Effect::ReadLog(range) => self.read_log_for_follower(host, range),
            Effect::CutLog { below, wanted_from } => self.cut_log(host, below, wanted_from),
            Effect::BuildSnapshot => {
                let at = self.now + host.chance.between(5_000, 200_000);
                self.at(at, What::SnapshotBuilt { id: host.id, boot: host.boot });
            }
            Effect::Flush => self.flush(host),
            Effect::End(loss) => self.end_on_loss(host, &loss),
        }
    }

    /// The entries are read at some moment before they arrive: now, or then.
    fn read_log_for_follower(&mut self, host: &mut Host, range: LogRange) {
        self.world.counts.add("old entries read for followers");
        let read = host.chance.percent(50).then(|| read_log(host, range));
        let at = self.now + host.chance.between(100, 30_000);
        self.at(at, What::LogRead { id: host.id, boot: host.boot, range, read });
    }

    fn send_snapshot(&mut self, host: &mut Host, message: &Message, meta: &SnapshotMeta) {
        let to = message.to();
        let built = host.process.as_ref().and_then(|process| process.built.clone());
        match built.filter(|(built, _)| built.index == meta.index) {
            Some((meta, rows)) => {
                let packet = Packet::Snapshot { boot: host.boot, message: encode(message), meta, rows: Box::new(rows) };
                self.post(host, to, packet);
            }
            None => {
                self.at(self.now + 1_000, What::SnapshotSent { id: host.id, boot: host.boot, to, installed: false })
            }
        }
    }
}

/// What the log gives back for a follower.
pub(crate) fn read_log(host: &Host, range: LogRange) -> Result<Vec<Entry>, LogReadError> {
    host.log.entries(range.low, range.high, range.bytes_max)
}

fn encode(message: &Message) -> Bytes {
    let mut data = BytesMut::new();
    message.encode(&mut data);
    data.freeze()
}
