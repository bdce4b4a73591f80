//! The member-local file: what must not travel with a snapshot, because it belongs to this member and disk alone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;

/// Version of the file: 2 of one that has a field which version 1 does not know, so that an earlier version refuses only what it
/// cannot keep.
pub(super) const FORMAT: u32 = 2;
const FORMAT_WITHOUT_RECOVERY: u32 = 1;

/// Contents of `member.json`. Ids are written in hexadecimal, as etcd's tools show them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub format: u32,
    /// 16 random bytes in hex, drawn when the directory was made: the identity of the disk.
    pub disk_id: String,
    pub born_unix_seconds: u64,
    /// Raised at each start; 1 = the first. Part of command ids and read contexts, which must never repeat.
    pub boot: u64,
    /// `None` until founded or admitted.
    pub identity: Option<Identity>,
    /// The configuration it was founded or admitted with: from it the log's first entries are written, and peers are found.
    pub admission: Option<Admission>,
    /// The custom resource it belongs to; `None` outside Kubernetes.
    pub owner: Option<Owner>,
    /// Whether the first group of the log was durable.
    pub log_begun: bool,
    pub tombstone: Option<Tombstone>,
    /// Whether the operator keeps it out of raft.
    pub fence: Option<Setting<bool>>,
    pub timers: Option<Setting<Timers>>,
    pub limits: Option<Setting<Limits>>,
    pub log_level: Option<Setting<String>>,
    /// When it was fenced, it had heard of no leader for an election timeout. From format 2 on, absent when false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced_leaderless: bool,
    /// The last recovery from a lost quorum: intended, or done. From format 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// A recovery (`member/recovery.rs`), kept so that a crash ends it in no other way and a repeat of the request is answered alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The decision that it carries out, in the operator's words.
    pub incident: String,
    /// The cluster that lost its quorum.
    #[serde(with = "hex_id")]
    pub from_cluster_id: u64,
    /// The cluster that this member goes on as.
    #[serde(with = "hex_id")]
    pub cluster_id: u64,
    /// False until the member is of the new cluster.
    pub done: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    #[serde(with = "hex_id")]
    pub cluster_id: u64,
    #[serde(with = "hex_id")]
    pub member_id: u64,
    pub name: String,
}

/// How the member came into its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It founded the cluster with the members listed, and writes them as the log's first entries.
    Founded,
    /// It joined; its log starts empty.
    Admitted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    pub origin: Origin,
    pub members: Vec<Seed>,
}

/// A member of the configuration at founding or admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    #[serde(with = "hex_id")]
    pub id: u64,
    pub name: String,
    pub peer_urls: Vec<String>,
    pub learner: bool,
    pub disk_id: String,
}

impl From<quorate_api::admin::Member> for Seed {
    fn from(member: quorate_api::admin::Member) -> Seed {
        let quorate_api::admin::Member { id, name, peer_urls, client_urls: _, learner, disk_id } = member;
        Seed { id, name, peer_urls, learner, disk_id }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub uid: String,
    /// "namespace/name".
    pub name: String,
}

/// Proof that this member was removed from its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    #[serde(with = "hex_id")]
    pub cluster_id: u64,
    #[serde(with = "hex_id")]
    pub member_id: u64,
    /// Raft index of the removal; 0 when a peer told it.
    pub index: u64,
    pub unix_seconds: u64,
}

/// A pushed value, in force until a higher generation comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    pub generation: u64,
    pub value: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    pub heartbeat_milliseconds: u64,
    pub election_milliseconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// 0 = the default, negative = no quota, as etcd's flag.
    pub quota_bytes: i64,
    pub request_bytes_max: u64,
    pub txn_ops_max: u64,
}

impl<T: PartialEq> Setting<T> {
    /// Puts a pushed value in force. The same value under the same generation changes nothing.
    ///
    /// # Errors
    /// `Stale` when the generation is not above the one in force.
    pub fn push(slot: &mut Option<Setting<T>>, generation: u64, value: T) -> Result<(), Error> {
        if let Some(current) = slot {
            let is_same = current.generation == generation && current.value == value;
            if generation <= current.generation && !is_same {
                return Err(Error::Stale { given: generation, current: current.generation });
            }
        }
        *slot = Some(Setting { generation, value });
        Ok(())
    }
}

impl Member {
    pub(crate) fn born(disk_id: [u8; 16], unix_seconds: u64) -> Member {
        Member {
            format: FORMAT_WITHOUT_RECOVERY,
            disk_id: hex::encode(disk_id),
            born_unix_seconds: unix_seconds,
            boot: 0,
            identity: None,
            admission: None,
            owner: None,
            log_begun: false,
            tombstone: None,
            fence: None,
            timers: None,
            limits: None,
            log_level: None,
            fenced_leaderless: false,
            recovery: None,
        }
    }

    /// The oldest format that can hold this.
    pub(super) fn needed_format(&self) -> u32 {
        match self.fenced_leaderless || self.recovery.is_some() {
            true => FORMAT,
            false => FORMAT_WITHOUT_RECOVERY,
        }
    }

    /// The recovery that is intended and not done.
    pub fn pending_recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref().filter(|recovery| !recovery.done)
    }

    /// Puts up a fence, or lifts it.
    ///
    /// # Errors
    /// `Stale`, or `Recovering` for a fence that is lifted too early.
    pub fn set_fence(&mut self, generation: u64, fenced: bool) -> Result<(), Error> {
        if let Some(recovery) = self.pending_recovery().filter(|_| !fenced) {
            return Err(Error::Recovering { cluster_id: recovery.cluster_id, incident: recovery.incident.clone() });
        }
        Setting::push(&mut self.fence, generation, fenced)?;
        self.fenced_leaderless &= fenced;
        Ok(())
    }

    /// This member is all there is: `survivor` alone is what it finds peers by. After a recovery that was asked for it is of the new
    /// cluster, and its fence is down.
    pub fn finish_recovery(&mut self, survivor: Seed) {
        self.admission = Some(Admission { origin: Origin::Admitted, members: vec![survivor] });
        let Some(recovery) = self.recovery.as_mut().filter(|recovery| !recovery.done) else { return };
        recovery.done = true;
        if let Some(identity) = &mut self.identity {
            identity.cluster_id = recovery.cluster_id;
        }
        if let Some(fence) = &mut self.fence {
            fence.value = false;
        }
        self.fenced_leaderless = false;
    }

    /// Whether raft must not run because the operator fenced it.
    pub fn is_fenced(&self) -> bool {
        self.fence.as_ref().is_some_and(|fence| fence.value)
    }

    /// # Errors
    /// `Removed`, `OtherCluster` or `OtherMember`.
    pub(super) fn refuse_other(&self, path: &Path, cluster_id: u64, member_id: Option<u64>) -> Result<(), Error> {
        let path = path.to_owned();
        if let Some(Tombstone { cluster_id, member_id, .. }) = self.tombstone {
            return Err(Error::Removed { path, cluster_id, member_id });
        }
        let Some(identity) = &self.identity else { return Ok(()) };
        if identity.cluster_id != cluster_id {
            return Err(Error::OtherCluster { path, expected: cluster_id, found: identity.cluster_id });
        }
        match member_id {
            Some(expected) if expected != identity.member_id => {
                Err(Error::OtherMember { path, expected, found: identity.member_id })
            }
            _ => Ok(()),
        }
    }
}

/// A u64 as 16 hexadecimal digits: a JSON number of this size loses digits in most tools.
mod hex_id {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{id:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(|error| de::Error::custom(format!("id {text:?}: {error}")))
    }
}
