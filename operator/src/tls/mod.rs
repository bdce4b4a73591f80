//! Certificates of the operator's own making: three authorities (peers, clients, admin), so that no client certificate
//! can speak raft and no shared issuer can mint an operator (rule G), and the leaves they sign.
//!
//! Authorities' keys are never mounted in pods. The operator's own certificate for the admin plane lives in memory only.

mod issue;

use jiff::{SignedDuration, Timestamp};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::desired::Desired;

pub use issue::{Authority, Pair, authority, leaf, operator_client, token};

/// Life of an authority.
pub const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(87_600);
/// Life of a leaf.
pub const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(2_160);
/// A leaf is made anew this long before it ends.
pub const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(720);
/// Certificates are valid from this long before they were made, for clocks that run behind.
pub const BACKDATE: SignedDuration = SignedDuration::from_hours(1);

/// A plane with an authority of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    Peers,
    Clients,
    Admin,
}

/// What a leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafKind {
    /// Members among each other, both ways.
    Peer,
    /// Members towards clients.
    Server,
    /// Members towards the operator.
    Admin,
    /// Given to users as `NAME-client-tls`.
    Client,
}

impl LeafKind {
    /// The authority that signs it.
    pub fn plane(self) -> Plane {
        match self {
            Self::Peer => Plane::Peers,
            Self::Server | Self::Client => Plane::Clients,
            Self::Admin => Plane::Admin,
        }
    }
}

/// A Secret of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretKind {
    Authority(Plane),
    Leaf(LeafKind),
    /// The bearer token of the admin plane when the client plane has no TLS.
    Token,
}

impl SecretKind {
    /// Name of the Secret.
    pub fn name(self, desired: &Desired) -> String {
        let suffix = match self {
            Self::Authority(Plane::Peers) => "peer-ca",
            Self::Authority(Plane::Clients) => "client-ca",
            Self::Authority(Plane::Admin) => "admin-ca",
            Self::Leaf(LeafKind::Peer) => "peer-tls",
            Self::Leaf(LeafKind::Server) => "server-tls",
            Self::Leaf(LeafKind::Admin) => "admin-tls",
            Self::Leaf(LeafKind::Client) => "client-tls",
            Self::Token => "admin-token",
        };
        format!("{}-{suffix}", desired.name)
    }

    /// Secrets that outlive the `QuorateCluster` when its disks are retained.
    pub fn is_retained(self) -> bool {
        matches!(self, Self::Authority(_))
    }
}

/// Secrets that a cluster needs, authorities before what they sign.
pub fn needed(desired: &Desired) -> Vec<SecretKind> {
    let mut needed = Vec::new();
    if desired.tls.peer {
        needed.extend([SecretKind::Authority(Plane::Peers), SecretKind::Leaf(LeafKind::Peer)]);
    }
    if desired.tls.client {
        needed.extend([
            SecretKind::Authority(Plane::Clients),
            SecretKind::Authority(Plane::Admin),
            SecretKind::Leaf(LeafKind::Server),
            SecretKind::Leaf(LeafKind::Client),
            SecretKind::Leaf(LeafKind::Admin),
        ]);
    } else {
        needed.push(SecretKind::Token);
    }
    needed
}

/// Names in a leaf: peers' and admin names end in this cluster's own headless Service.
pub fn names(desired: &Desired, kind: LeafKind) -> Vec<String> {
    let peers = format!("{}.{}.svc", desired.peers_service(), desired.namespace);
    let service = format!("{}.{}.svc", desired.name, desired.namespace);
    let mut names = vec![format!("*.{peers}"), format!("*.{peers}.cluster.local")];
    match kind {
        LeafKind::Peer | LeafKind::Admin => {}
        LeafKind::Client => names.clear(),
        LeafKind::Server => {
            let short = format!("{}.{}", desired.name, desired.namespace);
            names.extend([desired.name.clone(), short, service.clone(), format!("{service}.cluster.local")]);
            names.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
        }
    }
    names
}

/// When a certificate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub not_after: Timestamp,
    pub renew_at: Timestamp,
}

/// Why a certificate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no certificate in PEM: {detail}")]
    NoCertificate { detail: String },
    #[error("making a certificate failed: {0}")]
    Making(#[from] rcgen::Error),
    #[error("{seconds} is not a time that certificates can hold")]
    Time { seconds: i64 },
}

/// Reads the end of the first certificate in a PEM text.
pub fn life(pem: &[u8]) -> Result<Life, Error> {
    let unreadable = |detail: String| Error::NoCertificate { detail };
    let block = Pem::iter_from_buffer(pem)
        .next()
        .ok_or_else(|| unreadable("empty".to_owned()))?
        .map_err(|error| unreadable(error.to_string()))?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).map_err(|error| unreadable(error.to_string()))?;
    let seconds = certificate.validity().not_after.timestamp();
    let not_after = Timestamp::from_second(seconds).map_err(|_| Error::Time { seconds })?;
    let renew_at = not_after.checked_sub(RENEW_BEFORE).map_err(|_| Error::Time { seconds })?;
    Ok(Life { not_after, renew_at })
}

#[cfg(test)]
mod tests;
