//! Members whose last group is damaged while they are down: the one part of a log in which damage may look like a torn write.
//!
//! What is proven to have been synced must be refused. Of what is not, no member can tell whether it had acknowledged it, and it drops
//! the group: raft's promise is broken, and another fault could lose what was committed. So that is injected only where the disks of
//! all others hold the group's entries, the group holds nothing else, and this member is not the only voter: then nobody without them can
//! be elected, whatever this member says. Its leader tells it (`core/replica/loss.rs`), or the next one gives it what it lacks.

use quorate_core::log::{Index, MemberId, Term};
use quorate_core::replica::Loss;

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::host::{Host, open_machine};
use crate::log::LastGroup;

/// What has to come of the damage when the member starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastGroupDamage {
    #[default]
    None,
    /// The member must not start.
    Proven,
    /// The member drops the group, which reached up to this entry.
    Unproven(Index),
}

impl Cluster {
    /// The member died, and its last group may be damaged from now on.
    pub(crate) fn damage_last_group(&mut self, host: &mut Host) {
        let Some(seed) = host.last_group_fails.take() else { return };
        let Some((group, damage)) = self.last_group_of(host) else { return };
        host.last_group = damage;
        host.log.lock().damage_last_group(&group, &mut Chance::new(seed));
        self.world.counts.add("last groups of logs damaged");
        let (reaches, proven) = (group.entries.last().map_or(0, |(index, _)| *index), u64::from(group.is_proven));
        self.mark(host.id, "has a damaged last group up to {} (proven {})", [reaches, proven, 0]);
    }

    /// The last group that a member has synced, and what has to come of damage to it; `None` when it must not be damaged.
    fn last_group_of(&self, host: &Host) -> Option<(LastGroup, LastGroupDamage)> {
        let durable = open_machine(&host.database).ok()?;
        let group = host.log.lock().last_group_on_disk(durable.applied().index)?;
        let needs_others = durable.membership().voters() > 1 && !durable.membership().is_joint();
        let damage = match group.entries.last() {
            _ if group.is_proven => LastGroupDamage::Proven,
            Some((index, _)) if needs_others && group.only_appends && self.is_held_by_all(&group.entries) => {
                LastGroupDamage::Unproven(*index)
            }
            _ => return None,
        };
        Some((group, damage))
    }

    /// A member that synced a group a moment ago dies, if nothing shows that it did and the others hold what is in it; else it does so
    /// after another sync.
    pub(crate) fn die_after_sync(&mut self, host: &mut Host, seed: u64) {
        if !self.faults {
            return;
        }
        match self.last_group_of(host) {
            Some((_, LastGroupDamage::Unproven(_))) => {
                host.last_group_fails = Some(seed);
                let power = host.chance.percent(50);
                self.crash(host, power);
            }
            _ => host.dies_after_sync = Some(seed),
        }
    }

    /// Whether the disks of all other machines hold these entries.
    fn is_held_by_all(&self, entries: &[(Index, Term)]) -> bool {
        let mut others = self.hosts.values().filter(|host| !host.removed);
        let holds = |host: &Host| {
            let log = host.log.lock();
            let index = log.index();
            let has = |(at, term): &(Index, Term)| *at < index.first() || index.term(*at) == Some(*term);
            host.broken.is_none() && !log.is_damaged() && entries.iter().all(has)
        };
        others.all(holds)
    }

    /// The member started on a log with such damage.
    pub(crate) fn started_on(&mut self, host: &mut Host, damage: LastGroupDamage) {
        match damage {
            LastGroupDamage::None => {}
            LastGroupDamage::Proven => self.world.violate(format!(
                "member {} starts although the last group of its log, which it had synced, is damaged",
                host.id
            )),
            LastGroupDamage::Unproven(index) => {
                self.world.counts.add("damaged last groups taken for torn");
                host.dropped = index;
            }
        }
    }

    /// The member does not start on a log with such damage.
    pub(crate) fn refused_on(&mut self, host: &Host, damage: LastGroupDamage, error: &str) {
        match damage {
            LastGroupDamage::None => {}
            LastGroupDamage::Proven => self.world.counts.add("damaged last groups refused"),
            LastGroupDamage::Unproven(_) => self
                .world
                .violate(format!("member {} refuses a last group that it may never have synced: {error}", host.id)),
        }
    }

    /// The leader has the member's word for what is not in its log. It is replaced as one with a damaged disk; when nobody does that
    /// any more, another leadership gives it what it lacks.
    pub(crate) fn end_on_loss(&mut self, host: &mut Host, loss: &Loss) {
        if loss.last >= host.dropped {
            return self.world.violate(format!("member {} ends: {loss}", host.id));
        }
        self.world.counts.add("dropped groups found by a leader");
        self.mark(host.id, "lacks what it acknowledged up to {}, and ends", [loss.acknowledged, 0, 0]);
        self.crash(host, false);
        if self.faults {
            host.broken = Some(loss.to_string());
        } else {
            self.end_leadership(loss.leader);
        }
    }

    fn end_leadership(&mut self, id: MemberId) {
        self.with(id, |cluster, leader| cluster.crash(leader, false));
    }
}
