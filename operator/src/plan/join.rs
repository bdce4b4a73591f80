//! A pod becomes a member: it waits on an empty disk, its disk is recorded and marked, it is added as a learner with
//! that disk, admitted, caught up and promoted (rule B; one learner at a time).

use crate::id;
use crate::latch::{Disk, Latch, Operation, RemovalReason, Work};
use crate::observed::{Configuration, ConfiguredMember, LatchSeen, MemberPhase, MemberState};

use super::bootstrap::{self, await_pod, mark};
use super::facts::{LAG_ENTRIES_MAX, has_its_claims, state};
use super::guard::{self, Guard, Votes, guard};
use super::operation;
use super::{Action, Context, MembershipChange, Step};

pub(super) fn next(context: Context<'_>) -> Option<Step> {
    let LatchSeen::Present { latch, resource_version } = &context.observed.latch else { return None };
    let operation = latch.operation.as_ref()?;
    let Work::Join { disk } = &operation.work else { return None };
    let configuration = context.observed.configuration.as_ref()?;
    let (ordinal, disk) = (operation.ordinal, disk.as_ref());
    Some(Join { context, latch, resource_version, configuration, operation, ordinal, disk }.next())
}

struct Join<'a> {
    context: Context<'a>,
    latch: &'a Latch,
    resource_version: &'a str,
    configuration: &'a Configuration,
    operation: &'a Operation,
    ordinal: u32,
    disk: Option<&'a Disk>,
}

impl<'a> Join<'a> {
    fn next(&self) -> Step {
        let learner = self.configuration.learner();
        let is_wanted = self.ordinal < self.context.desired.replicas;
        let must_yield = self.context.facts.replaceable().is_some();
        match (learner, self.disk) {
            (Some(learner), Some(disk)) if learner.id == disk.member_id => {
                if !is_wanted {
                    return self.turn_back(disk, "the spec no longer asks for this member");
                }
                self.bring_up(learner, disk)
            }
            (Some(learner), _) => Step::stall(
                "UnknownMember",
                format!(
                    "learner {} is not the one that is being added: remove it with `quoratectl member remove {}`",
                    learner.id, learner.id
                ),
            ),
            (None, disk) if !is_wanted || must_yield => self.give_up(disk),
            (None, disk) => self.add(disk),
        }
    }

    /// Before the learner exists: the pod first.
    fn add(&self, disk: Option<&Disk>) -> Step {
        let Some(state) = state(self.context.observed, self.ordinal) else {
            return await_pod(self.context, self.ordinal);
        };
        let pod = self.context.desired.pod(self.ordinal);
        match state.phase {
            MemberPhase::AwaitingAdmission => {}
            MemberPhase::Removed => {
                // `identity` let only disks of this very cluster through; whose member was removed keeps its owner at adoption.
                let action = Action::SetAside { ordinal: self.ordinal, owner_uid: state.owner_uid.clone() };
                return Step::act(action, "the disk is that of a member that was removed");
            }
            MemberPhase::Refused => return Step::stall("DirectoryRefused", format!("{pod}: {}", state.refusal)),
            MemberPhase::Starting => return Step::wait("AwaitPod", format!("{pod} is opening its directory")),
            MemberPhase::Running | MemberPhase::AwaitingAdoption | MemberPhase::Fenced => {
                return Step::stall(
                    "DiskInUse",
                    format!(
                        "{pod} shall join on an empty disk, but its disk belongs to a member that is not in the configuration: delete its volume claim and its pod"
                    ),
                );
            }
        }
        let peer_url = self.context.desired.peer_url(self.ordinal);
        let member_id = id::joining_member(&peer_url, &state.disk_id, self.configuration.index);
        let found = match bootstrap::disk(self.context, self.ordinal, member_id, state.disk_id.clone()) {
            Ok(found) => found,
            Err(step) => return *step,
        };
        // The id that it was recorded with is that of an earlier index.
        match disk.filter(|disk| **disk == Disk { member_id: disk.member_id, ..found.clone() }) {
            None => self.record_disk(found),
            Some(disk) => {
                mark(self.context, self.latch.cluster_id, self.ordinal, disk).unwrap_or_else(|| self.add_learner(disk))
            }
        }
    }

    fn record_disk(&self, disk: Disk) -> Step {
        let work = Work::Join { disk: Some(disk) };
        let operation = match self.disk {
            None => operation::advance(self.context, self.operation, work),
            Some(_) => operation::try_again(self.operation, work),
        };
        self.write(Some(operation), "the disk of the joining member is recorded")
    }

    fn add_learner(&self, disk: &Disk) -> Step {
        let desired = self.context.desired;
        let learner = ConfiguredMember {
            id: disk.member_id,
            name: desired.pod(self.ordinal),
            learner: true,
            disk_id: disk.disk_id.clone(),
            peer_urls: vec![desired.peer_url(self.ordinal)],
            client_urls: vec![desired.client_url(self.ordinal)],
        };
        // Invariant: at most one learner (rule D).
        assert!(self.configuration.learner().is_none());
        self.change(MembershipChange::AddLearner(learner), "its pod waits for admission")
    }

    /// From learner to voter.
    fn bring_up(&self, learner: &ConfiguredMember, disk: &Disk) -> Step {
        let Some(state) = state(self.context.observed, self.ordinal) else {
            return await_pod(self.context, self.ordinal);
        };
        let has_its_claims = has_its_claims(self.context.observed, self.ordinal, disk);
        let is_its_disk = state.disk_id == learner.disk_id && has_its_claims;
        match state.phase {
            MemberPhase::AwaitingAdmission if guard(Guard::DiskIdentity, is_its_disk) => Step::act(
                Action::Admit {
                    ordinal: self.ordinal,
                    member_id: learner.id,
                    disk_id: state.disk_id.clone(),
                    configuration: self.configuration.clone(),
                },
                "the configuration holds its disk",
            ),
            MemberPhase::AwaitingAdmission => {
                self.turn_back(disk, "the learner's disk is gone; its pod has another one")
            }
            MemberPhase::Running if state.member_id == Some(learner.id) => self.promote(learner, state),
            MemberPhase::Removed => self.turn_back(disk, "the learner's disk says that it was removed"),
            MemberPhase::Refused if !has_its_claims => self.turn_back(disk, "the learner's log is gone"),
            MemberPhase::Refused => Step::stall("DirectoryRefused", format!("{}: {}", learner.name, state.refusal)),
            _ => Step::wait("AwaitPod", format!("{} is starting", learner.name)),
        }
    }

    fn promote(&self, learner: &ConfiguredMember, state: &MemberState) -> Step {
        if !self.is_caught_up(learner, state) {
            return Step::wait("AwaitCatchUp", format!("{} is {} entries behind", learner.name, state.lag_entries));
        }
        if let Some(step) = super::tune::before_vote(self.context, self.latch, self.ordinal, state) {
            return step;
        }
        let facts = self.context.facts;
        let before = Votes { voters: facts.voters.len(), healthy: facts.healthy.len() };
        let after = Votes { voters: before.voters + 1, healthy: before.healthy + 1 };
        match guard::votes(before, after) {
            Err(refusal) if !guard(Guard::Votes, false) => {
                Step::wait("AwaitVoters", format!("{} is not promoted: {refusal}", learner.name))
            }
            _ => self.change(MembershipChange::Promote(learner.id), "it has caught up"),
        }
    }

    /// The leader's word counts: a member that never heard of the leader does not know that it lags.
    fn is_caught_up(&self, learner: &ConfiguredMember, state: &MemberState) -> bool {
        let leader = super::facts::answered(self.context.observed).map(|(_, state)| state).find(|state| {
            state.phase == MemberPhase::Running && state.leader_id.is_some() && state.leader_id == state.member_id
        });
        let Some(leader) = leader else { return false };
        let Some(progress) = leader.progress.iter().find(|progress| progress.member_id == learner.id) else {
            return false;
        };
        progress.recently_active
            && progress.match_index.saturating_add(LAG_ENTRIES_MAX) >= leader.committed_index
            && state.applied_index.saturating_add(LAG_ENTRIES_MAX) >= leader.committed_index
    }

    /// The learner is in the configuration and has to leave it again.
    fn turn_back(&self, disk: &Disk, why: &'static str) -> Step {
        let reason =
            if self.ordinal < self.context.desired.replicas { RemovalReason::DiskLost } else { RemovalReason::ScaleIn };
        let work = Work::Remove { disk: disk.clone(), reason };
        self.write(Some(operation::begin(self.context, self.ordinal, work)), why)
    }

    /// The learner was never added: nothing to undo but the volume, when no member shall be there at all.
    fn give_up(&self, disk: Option<&Disk>) -> Step {
        let unwanted = disk.filter(|_| self.ordinal >= self.context.desired.replicas);
        let operation = unwanted.map(|disk| {
            let work = Work::Retire { disk: disk.clone(), reason: RemovalReason::ScaleIn };
            operation::begin(self.context, self.ordinal, work)
        });
        self.write(operation, "joining is given up before the member was added")
    }

    fn change(&self, change: MembershipChange, why: &'static str) -> Step {
        Step::act(Action::ChangeMembership { expected_index: self.configuration.index, change }, why)
    }

    fn write(&self, operation: Option<Operation>, what: &'static str) -> Step {
        Step::act(operation::write(self.latch, self.resource_version, operation, what), what)
    }
}
