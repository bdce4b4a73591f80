//! Feature levels: what a cluster may propose once every member knows it.
//!
//! A cluster is founded at [`FOUNDING`] and its level only rises, by a replicated command and when all members know the new one
//! (`Admin.RaiseFeatureLevel`). So a cluster that runs two versions never gets an entry that the older one cannot read.

/// The level of a cluster that was just founded.
pub const FOUNDING: u32 = 1;
/// From here on several members may change in one joint step.
pub const JOINT_CHANGES: u32 = 2;
/// The highest level that this version knows.
pub const KNOWN: u32 = JOINT_CHANGES;
