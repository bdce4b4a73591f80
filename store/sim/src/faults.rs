//! What goes wrong, and the operator who grows and shrinks the cluster meanwhile.

use quorate_core::command::CommandId;
use quorate_core::log::MemberId;
use quorate_core::membership::{Change, Member, Proposed};
use quorate_core::node::{Event, Payload, Proposal};

use crate::cluster::{Cluster, What};
use crate::host::member;
use crate::network::Weather;
use crate::options::Bug;

/// Entries that a learner may lack when it is promoted.
const PROMOTE_LAG_MAX: u64 = 30;

impl Cluster {
    fn ids(&self) -> Vec<MemberId> {
        self.hosts.iter().filter(|(_, host)| !host.removed).map(|(id, _)| *id).collect()
    }

    /// One fault, and the time of the next.
    pub(crate) fn fault(&mut self) {
        if !self.faults {
            return;
        }
        let at = self.now + self.chance.between(50_000, 900_000);
        self.at(at, What::Fault);
        let ids = self.ids();
        if ids.is_empty() {
            return;
        }
        let id = self.chance.pick(&ids);
        match self.chance.between(0, 12) {
            0 | 1 => self.crash_one(id),
            2 | 3 => self.arm_crash(id),
            4 | 5 => self.partition(&ids, id),
            6 => self.one_way(&ids, id),
            7 => {
                let until = self.now + self.chance.between(100_000, 3_000_000);
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.paused_until = until;
                }
                self.world.counts.add("pauses");
                self.note(id, "is paused until {} us", [until, 0, 0]);
            }
            8 => {
                let micros = self.chance.pick(&[1_000, 20_000, 100_000, 300_000]);
                if micros > 1_000 {
                    self.world.counts.add("slow disks");
                }
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.fsync_micros = micros;
                }
            }
            9 | 10 => self.storm(),
            _ => self.hand_over(id),
        }
        if self.options.bug == Some(Bug::StaleDisk)
            && let Some(host) = self.hosts.get_mut(&id)
            && host.backup.is_none()
        {
            host.back_up();
        }
    }

    fn crash_one(&mut self, id: MemberId) {
        let power = self.chance.percent(80);
        let Some(mut host) = self.hosts.remove(&id) else { return };
        self.crash(&mut host, power);
        self.hosts.insert(id, host);
    }

    fn arm_crash(&mut self, id: MemberId) {
        let armed = (self.chance.between(0, 40), self.chance.percent(80));
        if let Some(host) = self.hosts.get_mut(&id) {
            host.crash_in = Some(armed);
        }
    }

    fn heal_later(&mut self, number: u64) {
        let at = self.now + self.chance.between(200_000, 5_000_000);
        self.at(at, What::Heal { number });
    }

    /// Cuts a random side off, both ways.
    fn partition(&mut self, ids: &[MemberId], with: MemberId) {
        let mut side = vec![with];
        for id in ids {
            if *id != with && self.chance.percent(25) {
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
        self.begin_cut("symmetric partitions", with);
    }

    /// What this member sends is lost, or what is sent to it, or only between two.
    fn one_way(&mut self, ids: &[MemberId], with: MemberId) {
        self.blocked.clear();
        let kind = self.chance.between(0, 3);
        let other = self.chance.pick(ids);
        for id in ids.iter().filter(|id| **id != with) {
            match kind {
                0 => self.blocked.insert((with, *id)),
                1 => self.blocked.insert((*id, with)),
                _ => *id == other && self.blocked.insert((with, *id)),
            };
        }
        self.begin_cut("one-way partitions", with);
    }

    fn begin_cut(&mut self, name: &'static str, with: MemberId) {
        if self.blocked.is_empty() {
            return;
        }
        self.world.counts.add(name);
        self.note(with, "is cut off ({} directions)", [self.blocked.len() as u64, 0, 0]);
        self.cut_number += 1;
        self.heal_later(2 * self.cut_number);
    }

    fn storm(&mut self) {
        self.weather = Weather {
            loss_percent: self.chance.pick(&[0, 5, 30]),
            duplicate_percent: self.chance.pick(&[0, 10, 40]),
            delay_micros: self.chance.pick(&[0, 20_000, 400_000]),
        };
        self.weather_number += 1;
        self.heal_later(2 * self.weather_number + 1);
    }

    /// Even numbers are cuts, odd ones weather; a later fault of the kind has taken the earlier one's place.
    pub(crate) fn heal(&mut self, number: u64) {
        if number == 2 * self.cut_number {
            self.blocked.clear();
        } else if number == 2 * self.weather_number + 1 {
            self.weather = Weather::default();
        }
    }

    fn hand_over(&mut self, to: MemberId) {
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
            if host.process.is_none() {
                down.push(*id);
            }
        }
        self.note(0, "the faults end, {} members are down", [down.len() as u64, 0, 0]);
        for id in down {
            self.at(self.now + 1_000, What::Start { id });
        }
    }

    /// The operator's next step towards the wanted number of voters.
    pub(crate) fn administer(&mut self) {
        if !self.faults {
            return;
        }
        let at = self.now + self.chance.between(300_000, 2_500_000);
        self.at(at, What::Administer);
        if self.chance.percent(8) {
            self.wanted = self.chance.between(1, self.options.members + 1);
        }
        let Some((leader, change)) = self.next_change() else { return };
        if let Change::AddLearner(_) = change {
            self.next_id += 1;
        }
        let Some(process) = self.hosts.get_mut(&leader).and_then(|host| host.process.as_mut()) else { return };
        process.next_counter += 1;
        let id = CommandId { member: leader, boot: process.boot, counter: process.next_counter };
        let proposed = Proposed { id, change, expected_index: None, learners_max: 1 };
        let proposal = Proposal { id, payload: Payload::Change(proposed) };
        self.tell_member(leader, Event::Propose(proposal));
    }

    fn next_change(&mut self) -> Option<(MemberId, Change)> {
        let leader = self.leader()?;
        let process = leader.process.as_ref()?;
        let (id, membership) = (leader.id, process.machine.membership());
        let voters: Vec<MemberId> = membership.members().filter(|m| !m.learner).map(|m| m.id).collect();
        let learner = membership.members().find(|m| m.learner).map(|m| m.id);
        if let Some(learner) = learner {
            let progress = process.node.progress().into_iter().find(|progress| progress.id == learner);
            let caught_up = progress.is_some_and(|progress| {
                progress.recently_active && progress.match_index + PROMOTE_LAG_MAX >= process.node.last_index()
            });
            if caught_up {
                return Some((id, Change::Promote(learner)));
            }
            return self.chance.percent(5).then_some((id, Change::Remove(learner)));
        }
        match voters.len() as u64 {
            count if count < self.wanted => {
                Some((id, Change::AddLearner(Member { learner: true, ..member(self.next_id) })))
            }
            count if count > self.wanted => Some((id, Change::Remove(self.chance.pick(&voters)))),
            _ => None,
        }
    }
}
