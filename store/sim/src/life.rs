//! A member's life: it starts on what its disk holds, and dies.

use quorate_core::log::Entry;
use quorate_core::memory::DAMAGE;
use quorate_core::node::Event;

use crate::cluster::{Cluster, What};
use crate::disk::Loss;
use crate::host::{Host, open_machine};
use crate::loss::LastGroupDamage;
use crate::options::Bug;

impl Cluster {
    pub(crate) fn start(&mut self, host: &mut Host) {
        if host.process.is_some() || host.removed || host.broken.is_some() {
            return;
        }
        host.log.lock().trust_cache = self.options.bug == Some(Bug::TrustCache);
        host.log.lock().drop_synced = self.options.bug == Some(Bug::DropSynced);
        let damage = std::mem::take(&mut host.last_group);
        match host.open(self.seed, self.now, self.options.flush) {
            Ok(found) => {
                self.started_on(host, damage);
                if found.torn {
                    self.world.counts.add("torn log tails dropped");
                }
                self.mark(
                    host.id,
                    "starts as boot {} (torn tail {}, installation completed {})",
                    [host.boot, u64::from(found.torn), u64::from(found.completed)],
                );
            }
            Err(error) if error.contains(DAMAGE) => return self.fail(host, &error),
            Err(error) if host.log.lock().is_damaged() => {
                self.refused_on(host, damage, &error);
                return self.refuse(host, error);
            }
            Err(error) => return self.world.violate(format!("member {} does not start: {error}", host.id)),
        }
        if host.log.lock().is_full()
            && let Some(process) = &mut host.process
        {
            process.events.push(Event::DiskFull);
        }
        self.turn(host);
        let at = self.now + host.chance.between(1, host.tick_micros);
        self.at(at, What::Tick { id: host.id, boot: host.boot });
    }

    /// The process cannot go on, which only a damaged row may cause; it stays down until it is replaced or repaired.
    pub(crate) fn fail(&mut self, host: &mut Host, why: &str) {
        let damaged = host.database.is_damaged() || host.process.as_ref().is_some_and(|p| p.live.is_damaged());
        if !damaged || !why.contains(DAMAGE) {
            return self.world.violate(format!("member {} {why}", host.id));
        }
        self.world.counts.add("damaged rows met");
        self.mark(host.id, "meets a damaged row", [0, 0, 0]);
        self.crash(host, false);
        host.broken = Some(why.to_owned());
    }

    /// Committed entries meet a damaged row. The member goes on without applying until it is rebuilt; or it is given up, as it is when
    /// there is nobody to rebuild it from.
    pub(crate) fn halt(&mut self, host: &mut Host, why: &str, entries: Vec<Entry>) {
        let Some(process) = host.process.as_mut() else { return };
        let alone = process.machine.membership().voters() < 2;
        if !process.live.is_damaged() || !why.contains(DAMAGE) || alone || host.chance.percent(20) {
            return self.fail(host, why);
        }
        match open_machine(&process.live) {
            Ok(machine) => process.machine = machine,
            Err(error) => return self.fail(host, &error.to_string()),
        }
        process.halted = true;
        process.events.push(Event::CannotApply { entries });
        self.world.counts.add("damaged rows met");
        self.mark(host.id, "meets a damaged row and applies nothing more", [0, 0, 0]);
        self.report_damage(host, why);
    }

    /// A damaged disk was found out: the member stays down until it is replaced or repaired.
    fn refuse(&mut self, host: &mut Host, error: String) {
        if !error.contains("rebuild this member") {
            self.world
                .violate(format!("member {} refuses its damaged disk without naming the remedy: {error}", host.id));
        }
        self.world.counts.add("damaged logs refused");
        self.mark(host.id, "does not start on its damaged disk", [0, 0, 0]);
        host.broken = Some(error);
    }

    /// The process dies; with `power` unsynced writes are lost, torn or kept in any order.
    pub(crate) fn crash(&mut self, host: &mut Host, power: bool) {
        let Some(process) = host.process.take() else { return };
        host.crash_in = None;
        host.paused_until = 0;
        if !host.removed {
            self.world.counts.add(if power { "power cuts" } else { "processes killed" });
        }
        if !process.unflushed.is_empty() {
            self.world.counts.add("unflushed state lost");
        }
        if host.log.lock().crash(power) == Loss::Some {
            self.world.counts.add("unsynced log writes lost");
        }
        if self.options.bug == Some(Bug::StaleDisk) {
            host.restore();
        }
        if self.options.bug == Some(Bug::EmptyDisk) && host.chance.percent(20) {
            host.wipe(self.seed, process.machine.membership().clone());
        }
        self.damage_last_group(host);
        self.drop_lines(host.id, process.lines, power);
        self.mark(host.id, "dies (power {})", [u64::from(power), 0, 0]);
        // Who dropped a group is found out by the leader that heard of it: it starts while that one may still lead.
        let longest = if matches!(host.last_group, LastGroupDamage::Unproven(_)) { 300_000 } else { 3_000_000 };
        let pause = if self.faults { host.chance.between(20_000, longest) } else { 100_000 };
        self.at(self.now + pause, What::Start { id: host.id });
    }
}
