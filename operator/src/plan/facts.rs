//! Facts derived from what was observed: who votes, who is healthy, whose disk is gone.

use std::collections::BTreeMap;

use crate::desired::Desired;
use crate::id::Id;
use crate::latch::{Disk, Latch, RemovalReason};
use crate::observed::{Configuration, MemberPhase, MemberState, Observed};

/// Log entries that a member may lag behind and still count as healthy, and as fit to vote: from here it catches up
/// within one election timeout.
pub const LAG_ENTRIES_MAX: u64 = 1_000;

/// Facts at one instant. Invariant: `healthy` and `lost_disks` are disjoint parts of `voters`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Ordinal and id of every voter: by the configuration when it could be read, else by the newest that a member has
    /// applied, else by the latch.
    pub voters: BTreeMap<u32, Id>,
    /// Voters that take part: reachable, of this cluster, running under their id, and not far behind.
    pub healthy: Vec<u32>,
    /// Voters with evidence that their disk is gone or is another one (rule E).
    pub lost_disks: Vec<u32>,
    /// Voters that the alarm CORRUPT names.
    pub corrupt: Vec<u32>,
    /// Who leads, as the members say.
    pub leader: Option<Id>,
}

impl Facts {
    /// Derives them.
    pub fn new(desired: &Desired, observed: &Observed) -> Self {
        let Some(latch) = observed.latch.latch() else { return Self::default() };
        let voters = voters(desired, observed, latch);
        let corrupt_ids: Vec<Id> = answered(observed).flat_map(|(_, state)| state.corrupt.clone()).collect();
        let mut facts = Self { leader: leader(observed, latch), ..Self::default() };
        for (&ordinal, &id) in &voters {
            if corrupt_ids.contains(&id) {
                facts.corrupt.push(ordinal);
            } else if is_healthy(observed, latch, ordinal, id) {
                facts.healthy.push(ordinal);
            } else if disk_is_lost(observed, latch, ordinal, id) {
                facts.lost_disks.push(ordinal);
            }
        }
        facts.voters = voters;
        assert!(facts.healthy.iter().all(|ordinal| !facts.lost_disks.contains(ordinal)));
        facts
    }

    /// Votes that decide.
    pub fn quorum(&self) -> usize {
        super::guard::quorum(self.voters.len())
    }

    /// The voter that has to be replaced first and why; one whose loss can be proven.
    pub fn replaceable(&self) -> Option<(u32, RemovalReason)> {
        let lost = self.lost_disks.first().map(|ordinal| (*ordinal, RemovalReason::DiskLost));
        lost.or_else(|| self.corrupt.first().map(|ordinal| (*ordinal, RemovalReason::Corrupt)))
    }
}

/// The members that answered.
pub(super) fn answered(observed: &Observed) -> impl Iterator<Item = (u32, &MemberState)> {
    observed.members.iter().filter_map(|(ordinal, seen)| Some((*ordinal, seen.state()?)))
}

/// What the member of an ordinal said.
pub(super) fn state(observed: &Observed, ordinal: u32) -> Option<&MemberState> {
    observed.members.get(&ordinal)?.state()
}

fn voters(desired: &Desired, observed: &Observed, latch: &Latch) -> BTreeMap<u32, Id> {
    match observed.configuration.as_ref().or_else(|| newest_applied(observed, latch)) {
        Some(configuration) => {
            configuration.voters().filter_map(|member| Some((desired.ordinal(&member.name)?, member.id))).collect()
        }
        None => latch
            .members
            .iter()
            .filter(|member| member.voter)
            .map(|member| (member.ordinal, member.disk.member_id))
            .collect(),
    }
}

/// Without a quorum the newest configuration that a member has applied says better than the latch who votes: a promotion
/// is recorded only after it happened.
fn newest_applied<'a>(observed: &'a Observed, latch: &Latch) -> Option<&'a Configuration> {
    answered(observed)
        .filter(|(_, state)| state.phase == MemberPhase::Running)
        .filter_map(|(_, state)| state.configuration.as_ref())
        .filter(|configuration| configuration.cluster_id == latch.cluster_id)
        .max_by_key(|configuration| configuration.index)
}

fn leader(observed: &Observed, latch: &Latch) -> Option<Id> {
    let ours = |state: &&MemberState| state.phase == MemberPhase::Running && state.cluster_id == Some(latch.cluster_id);
    let states: Vec<&MemberState> = answered(observed).map(|(_, state)| state).filter(ours).collect();
    let itself = states.iter().find(|state| state.leader_id.is_some() && state.leader_id == state.member_id);
    itself.or_else(|| states.iter().find(|state| state.leader_id.is_some())).and_then(|state| state.leader_id)
}

fn is_healthy(observed: &Observed, latch: &Latch, ordinal: u32, id: Id) -> bool {
    state(observed, ordinal).is_some_and(|state| {
        state.phase == MemberPhase::Running
            && state.cluster_id == Some(latch.cluster_id)
            && state.member_id == Some(id)
            && state.lag_entries <= LAG_ENTRIES_MAX
    })
}

/// Whether the claims of an ordinal are those that a disk was recorded with.
pub(super) fn has_its_claims(observed: &Observed, ordinal: u32, disk: &Disk) -> bool {
    disk.claims().all(|(claim, uid)| observed.claim(claim, ordinal).is_some_and(|volume| volume.uid == uid))
}

/// Rule E, evidence that the disk is gone: a claim, that of the data or that of the log, is missing, lost or another one, or the pod
/// waits for admission on an empty disk although its name votes. Silence is no evidence, and neither is a claim that could not be compared.
fn disk_is_lost(observed: &Observed, latch: &Latch, ordinal: u32, id: Id) -> bool {
    let Some(member) = latch.member(ordinal).filter(|member| member.disk.member_id == id) else { return false };
    let is_lost = |(claim, _)| observed.claim(claim, ordinal).is_some_and(|volume| volume.lost);
    let claim_is_gone = !has_its_claims(observed, ordinal, &member.disk) || member.disk.claims().any(is_lost);
    let other_disk = state(observed, ordinal)
        .is_some_and(|state| state.phase == MemberPhase::AwaitingAdmission && state.disk_id != member.disk.disk_id);
    claim_is_gone || other_disk
}
