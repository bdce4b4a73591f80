//! The vocabulary of decisions: what `act` can do, and what else a round can end with.

use crate::claim::Claim;
use crate::desired::{Limits, Timers};
use crate::id::Id;
use crate::latch::Latch;
use crate::observed::{Configuration, ConfiguredMember, VolumeMark};
use crate::render::Child;

use super::Facts;

/// What one round came to.
#[derive(Clone, Debug)]
pub struct Decision {
    pub facts: Facts,
    pub step: Step,
    /// The operation under way did not come to its next stage in time; the step is taken nevertheless.
    pub overdue: Option<Stall>,
}

/// The outcome of planning.
#[derive(Clone, Debug)]
pub enum Step {
    /// Do this, and then look again at once.
    Act { action: Action, why: String },
    /// Something outside has to happen first; `step` is its short name.
    Wait { step: &'static str, message: String },
    /// No step is safe, or a person has to decide; nothing is changed.
    Stall(Stall),
    /// Mutations are switched off by the user.
    Paused,
    /// All is as it shall be.
    Steady,
    /// The finalizer is gone; there is nothing left to look after.
    Gone,
}

/// Why nothing can be done, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    pub reason: &'static str,
    pub message: String,
}

impl Step {
    pub(crate) fn act(action: Action, why: impl Into<String>) -> Self {
        Self::Act { action, why: why.into() }
    }

    pub(crate) fn wait(step: &'static str, message: impl Into<String>) -> Self {
        Self::Wait { step, message: message.into() }
    }

    pub(crate) fn stall(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Stall(Stall { reason, message: message.into() })
    }

    /// Why no step is safe, if none is.
    pub fn stalled(&self) -> Option<&Stall> {
        match self {
            Self::Stall(stall) => Some(stall),
            _ => None,
        }
    }
}

/// One mutation. Every variant carries what makes it harmless when the world moved on since it was planned.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    AddFinalizer,
    RemoveFinalizer,
    /// Renders and applies one child; a StatefulSet only at the version that was observed.
    Apply(Child),
    /// Creates the latch; fails when one exists.
    CreateLatch(Box<Latch>),
    /// Replaces the latch at the version that was observed.
    WriteLatch {
        latch: Box<Latch>,
        resource_version: String,
        what: &'static str,
    },
    /// Writes on a volume claim which member lives on it, at the version that was observed.
    MarkVolume {
        claim: Claim,
        ordinal: u32,
        uid: String,
        resource_version: String,
        mark: VolumeMark,
    },
    /// Founds the cluster on this ordinal's disk; the server repeats it harmlessly and refuses any other disk.
    Found {
        ordinal: u32,
        disk_id: String,
        cluster_id: Id,
    },
    /// Gives an awaiting member the configuration that it was added to.
    Admit {
        ordinal: u32,
        member_id: Id,
        disk_id: String,
        configuration: Configuration,
    },
    /// Hands retained disks to this owner.
    Adopt {
        ordinal: u32,
        cluster_id: Id,
    },
    /// Makes the disk of a removed member usable again by renaming its directory.
    SetAside {
        ordinal: u32,
        /// UID of the object that the disk belongs to, which may be an earlier one whose disks were adopted.
        owner_uid: String,
    },
    /// Changes the configuration if it is still the one that was observed.
    ChangeMembership {
        expected_index: u64,
        change: MembershipChange,
    },
    /// Lets a member ask its clients to go to other members, or no longer.
    Drain {
        ordinal: u32,
        draining: bool,
    },
    /// Hands leadership to this member.
    HandOver {
        to: Id,
    },
    SetTimers {
        ordinal: u32,
        generation: u64,
        timers: Timers,
    },
    SetLimits {
        ordinal: u32,
        generation: u64,
        limits: Limits,
    },
    /// Says on this very pod whether clients and evictions may count on it.
    SetServing {
        pod: String,
        uid: String,
        serving: bool,
    },
    /// Deletes this very pod.
    DeletePod {
        ordinal: u32,
        uid: String,
    },
    /// Asks for another size of this very volume claim of a member's data at the version that was observed.
    ResizeVolume {
        ordinal: u32,
        uid: String,
        resource_version: String,
        size: String,
    },
    /// Deletes this very volume claim at the version that was observed.
    DeleteVolume {
        claim: Claim,
        ordinal: u32,
        uid: String,
        resource_version: String,
    },
    /// Deletes this very StatefulSet and, in the background, its pods.
    DeleteStatefulSet {
        uid: String,
    },
    /// Deletes the latch at the version that was observed.
    DeleteLatch {
        resource_version: String,
    },
    /// Deletes a Secret of a certificate authority.
    DeleteAuthority {
        name: String,
        uid: String,
    },
}

/// A change of the configuration, of one member at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MembershipChange {
    AddLearner(ConfiguredMember),
    Promote(Id),
    Remove(Id),
}

impl Action {
    /// Name for metrics, logs and events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "AddFinalizer",
            Self::RemoveFinalizer => "RemoveFinalizer",
            Self::Apply(_) => "Apply",
            Self::CreateLatch(_) => "CreateLatch",
            Self::WriteLatch { .. } => "WriteLatch",
            Self::MarkVolume { .. } => "MarkVolume",
            Self::Found { .. } => "Found",
            Self::Admit { .. } => "Admit",
            Self::Adopt { .. } => "Adopt",
            Self::SetAside { .. } => "SetAside",
            Self::ChangeMembership { change: MembershipChange::AddLearner(_), .. } => "AddLearner",
            Self::ChangeMembership { change: MembershipChange::Promote(_), .. } => "Promote",
            Self::ChangeMembership { change: MembershipChange::Remove(_), .. } => "RemoveMember",
            Self::Drain { .. } => "Drain",
            Self::HandOver { .. } => "HandOver",
            Self::SetTimers { .. } => "SetTimers",
            Self::SetLimits { .. } => "SetLimits",
            Self::SetServing { .. } => "SetServing",
            Self::DeletePod { .. } => "DeletePod",
            Self::ResizeVolume { .. } => "ResizeVolume",
            Self::DeleteVolume { .. } => "DeleteVolume",
            Self::DeleteStatefulSet { .. } => "DeleteStatefulSet",
            Self::DeleteLatch { .. } => "DeleteLatch",
            Self::DeleteAuthority { .. } => "DeleteAuthority",
        }
    }
}
