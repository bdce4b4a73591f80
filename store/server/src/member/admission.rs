//! The member before and beside raft: its phase, and how an empty directory becomes a member's. One place for the rules of disk
//! identity: an empty disk is never admitted under the id of a member that was added with another.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use quorate_api::admin::RecoverRequest;
use quorate_core::membership;
use tokio::sync::watch;

use super::Error;
use super::recovery::{self, Decision, Held};
use crate::config::{AdminAccess, Config};
use crate::directory::{self, Directory, Identity, Origin, Owner, Recovery, Seed, Tombstone};
use crate::listen::Drain;
use crate::logging;
use crate::store::Store;
use crate::tls::{self, Plane};

/// How far the member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Awaiting,
    AwaitingAdoption,
    Starting,
    Running,
    Removed,
    /// What the directory holds cannot be used; raft does not run.
    Refused,
    Fenced,
}

/// Why a founding, an admission or an adoption is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("this directory has disk id {actual}, the request is for {expected}: it was meant for another disk")]
    Disk { expected: String, actual: String },
    #[error("cluster id {actual:x} would be founded, the latch expects {expected:x}: owner, name or peer URLs differ")]
    ClusterId { expected: u64, actual: u64 },
    #[error("the given configuration has no member {0:x}")]
    NotInConfiguration(u64),
    #[error(
        "member {member:x} was added with disk {added}, this directory is disk {actual}: add this disk as a new learner"
    )]
    OtherDisk { member: u64, added: String, actual: String },
    #[error("this directory holds no cluster to adopt")]
    Empty,
    #[error("this pod belongs to {}, UID {}, the request is of {}, UID {}", .own.name, .own.uid, .given.name, .given.uid)]
    Owner { own: Owner, given: Owner },
    #[error("the data directory is refused, and nothing is done with it: {0}")]
    Refusal(String),
    #[error(transparent)]
    Directory(#[from] directory::Error),
    #[error(transparent)]
    Recovery(#[from] recovery::Refused),
}

/// What the Admin service and the life of the member share.
pub struct Admission {
    /// Invariant: `None` only beside a refusal.
    directory: Option<Directory>,
    /// Why the directory is refused.
    refusal: OnceLock<String>,
    pub log: logging::Handle,
    /// What the operator must present without certificates.
    token: Option<String>,
    bound: watch::Sender<bool>,
    /// A recovery is to be carried out by the next process.
    recovers: watch::Sender<bool>,
    store: ArcSwapOption<Store>,
    /// One founding or admission at a time.
    binding: Mutex<()>,
    member_name: String,
    /// The custom resource that this process was started for; `None` where nobody said.
    owner: Option<Owner>,
    planes: Planes,
    drain: Arc<Drain>,
}

/// TLS of the listeners; `None` without TLS.
#[derive(Clone)]
pub struct Planes {
    pub client: Option<Plane>,
    pub peer: Option<Plane>,
    pub admin: Option<Plane>,
}

impl Admission {
    /// A log level that was pushed holds again. Without a directory `refuse` has to follow.
    ///
    /// # Errors
    /// The admin token's file or a TLS file cannot be used.
    pub fn new(directory: Option<Directory>, config: &Config, log: logging::Handle) -> Result<Admission, Error> {
        let token = match config.admin.as_ref().map(|admin| &admin.access) {
            Some(AdminAccess::Token { file, .. }) => {
                let text = std::fs::read_to_string(file);
                Some(text.map_err(|source| Error::Token { path: file.clone(), source })?.trim().to_owned())
            }
            _ => None,
        };
        let load = |files: Option<&crate::config::tls::Files>, alpn: &[&str]| -> Result<Option<Plane>, Error> {
            let Some(files) = files else { return Ok(None) };
            if directory.is_some() {
                tls::ensure_self_signed(files)?;
            }
            Ok(Some(Plane::load(files, alpn)?))
        };
        let planes = Planes {
            client: load(config.client_tls.as_ref(), &["h2", "http/1.1"])?,
            peer: load(config.peer_tls.as_ref(), &[])?,
            admin: load(config.admin.as_ref().and_then(|admin| admin.access.tls()), &["h2"])?,
        };
        let member = directory.as_ref().map(Directory::member);
        if let Some(level) = member.and_then(|member| member.log_level).and_then(|pushed| pushed.value.parse().ok()) {
            log.set_level(level);
        }
        Ok(Admission {
            directory,
            refusal: OnceLock::new(),
            log,
            token,
            bound: watch::Sender::new(false),
            recovers: watch::Sender::new(false),
            store: ArcSwapOption::empty(),
            binding: Mutex::default(),
            member_name: config.name.clone(),
            owner: config
                .admin
                .as_ref()
                .and_then(|admin| admin.owner.clone())
                .map(|own| Owner { uid: own.uid, name: own.name }),
            planes,
            drain: Arc::default(),
        })
    }

    /// The directory, to do something with it.
    ///
    /// # Errors
    /// It is refused.
    pub fn directory(&self) -> Result<&Directory, Refused> {
        match (&self.directory, self.refusal.get()) {
            (Some(directory), None) => Ok(directory),
            (_, refusal) => Err(Refused::Refusal(refusal.cloned().unwrap_or_default())),
        }
    }

    /// What is known of this member: nothing where the directory could not be opened.
    pub fn member(&self) -> Option<directory::Member> {
        self.directory.as_ref().map(Directory::member)
    }

    /// Why the directory is refused; `None` while it is not.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.get().map(String::as_str)
    }

    /// From now on nothing is done with the directory.
    pub(super) fn refuse(&self, error: &Error) {
        self.refusal.get_or_init(|| error.to_string());
    }

    pub fn member_name(&self) -> &str {
        &self.member_name
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub fn planes(&self) -> &Planes {
        &self.planes
    }

    /// Whether clients are asked to go to other members.
    pub fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    /// The running store; `None` before raft runs.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.load_full()
    }

    pub fn set_store(&self, store: Store) {
        self.store.store(Some(Arc::new(store)));
    }

    pub fn phase(&self) -> Phase {
        let member = match self.directory() {
            Ok(directory) => directory.member(),
            Err(_) => return Phase::Refused,
        };
        if member.tombstone.is_some() {
            Phase::Removed
        } else if self.awaits_adoption(&member) {
            Phase::AwaitingAdoption
        } else if member.is_fenced() {
            Phase::Fenced
        } else if member.identity.is_none() {
            Phase::Awaiting
        } else if self.store.load().is_some() {
            Phase::Running
        } else {
            Phase::Starting
        }
    }

    /// Whether this directory holds a cluster of another owner than the one that this process was started for: the custom resource
    /// was deleted and made again over volumes that were kept, or a volume came from elsewhere.
    fn awaits_adoption(&self, member: &directory::Member) -> bool {
        member.identity.is_some() && self.owner.is_some() && member.owner != self.owner
    }

    /// Waits until this directory may be opened: bound to a cluster, of this owner, and not removed. A fenced one is opened too: it
    /// shows what it holds, and takes part again as soon as the fence is lifted.
    pub async fn bound(&self) {
        let mut bound = self.bound.subscribe();
        loop {
            let is_open = |member: &directory::Member| {
                member.tombstone.is_none() && member.identity.is_some() && !self.awaits_adoption(member)
            };
            if self.member().as_ref().is_some_and(is_open) {
                return;
            }
            // The sender lives as long as this does.
            if bound.changed().await.is_err() {
                return;
            }
        }
    }

    fn changed(&self) {
        self.bound.send_modify(|value| *value = !*value);
    }

    fn check_disk(&self, expected: &str) -> Result<String, Refused> {
        let actual = self.directory()?.member().disk_id;
        if expected == actual { Ok(actual) } else { Err(Refused::Disk { expected: expected.to_owned(), actual }) }
    }

    /// Nobody binds or adopts a directory for another owner than the one that the process was started for.
    fn check_owner(&self, given: &Owner) -> Result<(), Refused> {
        match &self.owner {
            Some(own) if own != given => Err(Refused::Owner { own: own.clone(), given: given.clone() }),
            _ => Ok(()),
        }
    }

    /// Founds a cluster of this one member. Asked again with the same content it answers the same.
    ///
    /// # Errors
    /// Another disk, another cluster id than expected, or a directory that belongs to a cluster already.
    pub fn found(
        &self,
        owner: Owner,
        name: &str,
        peer_urls: Vec<String>,
        expected_cluster_id: u64,
        disk_id: &str,
    ) -> Result<Identity, Refused> {
        let _one = self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_owner(&owner)?;
        let disk_id = self.check_disk(disk_id)?;
        let token = owner.uid.clone();
        let members = [(name.to_owned(), peer_urls, disk_id)];
        let founding = membership::founding(&members, &token);
        if founding.cluster_id != expected_cluster_id {
            return Err(Refused::ClusterId { expected: expected_cluster_id, actual: founding.cluster_id });
        }
        let identity = bind_founded(self.directory()?, &members, &token, name, Some(owner))?;
        self.changed();
        Ok(identity)
    }

    /// Makes this directory that of a member which the cluster has added with this very disk.
    ///
    /// # Errors
    /// Another disk, a configuration without the member, or a directory that belongs to a cluster already.
    pub fn admit(
        &self,
        owner: Owner,
        member_id: u64,
        cluster_id: u64,
        members: Vec<Seed>,
        disk_id: &str,
    ) -> Result<(), Refused> {
        let _one = self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_owner(&owner)?;
        let actual = self.check_disk(disk_id)?;
        let own = members.iter().find(|seed| seed.id == member_id).ok_or(Refused::NotInConfiguration(member_id))?;
        if own.disk_id != actual {
            return Err(Refused::OtherDisk { member: member_id, added: own.disk_id.clone(), actual });
        }
        let identity = Identity { cluster_id, member_id, name: self.member_name.clone() };
        let admission = directory::Admission { origin: Origin::Admitted, members };
        self.directory()?.bind(&identity, admission, Some(owner))?;
        self.changed();
        Ok(())
    }

    /// Gives the directory to another owner: the custom resource was deleted and created again over retained volumes. A process that
    /// was started for that owner starts raft then.
    ///
    /// # Errors
    /// No cluster, another one than the caller means, or another owner than this process was started for.
    pub fn adopt(&self, cluster_id: u64, owner: Owner) -> Result<(), Refused> {
        let _one = self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = self.directory()?;
        if directory.member().identity.is_none() {
            return Err(Refused::Empty);
        }
        self.check_owner(&owner)?;
        directory.check_cluster(cluster_id)?;
        directory.update(|member| {
            member.owner = Some(owner);
            Ok(())
        })?;
        self.changed();
        Ok(())
    }

    /// Makes the intent of a recovery durable, which this process then ends for; the next one carries it out. Asked again it answers the
    /// same.
    ///
    /// # Errors
    /// Why this member must not be recovered so, or the disk.
    pub fn recover(&self, request: &RecoverRequest) -> Result<Recovery, Refused> {
        let _one = self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = self.directory()?;
        let (store, phase) = (self.store(), self.phase());
        let membership = store.as_ref().map(|store| (store.membership(), store.is_wrong()));
        let held = membership.as_ref().map(|(membership, is_wrong)| Held { membership, is_wrong: *is_wrong });
        let mut decided = Err(recovery::Refused::NoCluster);
        directory.update(|member| {
            decided = recovery::decide(member, phase, held, request);
            if let Ok(Decision::Begin(recovery)) = &decided {
                member.recovery = Some(recovery.clone());
            }
            Ok(())
        })?;
        let (Decision::Begin(recovery) | Decision::Known(recovery)) = decided?;
        if !recovery.done {
            self.recovers.send_replace(true);
        }
        Ok(recovery)
    }

    /// Completes when this process has to end for a recovery.
    pub async fn recovers(&self) {
        let mut recovers = self.recovers.subscribe();
        // The sender lives as long as this does.
        let _ = recovers.wait_for(|recovers| *recovers).await;
    }

    /// Writes the tombstone: this member was removed.
    ///
    /// # Errors
    /// The disk.
    pub fn bury(&self) -> Result<(), directory::Error> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let Some(identity) = directory.member().identity else { return Ok(()) };
        let index = self.store().map_or(0, |store| store.membership().index());
        tracing::warn!("this member was removed; its directory is kept, and will not run raft again");
        directory.bury(Tombstone {
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            index,
            unix_seconds: unix_seconds(),
        })
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Binds a directory to the cluster that these members found under a token.
///
/// # Errors
/// The directory belongs to another cluster or member.
pub fn bind_founded(
    directory: &Directory,
    members: &[(String, Vec<String>, String)],
    token: &str,
    name: &str,
    owner: Option<Owner>,
) -> Result<Identity, directory::Error> {
    let founding = membership::founding(members, token);
    let own = founding.by_name(name).expect("the caller found itself among the members");
    let identity = Identity { cluster_id: founding.cluster_id, member_id: own.id, name: name.to_owned() };
    let seeds = founding
        .members
        .iter()
        .map(|member| Seed {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            learner: false,
            disk_id: member.disk_id.clone(),
        })
        .collect();
    directory.bind(&identity, directory::Admission { origin: Origin::Founded, members: seeds }, owner)?;
    Ok(identity)
}
