//! Damage that no checksum of a block shows: a row that changes behind its member's back, and an entry that is applied as something else.
//!
//! What is known of it beside the members is a row of its own: it stands wherever the wrong state goes, in what is flushed, in snapshots
//! and in copies, and is gone when another state is installed. What such a member says is judged from the moment on that it is known
//! to be wrong: then it must say nothing. In the end nobody's data may be wrong without being known to be.

use bytes::Bytes;
use prost::Message as _;
use quorate_api::mvccpb::KeyValue;
use quorate_core::backend::{Family, View as _, WriteBatch};
use quorate_core::command::{self, BatchBuilder, Request};
use quorate_core::integrity::NOBODY;
use quorate_core::log::{Entry, EntryKind, MemberId};
use quorate_core::memory::Memory;
use quorate_core::mvcc::{APPLIED_KEY, Revision, ScrubLimits, scrub};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::host::{Host, Process};
use crate::integrity::SCRUB;

/// The row that tells; nothing else uses its family yet.
const MARK: (Family, &[u8]) = (Family::Auth, b"wrong");
/// Where rows change, each as often as it stands here.
const FAMILIES: [Family; 3] = [Family::Values, Family::Values, Family::Keys];
/// Byte of a row of `keys` that counts the versions of its key.
const VERSION_BYTE: usize = 28;
/// Tries to find a row that may change.
const TRIES_MAX: usize = 4;

/// Whether these rows are not what their log made of them.
pub fn is_wrong(rows: &Memory) -> bool {
    rows.rows(MARK.0).any(|(key, _)| key == MARK.1)
}

pub fn mark(batch: &mut WriteBatch) {
    batch.put(MARK.0, Bytes::from_static(MARK.1), Bytes::from_static(&[1]));
}

/// Gives the first put of an entry another value; false when it has none.
pub fn change_put(entry: &mut Entry) -> bool {
    if entry.kind != EntryKind::Normal {
        return false;
    }
    let Ok(mut commands) = command::decode(entry.data.clone()) else { return false };
    let put = commands.iter_mut().find_map(|command| match &mut command.request {
        Request::Put(put) if !put.value.is_empty() => Some(put),
        _ => None,
    });
    let Some(put) = put else { return false };
    put.value = changed(&put.value);
    let mut batch = BatchBuilder::default();
    commands.iter().for_each(|command| batch.push(command));
    entry.data = batch.finish();
    true
}

/// As long, and another one.
fn changed(value: &[u8]) -> Bytes {
    let mut value = value.to_vec();
    if let Some(last) = value.last_mut() {
        *last ^= 1;
    }
    value.into()
}

fn changed_row(family: Family, row: &Bytes) -> Option<Bytes> {
    if family == Family::Keys {
        let mut row = row.to_vec();
        let version = row.get_mut(VERSION_BYTE)?;
        *version = version.wrapping_add(1).max(1);
        return Some(row.into());
    }
    let kv = KeyValue::decode(row.clone()).ok().filter(|kv| !kv.value.is_empty())?;
    Some(KeyValue { value: changed(&kv.value), ..kv }.encode_to_vec().into())
}

/// Whether a scrub of all rows meets damage.
fn is_findable(rows: &Memory) -> bool {
    scrub(rows, Revision::default(), ScrubLimits { versions: usize::MAX, bytes: usize::MAX }).is_err()
}

impl Host {
    /// What the state machine would start with.
    fn rows(&self) -> &Memory {
        self.process.as_deref().map_or(&self.database, |process| &process.live)
    }

    /// Changes a row that is flushed and in use; false when none was found.
    fn change_row(&mut self, chance: &mut Chance) -> bool {
        (0..TRIES_MAX).any(|_| {
            let family = chance.pick(&FAMILIES);
            let rows: Vec<(&Bytes, &Bytes)> =
                self.database.rows(family).filter(|(key, _)| *key != APPLIED_KEY).collect();
            if rows.is_empty() || self.rows().is_damaged() {
                return false;
            }
            let (key, row) = chance.pick(&rows);
            let in_use = self.rows().get(family, key).is_ok_and(|found| found.as_ref() == Some(row));
            let Some(other) = changed_row(family, row).filter(|_| in_use) else { return false };
            let mut batch = WriteBatch::default();
            batch.put(family, key.clone(), other);
            mark(&mut batch);
            self.database.write(&batch);
            if let Some(process) = &mut self.process {
                process.live.write(&batch);
            }
            true
        })
    }
}

impl Cluster {
    /// Whether wrong data of this member can be told from right ones: a majority has those, and will say so.
    fn may_be_wrong(&self, id: MemberId, voters_min: usize) -> bool {
        let Some(leader) = self.leader().and_then(|host| host.process.as_ref()) else { return false };
        let membership = leader.machine.membership();
        let all_right =
            self.hosts.values().filter(|host| !host.removed).all(|host| {
                host.broken.is_none() && !is_wrong(host.rows()) && !is_wrong(&host.database) && !host.diverges
            });
        membership.voters() >= voters_min && !membership.is_joint() && membership.get(id).is_some() && all_right
    }

    /// A row changes on the disk of a member whose rows are reread.
    pub(crate) fn rot(&mut self, id: MemberId, chance: &mut Chance) {
        if chance.percent(50) || !self.scrubs || !self.may_be_wrong(id, 2) {
            return;
        }
        if self.hosts.get_mut(&id).is_some_and(|host| host.change_row(chance)) {
            self.world.counts.add("rows changed behind their member's back");
        }
    }

    /// The next put that the member applies has another value for it alone.
    pub(crate) fn diverge(&mut self, id: MemberId, chance: &mut Chance) {
        if chance.percent(50)
            && self.may_be_wrong(id, 3)
            && let Some(host) = self.hosts.get_mut(&id)
        {
            host.diverges = true;
        }
    }

    /// Keeps who is wrong, for the judge of alarms; gives the run up when nothing is promised any more.
    pub(crate) fn see_truth(&mut self, host: &Host) {
        let Some(process) = host.process.as_deref() else { return };
        if is_wrong(&process.live) || process.live.is_damaged() || process.integrity.damaged {
            self.world.wrong_at(host.id);
            if self.is_beyond_rescue(host, process) {
                self.mark(host.id, "and too many others are wrong: the run is given up", [0, 0, 0]);
                self.world.give_up();
            }
        }
    }

    /// More than half of the voters have wrong data, because a snapshot of a member whose damage was not known yet spread it; or the data
    /// of all are known to be wrong, and nobody has others.
    fn is_beyond_rescue(&self, host: &Host, process: &Process) -> bool {
        let membership = process.machine.membership();
        let voters: Vec<MemberId> = membership.voter_ids().collect();
        let rows = |id| match id {
            id if id == host.id => Some(&process.live),
            id => self.hosts.get(&id).map(Host::rows),
        };
        let wrong = voters.iter().filter(|id| rows(**id).is_some_and(is_wrong)).count();
        2 * wrong > voters.len() || voters.iter().all(|id| process.machine.alarms().is_corrupt(*id))
    }

    /// Damage that the scrub can find is found within two passes: one may just have gone by.
    pub(crate) fn check_scrub(&mut self, host: &mut Host) {
        let quarantined = host.is_quarantined();
        let Some(process) = &mut host.process else { return };
        if !self.scrubs || quarantined || process.halted || !is_wrong(&process.live) || !is_findable(&process.live) {
            process.integrity.missed_ticks = 0;
            return;
        }
        process.integrity.missed_ticks += 1;
        let pass_ticks = process.live.rows(Family::Log).count() / SCRUB.versions + 1;
        if process.integrity.missed_ticks > 2 * pass_ticks + 1 {
            self.world.violate(format!("member {} is damaged, and its scrub has not found it", host.id));
        }
    }

    /// At the end of a run: the data of a member are wrong. It must be known, and healed where that can be.
    pub(crate) fn check_wrong(&mut self, id: MemberId) {
        let report = |process: &Process| process.machine.integrity().report();
        let Some(leader) = self.leader().and_then(|host| host.process.as_deref()).map(report) else { return };
        let Some(host) = self.hosts.get(&id) else { return };
        let Some(process) = host.process.as_deref() else { return };
        if process.machine.alarms().is_corrupt(NOBODY) {
            return self.world.counts.add("integrity: members that stayed undecided");
        }
        if host.is_known_wrong() {
            return self.world.violate(format!("member {id} is known to be wrong, and was not rebuilt"));
        }
        let own = report(process);
        let differs = own.points.iter().any(|point| {
            leader.points.iter().any(|other| other.revision == point.revision && other.hash != point.hash)
        });
        if differs && own.since == leader.since {
            self.world.violate(format!("member {id} came to another state, and the comparison has not found it"));
        }
    }
}
