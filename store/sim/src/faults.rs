//! What goes wrong: performs the faults of the plan, each with chances of its own, and heals everything in the end.

use quorate_core::log::MemberId;
use quorate_core::node::Event;

use crate::chance::Chance;
use crate::cluster::{Cluster, TICK_MICROS, What};
use crate::host::Host;
use crate::log::Tear;
use crate::loss::LastGroupDamage;
use crate::network::Weather;
use crate::options::Bug;
use crate::plan::{Fault, Kind};

/// A pause beyond this outlasts every election timeout.
const LONG_PAUSE_MICROS: u64 = 2_000_000;
/// Segments of the log that are made before they are needed.
const SPARE_SEGMENTS: u8 = 2;
/// The slowest clock, in percent of the time between two ticks of a right one.
const SLOWEST_PERCENT: u64 = 115;
/// Of crashes, how many damage the last group of the log.
const LAST_GROUP_PERCENT: u64 = 15;
/// Of damage, how much strikes the leader, if there is one.
const LEADER_DAMAGED_PERCENT: u64 = 50;
/// Ticks of a clock that jumps.
const JUMP_TICKS_MAX: u64 = 25;

impl Cluster {
    fn ids(&self) -> Vec<MemberId> {
        self.hosts.iter().filter(|(_, host)| !host.removed).map(|(id, _)| *id).collect()
    }

    /// One fault of the plan.
    pub(crate) fn fault(&mut self, fault: Fault) {
        if !self.faults {
            return;
        }
        let mut chance = Chance::new(fault.seed);
        let ids = self.ids();
        if ids.is_empty() {
            return;
        }
        let leader = self.leader().map(|leader| leader.id);
        let followers: Vec<MemberId> = ids.iter().copied().filter(|id| Some(*id) != leader).collect();
        let id = match leader {
            Some(leader) if fault.kind.is_for_leader() => leader,
            Some(_) if fault.kind.is_for_follower() && !followers.is_empty() => chance.pick(&followers),
            _ => chance.pick(&ids),
        };
        self.mark(id, fault.kind.line(), [u64::from(fault.number), 0, 0]);
        match fault.kind {
            Kind::Crash => self.crash_one(id, &mut chance),
            Kind::Partition => self.partition(&ids, id, &mut chance),
            Kind::StrandLeader => self.strand(&ids, id, &mut chance),
            Kind::OneWay => self.one_way(&ids, id, &mut chance),
            Kind::Storm => self.storm(&mut chance),
            Kind::HandOver => self.hand_over(id),
            Kind::FullDisk => self.fill_disk(id, &mut chance),
            Kind::Damage => self.damage(id, &mut chance),
            Kind::Rot => self.rot(id, &mut chance),
            Kind::Diverge => self.diverge(id, &mut chance),
            Kind::ClockJump => self.jump(id, chance.between(2, JUMP_TICKS_MAX)),
            kind => self.afflict(id, kind, &mut chance),
        }
        self.keep_backup(id);
    }

    /// Faults that only change what a machine does later.
    fn afflict(&mut self, id: MemberId, kind: Kind, chance: &mut Chance) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return };
        match kind {
            Kind::CrashSoon => host.crash_in = Some((chance.between(0, 40), chance.percent(80))),
            Kind::CrashAfterSync => host.dies_after_sync = Some(chance.next()),
            Kind::Pause => {
                let longest = if chance.percent(30) { 5_000_000 } else { 2_000_000 };
                let micros = chance.between(100_000, longest);
                host.paused_until = now + micros;
                self.world.counts.add("pauses");
                if micros > LONG_PAUSE_MICROS {
                    self.world.counts.add("pauses longer than an election");
                }
            }
            Kind::SlowDisk => {
                host.fsync_micros = chance.pick(&[1_000, 20_000, 100_000, 300_000]);
                if host.fsync_micros > 1_000 {
                    self.world.counts.add("slow disks");
                }
            }
            Kind::SlowLeader => {
                host.fsync_micros = chance.pick(&[100_000, 300_000]);
                self.world.counts.add("slow disks");
            }
            Kind::CutInSync => host.cut_in_sync = true,
            Kind::FailSync => host.sync_fails = true,
            Kind::TearSegment => {
                host.log.lock().arm_tear(chance.pick(&[Tear::BeforeName, Tear::BeforeDirectorySync]));
            }
            Kind::ClockRate => {
                host.tick_micros = TICK_MICROS * chance.between(85, SLOWEST_PERCENT + 1) / 100;
                self.world.counts.add("clocks that change their rate");
            }
            other => unreachable!("{other:?} is not of this kind"),
        }
    }

    fn keep_backup(&mut self, id: MemberId) {
        if self.options.bug == Some(Bug::StaleDisk)
            && let Some(host) = self.hosts.get_mut(&id)
            && host.backup.is_none()
        {
            host.back_up();
        }
    }

    fn crash_one(&mut self, id: MemberId, chance: &mut Chance) {
        let power = chance.percent(80);
        let last_group = chance.percent(LAST_GROUP_PERCENT).then(|| chance.next());
        let Some(mut host) = self.hosts.remove(&id) else { return };
        host.last_group_fails = host.last_group_fails.or(last_group);
        self.crash(&mut host, power);
        self.hosts.insert(id, host);
    }

    /// Several ticks come at once, as from a timer that was held up.
    fn jump(&mut self, id: MemberId, ticks: u64) {
        for _ in 0..ticks {
            self.tell_member(id, Event::Tick);
        }
        self.world.counts.add("clocks that jump");
    }

    /// Bits of the log or of a row turn over; it is found when they are read again.
    fn damage(&mut self, id: MemberId, chance: &mut Chance) {
        let leader = self.leader().map(|leader| leader.id);
        // A leader reads old entries while it runs, for others.
        let id = leader.filter(|_| chance.percent(LEADER_DAMAGED_PERCENT)).unwrap_or(id);
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.broken.is_none()) else { return };
        if matches!(host.last_group, LastGroupDamage::Unproven(_)) {
            // More damage could show what must not be known here: that the group was synced.
            return;
        }
        if chance.percent(30) {
            if host.log.lock().flip(chance) {
                self.world.counts.add("bits flipped in a log");
            }
        } else if chance.percent(30) {
            if host.log.lock().misdirect(chance) {
                self.world.counts.add("reads of a log misdirected");
            }
        } else {
            if host.damage_row(chance) {
                self.world.counts.add("rows damaged");
            }
            if chance.percent(50) {
                host.last_group_fails = Some(chance.next());
            }
        }
    }

    /// Two segments of the log are preallocated; then it cannot grow, and the database cannot be flushed.
    fn fill_disk(&mut self, id: MemberId, chance: &mut Chance) {
        let at = self.now + chance.between(500_000, 6_000_000);
        let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.log.lock().is_full()) else { return };
        host.log.lock().fill(SPARE_SEGMENTS);
        self.world.counts.add("full disks");
        self.tell_member(id, Event::DiskFull);
        self.at(at, What::DiskBack { id });
    }

    /// There is room again: what was held up goes on.
    pub(crate) fn disk_back(&mut self, host: &mut Host) {
        if self.make_room(host) {
            self.begin_sync(host);
            self.turn(host);
        }
    }

    /// False when there was room.
    pub(crate) fn make_room(&mut self, host: &mut Host) -> bool {
        if !host.log.lock().make_room() {
            return false;
        }
        self.mark(host.id, "has room on its disk again", [0, 0, 0]);
        self.begin_flush(host);
        if let Some(process) = &mut host.process {
            process.events.push(Event::DiskBack);
        }
        true
    }

    fn heal_later(&mut self, number: u64, chance: &mut Chance) {
        let at = self.now + chance.between(200_000, 5_000_000);
        self.at(at, What::Heal { number });
    }

    /// Cuts a random side off, both ways.
    fn partition(&mut self, ids: &[MemberId], with: MemberId, chance: &mut Chance) {
        let mut side = vec![with];
        for id in ids {
            if *id != with && chance.percent(25) {
                side.push(*id);
            }
        }
        self.blocked.clear();
        for from in ids {
            for to in ids {
                if side.contains(from) != side.contains(to) {
                    self.blocked.insert((*from, *to));
                }
            }
        }
        self.begin_cut("symmetric partitions", with, chance);
    }

    /// Cuts this member off from all others, and slows its clock down.
    fn strand(&mut self, ids: &[MemberId], alone: MemberId, chance: &mut Chance) {
        self.blocked = ids.iter().filter(|id| **id != alone).flat_map(|id| [(alone, *id), (*id, alone)]).collect();
        if let Some(host) = self.hosts.get_mut(&alone) {
            host.tick_micros = TICK_MICROS * SLOWEST_PERCENT / 100;
        }
        self.begin_cut("leaders cut off alone", alone, chance);
    }

    /// What this member sends is lost, or what is sent to it, or only between two.
    fn one_way(&mut self, ids: &[MemberId], with: MemberId, chance: &mut Chance) {
        self.blocked.clear();
        let kind = chance.between(0, 3);
        let other = chance.pick(ids);
        for id in ids.iter().filter(|id| **id != with) {
            match kind {
                0 => self.blocked.insert((with, *id)),
                1 => self.blocked.insert((*id, with)),
                _ => *id == other && self.blocked.insert((with, *id)),
            };
        }
        self.begin_cut("one-way partitions", with, chance);
    }

    fn begin_cut(&mut self, name: &'static str, with: MemberId, chance: &mut Chance) {
        if self.blocked.is_empty() {
            return;
        }
        self.world.counts.add(name);
        self.mark(with, "is cut off ({} directions)", [self.blocked.len() as u64, 0, 0]);
        self.cut_number += 1;
        self.heal_later(2 * self.cut_number, chance);
    }

    fn storm(&mut self, chance: &mut Chance) {
        self.weather = Weather {
            loss_percent: chance.pick(&[0, 5, 30]),
            duplicate_percent: chance.pick(&[0, 10, 40]),
            delay_micros: chance.pick(&[0, 20_000, 400_000]),
        };
        self.weather_number += 1;
        self.heal_later(2 * self.weather_number + 1, chance);
    }

    /// Even numbers are cuts, odd ones weather; a later fault of the kind has taken the earlier one's place.
    pub(crate) fn heal(&mut self, number: u64) {
        if number == 2 * self.cut_number {
            self.blocked.clear();
        } else if number == 2 * self.weather_number + 1 {
            self.weather = Weather::default();
        }
    }

    pub(crate) fn hand_over(&mut self, to: MemberId) {
        let Some(leader) = self.leader().map(|leader| leader.id).filter(|leader| *leader != to) else { return };
        self.world.counts.add("leaderships handed over");
        self.tell_member(leader, Event::Transfer { to });
    }

    pub(crate) fn tell_member(&mut self, id: MemberId, event: Event) {
        let Some(mut host) = self.hosts.remove(&id) else { return };
        if host.paused_until <= self.now {
            self.tell(&mut host, event);
        }
        self.hosts.insert(id, host);
    }

    /// Everything heals; who is down starts within a moment.
    pub(crate) fn calm(&mut self) {
        self.faults = false;
        self.blocked.clear();
        self.weather = Weather::default();
        let mut down = Vec::new();
        for (id, host) in &mut self.hosts {
            (host.crash_in, host.paused_until, host.fsync_micros) = (None, 0, 1_000);
            (host.sync_fails, host.cut_in_sync, host.dies_after_sync) = (false, false, None);
            (host.last_group_fails, host.last_group, host.diverges) = (None, LastGroupDamage::None, false);
            host.log.lock().repair();
            host.repair_rows();
            if host.broken.take().is_some() && !host.removed {
                self.world.counts.add("damaged disks repaired");
            }
            if host.process.is_none() {
                down.push(*id);
            }
        }
        self.mark(0, "the faults end, {} members are down", [down.len() as u64, 0, 0]);
        for id in down {
            self.at(self.now + 1_000, What::Start { id });
        }
        for id in self.ids() {
            self.at(self.now, What::DiskBack { id });
        }
    }

    /// Who applies nothing and was not rebuilt by now is repaired by hand: of two voters one may have committed that the other leaves,
    /// and raft lets nobody campaign before such a change is applied.
    pub(crate) fn repair_halted(&mut self) {
        for id in self.ids() {
            self.with(id, |cluster, host| {
                if host.process.as_ref().is_some_and(|process| process.halted) && !host.removed {
                    cluster.world.counts.add("damaged disks repaired");
                    cluster.crash(host, false);
                }
            });
        }
    }
}
