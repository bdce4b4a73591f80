//! The latch: what must be remembered of a cluster, written ahead of every act (rule A).
//!
//! It lives in the ConfigMap `NAME-latch`, which has no owner reference and therefore outlives the `QuorateCluster`
//! whose disks are retained. Status is only a view; this is the record.

mod operation;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::desired::{Limits, TEMPLATE_EPOCH, Template, Timers};
use crate::id::Id;

pub use operation::{Operation, RemovalReason, Work};

/// Format of the record that this operator writes; a newer one is left alone.
pub const FORMAT: u32 = 1;

/// The record of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latch {
    pub format: u32,
    pub cluster_id: Id,
    /// UID of the `QuorateCluster` that owns the disks.
    pub owner_uid: String,
    /// UID of the one that owned them before they were adopted; its certificate authorities are taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_from: Option<String>,
    pub phase: Phase,
    /// The disk that the cluster was or will be founded on.
    pub founder: Disk,
    /// Members by ordinal, as the configuration last read linearizably has them.
    pub members: Vec<LatchedMember>,
    /// Revision of the renderer that the template was proven with.
    pub template_epoch: u32,
    /// The last proven template: what a pod that is re-created at any moment gets (rule C).
    pub template: Template,
    /// The one operation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// What was last decided to be pushed to running members.
    pub tuning: Tuning,
}

/// How far founding got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// `Found` may or may not have reached the disk in `founder`.
    Founding,
    Founded,
}

/// A disk: the directory's own id and the volume claims that it and its log lie on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    pub member_id: Id,
    pub disk_id: String,
    pub pvc_uid: String,
    /// Of the log's claim, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_pvc_uid: Option<String>,
}

impl Disk {
    /// Its volume claims with their UIDs.
    pub fn claims(&self) -> impl Iterator<Item = (Claim, &str)> {
        let wal = self.wal_pvc_uid.as_deref().map(|uid| (Claim::Wal, uid));
        std::iter::once((Claim::Data, self.pvc_uid.as_str())).chain(wal)
    }
}

/// A member of the configuration and the disk it was added for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatchedMember {
    pub ordinal: u32,
    #[serde(flatten)]
    pub disk: Disk,
    pub voter: bool,
}

/// Live settings with their generation, which only rises.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tuning {
    pub generation: u64,
    /// The generation that changed the timers last; 0: they are those of the founding, which nobody pushed.
    #[serde(default)]
    pub timers_generation: u64,
    pub timers: Timers,
    /// When others were decided on last; `None`: never, or by an operator that did not write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers_changed_at: Option<Timestamp>,
    pub limits: Limits,
}

impl Tuning {
    /// What the members of a new cluster are started with.
    pub fn of_founding(timers: Timers, limits: Limits) -> Self {
        Self { generation: 0, timers_generation: 0, timers, timers_changed_at: None, limits }
    }
}

/// Why a ConfigMap cannot be taken for a latch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "the latch has format {found} and this operator knows up to {FORMAT}: run the operator release that wrote it"
    )]
    Newer { found: u32 },
    #[error(
        "the members' pods were made by template {found} and this operator knows up to {TEMPLATE_EPOCH}: run the operator release that wrote the latch"
    )]
    NewerTemplate { found: u32 },
    #[error("the latch cannot be read ({detail}): restore the ConfigMap from a backup; it is never rewritten blindly")]
    Unreadable { detail: String },
}

impl Latch {
    /// Parses the record; the format is looked at first, so that a newer one is named and not called broken.
    pub fn parse(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            format: u32,
            #[serde(default)]
            template_epoch: u32,
        }
        let unreadable = |error: serde_json::Error| Error::Unreadable { detail: error.to_string() };
        let head: Head = serde_json::from_str(text).map_err(unreadable)?;
        if head.format > FORMAT {
            return Err(Error::Newer { found: head.format });
        }
        if head.template_epoch > TEMPLATE_EPOCH {
            return Err(Error::NewerTemplate { found: head.template_epoch });
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// The record as text.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("the record holds only strings, numbers and maps with string keys")
    }

    /// The member recorded for an ordinal.
    pub fn member(&self, ordinal: u32) -> Option<&LatchedMember> {
        self.members.iter().find(|member| member.ordinal == ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::LatchSeen;
    use crate::plan::fixture;

    #[test]
    fn what_a_newer_operator_wrote_is_named_and_left_alone() {
        let desired = fixture::desired(1);
        let LatchSeen::Present { latch, .. } = fixture::running(&desired, 1).latch else { panic!("a latch") };
        assert_eq!(Latch::parse(&latch.to_text()), Ok((*latch).clone()));
        let newer = Latch { format: FORMAT + 1, ..(*latch).clone() };
        assert_eq!(Latch::parse(&newer.to_text()), Err(Error::Newer { found: FORMAT + 1 }));
        let newer = Latch { template_epoch: TEMPLATE_EPOCH + 1, ..*latch };
        assert_eq!(Latch::parse(&newer.to_text()), Err(Error::NewerTemplate { found: TEMPLATE_EPOCH + 1 }));
        assert!(matches!(Latch::parse("{}"), Err(Error::Unreadable { .. })));
    }

    #[test]
    fn disk_is_written_with_its_logs_claim_and_read_without_one() {
        let desired = fixture::desired_with_wal(1);
        let LatchSeen::Present { latch, .. } = fixture::running(&desired, 1).latch else { panic!("a latch") };
        let text = latch.to_text();
        assert_eq!(Latch::parse(&text), Ok((*latch).clone()));
        let claims: Vec<_> = latch.founder.claims().collect();
        assert_eq!(claims, [(Claim::Data, "pvc-0"), (Claim::Wal, "wal-0")]);
        let without = Latch::parse(WITHOUT_ID).unwrap();
        assert_eq!(without.founder.claims().count(), 1);
        assert!(!without.to_text().contains("walPvcUid") && text.contains("\"walPvcUid\": \"wal-0\""));
    }

    /// Written by the operator that knew neither ids nor deadlines of operations.
    const WITHOUT_ID: &str = include_str!("latch/without_operation_id.json");

    #[test]
    fn operation_of_an_operator_that_knew_no_ids_is_read() {
        let latch = Latch::parse(WITHOUT_ID).unwrap();
        let operation = latch.operation.clone().unwrap();
        let disk = latch.members[2].disk.clone();
        assert_eq!(operation.work, Work::Remove { disk, reason: RemovalReason::ScaleIn });
        assert_eq!((operation.id, operation.deadline, operation.attempt), (None, None, 1));
        assert_eq!(operation.started_at, "2026-11-27T04:00:00.123456789Z".parse().unwrap());
        let id = Some(ulid::Ulid::from_parts(7, 7));
        let written = Latch { operation: Some(Operation { id, ..operation }), ..latch };
        assert_eq!(Latch::parse(&written.to_text()), Ok(written));
    }
}
