//! The spec, parsed once into a valid type. Every rule of the schema is checked again here, because an object may have
//! been stored under an older schema or with the rules switched off.

mod quantity;

use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::crd::{
    ANNOTATION_ADOPT, ANNOTATION_PAUSED, ANNOTATION_PLAINTEXT_PEERS, ImageSpec, LimitsSpec, PodsSpec, QuorateCluster,
    RaftProfile, RaftSpec, TlsMode, VolumePolicy,
};
use crate::id::{Id, InvalidId};

pub use quantity::{InvalidQuantity, bytes as quantity_bytes};

/// Revision of `render`'s pod template. It rises whenever the same spec would give another template.
pub const TEMPLATE_EPOCH: u32 = 1;

/// What shall be. Invariant: `replicas` is 1, 3, 5 or 7.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub deleting: bool,
    pub paused: bool,
    /// Cluster whose retained disks shall be taken over.
    pub adopt: Option<Id>,
    pub replicas: u32,
    pub template: Template,
    pub profile: RaftProfile,
    pub timers: Timers,
    pub limits: Limits,
    pub storage: Storage,
    pub tls: Tls,
}

/// What the pods are made of. Kept in the latch as the proven template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    pub version: String,
    pub image: ImageSpec,
    pub pods: PodsSpec,
    pub snapshot_entries: i64,
    #[serde(default = "pre_vote_default")]
    pub pre_vote: bool,
    /// What an empty directory starts with; later changes are pushed.
    pub timers: Timers,
    pub limits: Limits,
}

/// Records that were written before the field had it switched on.
fn pre_vote_default() -> bool {
    RaftSpec::default().pre_vote
}

/// Raft timers in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timers {
    pub heartbeat_milliseconds: u64,
    pub election_milliseconds: u64,
}

/// Limits of store and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    pub quota_bytes: i64,
    pub request_bytes_max: u64,
    pub txn_ops_max: u64,
}

/// The volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub size: String,
    pub class: Option<String>,
    /// Of the log, where it has a volume of its own.
    pub wal: Option<WalStorage>,
    pub when_deleted: VolumePolicy,
    pub when_scaled: VolumePolicy,
}

/// The volumes of the write-ahead logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalStorage {
    pub size: String,
    pub class: Option<String>,
}

/// Which planes are encrypted. The admin plane is, unless the client plane is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls {
    pub client: bool,
    pub require_client_certificates: bool,
    pub peer: bool,
}

/// Why a spec cannot be acted on; each message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the object lacks metadata.{field}, which the API server sets")]
    Metadata { field: &'static str },
    #[error("spec.replicas is {replicas}: 1, 3, 5 or 7 are allowed")]
    Replicas { replicas: i32 },
    #[error("spec.version is {version:?}: a semantic version such as 1.4.2 is allowed")]
    Version { version: String },
    #[error("spec.image.digest is {digest:?}: sha256: and 64 lower-case hex digits are allowed")]
    Digest { digest: String },
    #[error("spec.{field}: {source}")]
    Quantity { field: &'static str, source: InvalidQuantity },
    #[error("spec.{field} is {value}: {allowed} is allowed")]
    Range { field: &'static str, value: i64, allowed: &'static str },
    #[error(
        "spec.raft: profile Custom needs both timers, the election timeout at least 5 times the heartbeat; the other profiles allow neither"
    )]
    Timers,
    #[error("annotation quorate.io/adopt: {0}")]
    Adopt(#[from] InvalidId),
    #[error(
        "spec.tls.peer.mode is Disabled: anyone who reaches the peer port could speak raft; set the annotation {ANNOTATION_PLAINTEXT_PEERS}: \"true\" to accept that, or use mode Operator"
    )]
    PlaintextPeers,
}

impl Desired {
    /// Parses the object.
    pub fn parse(object: &QuorateCluster) -> Result<Self, Error> {
        let metadata = &object.metadata;
        let required = |value: &Option<String>, field| value.clone().ok_or(Error::Metadata { field });
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        let spec = &object.spec;
        let replicas = match spec.replicas {
            1 | 3 | 5 | 7 => spec.replicas.unsigned_abs(),
            replicas => return Err(Error::Replicas { replicas }),
        };
        semver::Version::parse(&spec.version).map_err(|_| Error::Version { version: spec.version.clone() })?;
        if let Some(digest) = spec.image.digest.as_ref().filter(|digest| !is_digest(digest)) {
            return Err(Error::Digest { digest: digest.clone() });
        }
        let wal = spec.storage.wal_storage.as_ref();
        let sizes = [("storage.size", Some(&spec.storage.size)), ("storage.walStorage.size", wal.map(|wal| &wal.size))];
        for (field, size) in sizes {
            size.map(|size| quantity::bytes(size)).transpose().map_err(|source| Error::Quantity { field, source })?;
        }
        let peer_tls = spec.tls.peer.mode == TlsMode::Operator;
        if !peer_tls && annotation(ANNOTATION_PLAINTEXT_PEERS) != Some("true") {
            return Err(Error::PlaintextPeers);
        }
        let timers = timers(&spec.raft).ok_or(Error::Timers)?;
        let limits = limits(object)?;
        Ok(Self {
            namespace: required(&metadata.namespace, "namespace")?,
            name: required(&metadata.name, "name")?,
            uid: required(&metadata.uid, "uid")?,
            generation: metadata.generation.unwrap_or(0),
            deleting: metadata.deletion_timestamp.is_some(),
            paused: annotation(ANNOTATION_PAUSED) == Some("true"),
            adopt: annotation(ANNOTATION_ADOPT).map(str::parse).transpose()?,
            replicas,
            template: Template {
                version: spec.version.clone(),
                image: spec.image.clone(),
                pods: spec.pods.clone(),
                snapshot_entries: spec.raft.snapshot_entries,
                pre_vote: spec.raft.pre_vote,
                timers,
                limits,
            },
            profile: spec.raft.profile,
            timers,
            limits,
            storage: Storage {
                size: spec.storage.size.clone(),
                class: spec.storage.storage_class_name.clone(),
                wal: wal.map(|wal| WalStorage { size: wal.size.clone(), class: wal.storage_class_name.clone() }),
                when_deleted: spec.storage.retention.when_deleted,
                when_scaled: spec.storage.retention.when_scaled,
            },
            tls: Tls {
                client: spec.tls.client.mode == TlsMode::Operator,
                require_client_certificates: spec.tls.client.require_client_certificates,
                peer: peer_tls,
            },
        })
    }

    /// What deleting needs, of an object whose spec cannot be acted on otherwise: names, planes and what becomes of volumes.
    /// A wrong spec must never keep an object from going.
    pub fn parse_deleted(object: &QuorateCluster) -> Result<Self, Error> {
        let mut object = object.clone();
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.remove(ANNOTATION_ADOPT);
        annotations.insert(ANNOTATION_PLAINTEXT_PEERS.to_owned(), "true".to_owned());
        object.spec.replicas = 1;
        object.spec.version = "0.0.0".to_owned();
        object.spec.image.digest = None;
        object.spec.storage.size = "1Gi".to_owned();
        object.spec.storage.wal_storage = None;
        object.spec.raft = RaftSpec::default();
        object.spec.limits = LimitsSpec::default();
        Self::parse(&object)
    }

    /// Name of the pod, and of the member, of an ordinal.
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// Ordinal in the name of a pod or member of this cluster.
    pub fn ordinal(&self, pod: &str) -> Option<u32> {
        pod.strip_prefix(&self.name)?.strip_prefix('-')?.parse().ok()
    }

    /// Name of the volume claim of an ordinal's data.
    pub fn volume(&self, ordinal: u32) -> String {
        self.claim(Claim::Data, ordinal)
    }

    /// Name of a volume claim of an ordinal.
    pub fn claim(&self, claim: Claim, ordinal: u32) -> String {
        format!("{}-{}", claim.name(), self.pod(ordinal))
    }

    /// Names of the volume claims that the member of an ordinal shall have.
    pub fn claims(&self, ordinal: u32) -> Vec<String> {
        let is_wanted = |claim: &Claim| *claim == Claim::Data || self.storage.wal.is_some();
        Claim::ALL.into_iter().filter(is_wanted).map(|claim| self.claim(claim, ordinal)).collect()
    }

    /// Name of the headless Service that gives pods their names.
    pub fn peers_service(&self) -> String {
        format!("{}-peers", self.name)
    }

    /// Name of the ConfigMap that holds the latch.
    pub fn latch_name(&self) -> String {
        format!("{}-latch", self.name)
    }

    /// Host name of a pod inside the Kubernetes cluster, without the cluster's domain.
    pub fn pod_host(&self, ordinal: u32) -> String {
        format!("{}.{}.{}.svc", self.pod(ordinal), self.peers_service(), self.namespace)
    }

    /// URL under which the other members reach an ordinal.
    pub fn peer_url(&self, ordinal: u32) -> String {
        format!("{}://{}:2380", scheme(self.tls.peer), self.pod_host(ordinal))
    }

    /// URL that an ordinal gives to clients.
    pub fn client_url(&self, ordinal: u32) -> String {
        format!("{}://{}:2379", scheme(self.tls.client), self.pod_host(ordinal))
    }

    /// `namespace/name`, which a disk keeps as its owner's name.
    pub fn owner_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// `https` or `http`.
pub fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

fn is_digest(text: &str) -> bool {
    let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

fn timers(raft: &RaftSpec) -> Option<Timers> {
    let custom = (raft.heartbeat_interval_milliseconds, raft.election_timeout_milliseconds);
    match (raft.profile, custom) {
        (RaftProfile::Custom, (Some(heartbeat @ 10..=5_000), Some(election @ 50..=50_000)))
            if election >= 5 * heartbeat =>
        {
            let (heartbeat_milliseconds, election_milliseconds) = (heartbeat.unsigned_abs(), election.unsigned_abs());
            Some(Timers { heartbeat_milliseconds, election_milliseconds })
        }
        // What `Auto` begins with.
        (RaftProfile::Auto, (None, None)) => RaftProfile::LowLatency.timers(),
        (profile, (None, None)) => profile.timers(),
        _ => None,
    }
}

fn limits(object: &QuorateCluster) -> Result<Limits, Error> {
    let limits = &object.spec.limits;
    let quota_bytes = quantity::bytes(&limits.quota_bytes)
        .map_err(|source| Error::Quantity { field: "limits.quotaBytes", source })?;
    let within = |field, value: i64, range: std::ops::RangeInclusive<i64>, allowed| {
        if range.contains(&value) { Ok(value.unsigned_abs()) } else { Err(Error::Range { field, value, allowed }) }
    };
    Ok(Limits {
        quota_bytes,
        request_bytes_max: within(
            "limits.maxRequestBytes",
            limits.max_request_bytes,
            65_536..=67_108_864,
            "65536 to 67108864",
        )?,
        txn_ops_max: within("limits.maxTxnOps", limits.max_txn_ops, 1..=10_000, "1 to 10000")?,
    })
}

#[cfg(test)]
mod tests;
