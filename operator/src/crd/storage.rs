//! `spec.storage`: the volume of each member and what becomes of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::rules;

/// One volume a member, or two.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)", "storage.storageClassName cannot be changed or set later: create a new cluster with the other class"),
    ("has(self.walStorage) == has(oldSelf.walStorage) && (!has(self.walStorage) || self.walStorage == oldSelf.walStorage)", "storage.walStorage cannot be changed, added or removed: keep it as it was when the cluster was created, or create a new cluster with the other"),
])))]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size of each volume. It may grow at any time, where the storage class allows that, and shrink to status.storage.minCapacity: a
    /// growth that failed can be taken back.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && quantity(self).isLessThan(quantity('8Ei'))", "storage.size must be a positive quantity below 8Ei, such as 10Gi")])))]
    pub size: String,
    /// Storage class; the cluster's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// A second volume for the write-ahead log of each member, so that its syncs do not wait for the data's disk; on the data's volume
    /// when absent. It cannot be changed, added or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_storage: Option<WalStorageSpec>,
    /// What becomes of volumes that are no longer in use.
    #[serde(default)]
    pub retention: StorageRetention,
}

/// The volume of each member's write-ahead log.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WalStorageSpec {
    /// Size of each volume. The log holds what the database has not yet on disk and raft.snapshotEntries entries, in segments of 64 MiB,
    /// two more of them in reserve, and up to a sixteenth of the volume (4 GiB at most) for members that catch up.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && quantity(self).isLessThan(quantity('8Ei'))", "storage.walStorage.size must be a positive quantity below 8Ei, such as 10Gi")])))]
    pub size: String,
    /// Storage class; the cluster's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// What becomes of volumes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageRetention {
    /// When the QuorateCluster is deleted. Retain also keeps the latch and the certificate authorities, so that a new
    /// QuorateCluster of the same name can adopt the disks.
    pub when_deleted: VolumePolicy,
    /// When the member was removed by scaling in.
    pub when_scaled: VolumePolicy,
}

impl Default for StorageRetention {
    fn default() -> Self {
        Self { when_deleted: VolumePolicy::Retain, when_scaled: VolumePolicy::Delete }
    }
}

/// Keep the volume claim or delete it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VolumePolicy {
    Retain,
    Delete,
}
