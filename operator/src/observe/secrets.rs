//! Reads the Secrets of a cluster, by name and never as a list, and judges what they hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};

use crate::crd::status::CertificateStatus;
use crate::desired::Desired;
use crate::latch::Latch;
use crate::member_client::Access;
use crate::observed::AuthoritySeen;
use crate::render::{ANNOTATION_OWNER_UID, Child, Drift};
use crate::tls::{self, Authority, LeafKind, Pair, Plane, SecretKind};

/// Keys in the Secrets, as Kubernetes names them.
pub const LEAF_CERTIFICATE: &str = "tls.crt";
pub const PRIVATE_KEY: &str = "tls.key";
pub const TRUST: &str = "ca.crt";
pub const TOKEN: &str = "token";

/// The operator's certificates in memory: this many, then all are made anew.
const CERTIFICATES_MAX: usize = 1_024;

/// The Secrets of one cluster.
pub struct Secrets(BTreeMap<SecretKind, Secret>);

impl Secrets {
    /// Reads those that the cluster needs.
    pub async fn read(client: &Client, desired: &Desired) -> Result<Self, kube::Error> {
        let api: Api<Secret> = Api::namespaced(client.clone(), &desired.namespace);
        let read = tls::needed(desired).into_iter().map(|kind| {
            let api = api.clone();
            let name = kind.name(desired);
            async move { Ok::<_, kube::Error>((kind, api.get_opt(&name).await?)) }
        });
        let found = futures::future::try_join_all(read).await?;
        Ok(Self(found.into_iter().filter_map(|(kind, secret)| Some((kind, secret?))).collect()))
    }

    /// The authority of a plane.
    pub fn authority(&self, plane: Plane) -> Option<Authority> {
        let kind = SecretKind::Authority(plane);
        Some(Pair { certificate: self.text(kind, LEAF_CERTIFICATE)?, key: self.text(kind, PRIVATE_KEY)? })
    }

    /// One value as text.
    pub fn text(&self, kind: SecretKind, key: &str) -> Option<String> {
        let bytes = &self.0.get(&kind)?.data.as_ref()?.get(key)?.0;
        String::from_utf8(bytes.clone()).ok()
    }

    /// The values of a Secret as they are.
    pub fn values(&self, kind: SecretKind) -> Option<BTreeMap<String, Vec<u8>>> {
        let data = self.0.get(&kind)?.data.as_ref()?;
        Some(data.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect())
    }

    /// Authorities and whose they are.
    pub fn authorities(&self, desired: &Desired) -> Vec<AuthoritySeen> {
        let retained = self.0.iter().filter(|(kind, _)| kind.is_retained());
        retained
            .map(|(kind, secret)| AuthoritySeen {
                name: kind.name(desired),
                uid: secret.uid().unwrap_or_default(),
                resource_version: secret.resource_version().unwrap_or_default(),
                owner_uid: secret.annotations().get(ANNOTATION_OWNER_UID).cloned(),
            })
            .collect()
    }

    /// Ends of certificates, for status.
    pub fn lives(&self, desired: &Desired) -> Vec<CertificateStatus> {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        let lives = self.0.keys().filter_map(|kind| {
            let life = tls::life(self.text(*kind, LEAF_CERTIFICATE)?.as_bytes()).ok()?;
            let name = kind.name(desired);
            Some(CertificateStatus { name, not_after: Time(life.not_after), renew_at: Time(life.renew_at) })
        });
        lives.collect()
    }

    /// Secrets to be made, made anew or taken over.
    pub fn drift(&self, desired: &Desired, latch: Option<&Latch>, now: Timestamp) -> Vec<Drift> {
        let judged = tls::needed(desired).into_iter().map(|kind| (kind, self.judge(desired, latch, kind, now)));
        judged
            .filter_map(|(kind, drift)| {
                drift.map(|(reason, conflict)| Drift { child: Child::Secret(kind), reason, conflict })
            })
            .collect()
    }

    fn judge(
        &self,
        desired: &Desired,
        latch: Option<&Latch>,
        kind: SecretKind,
        now: Timestamp,
    ) -> Option<(String, Option<String>)> {
        let Some(secret) = self.0.get(&kind) else { return Some(("it does not exist".to_owned(), None)) };
        let owner = secret.annotations().get(ANNOTATION_OWNER_UID).map(String::as_str);
        if owner != Some(desired.uid.as_str()) {
            let adopted = latch.is_some_and(|latch| latch.owner_uid == desired.uid && latch.adopted_from.is_some());
            let is_predecessors = adopted && latch.and_then(|latch| latch.adopted_from.as_deref()) == owner;
            if is_predecessors {
                return Some(("it is adopted with the disks".to_owned(), None));
            }
            let name = kind.name(desired);
            let conflict = format!(
                "Secret {name} exists and was not made for this QuorateCluster: delete it with `kubectl delete secret {name} -n {}`, or use another name",
                desired.namespace
            );
            return Some(("it is not ours".to_owned(), Some(conflict)));
        }
        self.unsound(kind, now).map(|reason| (reason, None))
    }

    fn unsound(&self, kind: SecretKind, now: Timestamp) -> Option<String> {
        let missing = |key: &str| format!("it lacks {key}");
        let text = |key| self.text(kind, key).filter(|text| !text.is_empty()).ok_or_else(|| missing(key));
        let SecretKind::Leaf(leaf) = kind else {
            let key = if kind == SecretKind::Token { TOKEN } else { PRIVATE_KEY };
            return text(key).err();
        };
        let certificate = match (text(LEAF_CERTIFICATE), text(PRIVATE_KEY)) {
            (Ok(certificate), Ok(_)) => certificate,
            (Err(reason), _) | (_, Err(reason)) => return Some(reason),
        };
        if self.text(kind, TRUST) != self.authority(leaf.plane()).map(|authority| authority.certificate) {
            return Some("its authority changed".to_owned());
        }
        match tls::life(certificate.as_bytes()) {
            Ok(life) if now < life.renew_at => None,
            Ok(life) => Some(format!("it ends at {}", life.not_after)),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// The operator's own certificates, one for each admin authority, in memory only.
#[derive(Default)]
pub struct Credentials(Mutex<HashMap<[u8; 32], Pair>>);

impl Credentials {
    /// How to speak to the members of a cluster, once its Secrets exist.
    pub fn access(&self, desired: &Desired, secrets: &Secrets) -> Option<Access> {
        if !desired.tls.client {
            return secrets.text(SecretKind::Token, TOKEN).map(Access::Token);
        }
        // Pods take the admin plane's Secret as a whole; before it exists there is nobody to speak to.
        secrets.0.get(&SecretKind::Leaf(LeafKind::Admin))?;
        let authority = secrets.authority(Plane::Admin)?;
        let client = self.certificate(&authority)?;
        Some(Access::Tls { authority: authority.certificate, client })
    }

    fn certificate(&self, authority: &Authority) -> Option<Pair> {
        let key: [u8; 32] = Sha256::digest(authority.certificate.as_bytes()).into();
        let now = Timestamp::now();
        let mut known = self.0.lock().expect("nothing panics while it holds this lock");
        let sound = |pair: &&Pair| tls::life(pair.certificate.as_bytes()).is_ok_and(|life| now < life.renew_at);
        if let Some(pair) = known.get(&key).filter(sound) {
            return Some(pair.clone());
        }
        if known.len() >= CERTIFICATES_MAX {
            known.clear();
        }
        match tls::operator_client(authority, now) {
            Ok(pair) => {
                known.insert(key, pair.clone());
                Some(pair)
            }
            Err(error) => {
                tracing::error!(%error, "no certificate for the admin plane");
                None
            }
        }
    }
}
