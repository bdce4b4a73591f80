//! What `kubectl get qc -o yaml` shows, made of one observation and the step that was decided on it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest as _, Sha256};

use crate::claim::Claim;
use crate::crd::status::{CertificateStatus, OperationStatus, QuorumStatus, RaftStatus, StorageStatus};
use crate::crd::{LABEL_CLUSTER, MemberStatus, QuorateClusterStatus};
use crate::desired::{Desired, quantity_bytes};
use crate::observed::{Bundles, MemberPhase, MemberSeen, MemberState, Observed, Role, VolumeSeen};
use crate::plan::{Facts, Stall, Step};

use super::conditions;

/// What a status is made of.
pub struct View<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub facts: &'a Facts,
    pub step: &'a Step,
    /// Of the operation under way, when it did not get on in time.
    pub overdue: Option<&'a Stall>,
    pub certificates: Vec<CertificateStatus>,
    pub previous: Option<&'a QuorateClusterStatus>,
    pub now: Timestamp,
}

impl View<'_> {
    /// Pods that are ready.
    pub(super) fn ready_pods(&self) -> u32 {
        let ready = self.observed.pods.values().filter(|pod| pod.ready && !pod.deleting).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    pub(super) fn states(&self) -> impl Iterator<Item = &MemberState> {
        self.observed.members.values().filter_map(MemberSeen::state)
    }

    /// Why a member is not healthy, as far as anything says so.
    pub(super) fn trouble(&self, ordinal: u32) -> String {
        match (self.observed.pods.get(&ordinal), self.observed.members.get(&ordinal)) {
            (None, _) => "its pod does not exist".to_owned(),
            (Some(pod), _) if !pod.trouble.is_empty() => pod.trouble.clone(),
            (Some(_), Some(MemberSeen::Silent { reason })) => reason.clone(),
            (Some(_), Some(MemberSeen::Answered(state))) if !state.refusal.is_empty() => state.refusal.clone(),
            (Some(_), Some(MemberSeen::Answered(state))) => match state.phase {
                MemberPhase::Running => format!("{} entries behind", state.lag_entries),
                phase => format!("{phase:?}"),
            },
            (Some(_), None) => "its pod has no address".to_owned(),
        }
    }
}

/// The status.
pub fn view(view: &View<'_>) -> QuorateClusterStatus {
    let View { desired, observed, facts, .. } = view;
    let latch = observed.latch.latch().filter(|latch| latch.owner_uid == desired.uid);
    let leader = view.states().find(|state| state.member_id.is_some() && state.member_id == facts.leader);
    let learners = observed.configuration.iter().flat_map(|one| &one.members).filter(|member| member.learner).count();
    QuorateClusterStatus {
        observed_generation: Some(desired.generation),
        cluster_id: latch.map(|latch| latch.cluster_id.to_string()),
        version: leader.map(|leader| leader.version.clone()).or_else(|| view.previous?.version.clone()),
        feature_level: leader.map(|leader| i64::from(leader.feature_level)).filter(|level| *level > 0),
        template_epoch: latch.map(|latch| i64::from(latch.template_epoch)),
        replicas: number(observed.pods.len()),
        ready_replicas: number(view.ready_pods() as usize),
        voters: number(facts.voters.len()),
        learners: number(learners),
        leader: leader.map(|leader| leader.name.clone()),
        selector: format!("{LABEL_CLUSTER}={}", desired.name),
        quorum: (!facts.voters.is_empty()).then(|| QuorumStatus {
            needed: number(facts.quorum()),
            healthy: number(facts.healthy.len()),
            margin: number(facts.healthy.len()) - number(facts.quorum()),
        }),
        raft: leader.map(|leader| RaftStatus {
            profile: desired.profile.as_str().to_owned(),
            heartbeat_interval_milliseconds: signed(leader.timers.heartbeat_milliseconds),
            election_timeout_milliseconds: signed(leader.timers.election_milliseconds),
            max_peer_rtt_milliseconds: leader.longest_round_trip().map(coarse_milliseconds),
        }),
        storage: storage(view),
        operation: operation(view),
        members: members(view),
        certificates: view.certificates.clone(),
        conditions: conditions::all(view),
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn operation(view: &View<'_>) -> Option<OperationStatus> {
    let operation = view.observed.latch.latch()?.operation.as_ref()?;
    let (step, message) = match view.step {
        Step::Act { action, why } => (action.name(), why.clone()),
        Step::Wait { step, message } => (*step, message.clone()),
        Step::Stall(stall) => (stall.reason, stall.message.clone()),
        Step::Paused => ("Paused", "mutations are switched off".to_owned()),
        Step::Steady | Step::Gone => ("Done", String::new()),
    };
    Some(OperationStatus {
        id: operation.id.map(|id| id.to_string()),
        kind: operation.kind().to_owned(),
        target: view.desired.pod(operation.ordinal),
        step: step.to_owned(),
        started_at: whole_seconds(operation.started_at),
        deadline: operation.deadline.and_then(whole_seconds),
        attempt: i32::try_from(operation.attempt).unwrap_or(i32::MAX),
        message,
    })
}

/// What the API server keeps of a time.
fn whole_seconds(time: Timestamp) -> Option<Time> {
    Timestamp::from_second(time.as_second()).ok().map(Time)
}

/// Members of the configuration or the latch, and pods that want to become one.
fn members(view: &View<'_>) -> Vec<MemberStatus> {
    let View { desired, observed, facts, .. } = view;
    let recorded = observed.latch.latch().map(|latch| latch.members.as_slice()).unwrap_or_default();
    let mut ordinals: Vec<u32> = facts.voters.keys().copied().collect();
    ordinals.extend(recorded.iter().map(|member| member.ordinal));
    ordinals.extend(observed.pods.keys());
    ordinals.sort_unstable();
    ordinals.dedup();
    let learner = observed.configuration.as_ref().and_then(|configuration| configuration.learner());
    let learner = learner.and_then(|learner| desired.ordinal(&learner.name));
    let member = |ordinal: u32| {
        let state = observed.members.get(&ordinal).and_then(MemberSeen::state);
        let is_healthy = facts.healthy.contains(&ordinal);
        let id = facts.voters.get(&ordinal).copied().or_else(|| state?.member_id);
        let round_trip =
            view.states().flat_map(|state| &state.progress).filter(|progress| Some(progress.member_id) == id);
        MemberStatus {
            name: desired.pod(ordinal),
            member_id: id.map(|id| id.to_string()),
            role: role(state, learner == Some(ordinal)),
            voter: facts.voters.contains_key(&ordinal),
            ready: observed.pods.get(&ordinal).is_some_and(|pod| pod.ready),
            version: state.map(|state| state.version.clone()).filter(|version| !version.is_empty()),
            // Counters that move with every write would make every round a write of status: only a lag that matters
            // and sizes in steps are shown.
            applied_lag: state
                .filter(|state| state.lag_entries > crate::plan::LAG_ENTRIES_MAX)
                .map(|state| signed(state.lag_entries)),
            rtt_milliseconds: round_trip
                .map(|progress| progress.round_trip_microseconds)
                .max()
                .filter(|microseconds| *microseconds > 0)
                .map(coarse_milliseconds),
            db_size_bytes: state.map(|state| coarse(state.db_size_bytes)).filter(|bytes| *bytes > 0),
            db_in_use_bytes: state.map(|state| coarse(state.db_in_use_bytes)).filter(|bytes| *bytes > 0),
            node: observed.pods.get(&ordinal).and_then(|pod| pod.node.clone()),
            pvc: observed.volumes.contains_key(&ordinal).then(|| desired.volume(ordinal)),
            wal_pvc: observed.wal_volumes.contains_key(&ordinal).then(|| desired.claim(Claim::Wal, ordinal)),
            capacity: observed.volumes.get(&ordinal).and_then(|volume| volume.capacity.clone()),
            revision_hash: observed
                .pods
                .get(&ordinal)
                .map(|pod| pod.revision.clone())
                .filter(|revision| !revision.is_empty()),
            ca_bundle_hash: state.and_then(|state| ca_bundle_hash(&state.bundles)),
            message: (!is_healthy).then(|| view.trouble(ordinal)),
        }
    };
    ordinals.into_iter().map(member).collect()
}

/// Sizes of the recorded members' volumes. What the provisioner gives beyond what was asked for counts for nothing.
fn storage(view: &View<'_>) -> Option<StorageStatus> {
    let View { desired, observed, .. } = view;
    let members = observed.latch.latch()?.members.iter().map(|member| member.ordinal);
    let volumes: Vec<(u32, &VolumeSeen)> =
        members.filter_map(|ordinal| Some((ordinal, observed.volumes.get(&ordinal)?))).collect();
    let granted = volumes.iter().filter(|(_, volume)| volume.capacity.is_some() && !volume.is_resizing());
    let sizes = granted.map(|(_, volume)| volume.request.as_str());
    let largest = sizes.max_by_key(|size| quantity_bytes(size).unwrap_or(0))?;
    let is_smaller = quantity_bytes(largest).ok()? < quantity_bytes(&desired.storage.size).ok()?;
    Some(StorageStatus {
        min_capacity: if is_smaller { largest.to_owned() } else { desired.storage.size.clone() },
        resizing: volumes
            .iter()
            .filter(|(_, volume)| volume.is_resizing())
            .map(|(ordinal, _)| desired.volume(*ordinal))
            .collect(),
    })
}

/// One short word for both bundles; `None` where there is neither.
fn ca_bundle_hash(bundles: &Bundles) -> Option<String> {
    const DIGITS: usize = 16;
    let Bundles { peers, clients } = bundles;
    let hash = hex::encode(Sha256::digest(format!("{peers}\n{clients}\n")));
    (!peers.is_empty() || !clients.is_empty()).then(|| hash[..DIGITS].to_owned())
}

/// Microseconds in milliseconds and powers of two, lest every round be a write of status.
fn coarse_milliseconds(microseconds: u64) -> i64 {
    signed(microseconds.div_ceil(1_000).next_power_of_two())
}

/// Rounded down to a whole 16 MiB.
fn coarse(bytes: i64) -> i64 {
    const STEP: i64 = 16 << 20;
    bytes - bytes.rem_euclid(STEP)
}

fn role(state: Option<&MemberState>, is_learner: bool) -> String {
    let Some(state) = state else { return "Silent".to_owned() };
    match (state.phase, state.role) {
        // A learner that has not yet applied its own addition takes itself for a follower.
        (MemberPhase::Running, _) if is_learner => "Learner".to_owned(),
        (MemberPhase::Running, Role::Unknown) => "Running".to_owned(),
        (MemberPhase::Running, role) => format!("{role:?}"),
        (phase, _) => format!("{phase:?}"),
    }
}

#[cfg(test)]
mod tests;
