//! The one operation under way: what it does, under which id, and until when it shall have got on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::Disk;

/// What is under way; at most one, and it says all that is needed to go on after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Sorts by when it began. `None` in what an operator wrote that knew no ids; it is given one in the next round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ulid>,
    /// Whose pod, volume and member it is about.
    pub ordinal: u32,
    /// When it was written first.
    pub started_at: Timestamp,
    /// Until when it shall have come to its next stage; over it nothing is given up, but a person is told. `None` as with `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Disks that joining has begun on; 1 for the others, which never begin anew.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    #[serde(flatten)]
    pub work: Work,
}

fn first_attempt() -> u32 {
    1
}

/// What an operation does, and how far it got.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Work {
    /// A pod of this ordinal becomes a learner and then a voter.
    Join { disk: Option<Disk> },
    /// The member of this ordinal leaves the configuration.
    Remove { disk: Disk, reason: RemovalReason },
    /// The member left; its volume is dealt with.
    Retire { disk: Disk, reason: RemovalReason },
}

impl Operation {
    /// The words that status shows, one of which each operation has.
    pub const KINDS: [&str; 3] = ["ScaleOut", "ScaleIn", "Replace"];

    /// The word that status shows.
    pub fn kind(&self) -> &'static str {
        match &self.work {
            Work::Join { .. } => Self::KINDS[0],
            Work::Remove { reason, .. } | Work::Retire { reason, .. } => match reason {
                RemovalReason::ScaleIn => Self::KINDS[1],
                RemovalReason::DiskLost | RemovalReason::Corrupt => Self::KINDS[2],
            },
        }
    }

    /// The disk that it is about, once that is known.
    pub fn disk(&self) -> Option<&Disk> {
        match &self.work {
            Work::Join { disk } => disk.as_ref(),
            Work::Remove { disk, .. } | Work::Retire { disk, .. } => Some(disk),
        }
    }

    /// Whether the other one is this one, maybe at another stage.
    pub fn is(&self, other: &Operation) -> bool {
        let began = |one: &Operation| (one.ordinal, one.started_at);
        self.id == other.id || (self.id.is_none() && began(self) == began(other))
    }
}

/// Why a member leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RemovalReason {
    /// The spec asks for fewer members.
    ScaleIn,
    /// Its disk is gone or is another one.
    DiskLost,
    /// It raised the alarm CORRUPT.
    Corrupt,
}
