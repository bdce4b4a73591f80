//! Makes authorities, leaves and tokens. ECDSA P-256 throughout: every TLS stack of the last decade takes it.

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;

use crate::desired::Desired;

use super::{AUTHORITY_LIFE, BACKDATE, Error, LEAF_LIFE, LeafKind, Plane, names};

/// Bytes of chance in a token.
const TOKEN_BYTES: usize = 32;

/// A certificate and its private key in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// An authority's certificate and key in PEM.
pub type Authority = Pair;

/// A new authority of a plane.
pub fn authority(desired: &Desired, plane: Plane, now: Timestamp) -> Result<Authority, Error> {
    let plane = match plane {
        Plane::Peers => "peers",
        Plane::Clients => "clients",
        Plane::Admin => "admin",
    };
    let mut params = parameters(&format!("quorate {} {plane} CA", desired.owner_name()), now, AUTHORITY_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A new leaf, signed by the authority of its plane.
pub fn leaf(desired: &Desired, kind: LeafKind, authority: &Authority, now: Timestamp) -> Result<Pair, Error> {
    let common_name = match kind {
        LeafKind::Peer => format!("{}-peer", desired.name),
        LeafKind::Server => format!("{}-server", desired.name),
        LeafKind::Admin => format!("{}-admin", desired.name),
        // etcd's user for certificates without auth; the name is what role-based access will map.
        LeafKind::Client => "root".to_owned(),
    };
    let usages = match kind {
        LeafKind::Peer => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        LeafKind::Server | LeafKind::Admin => vec![ExtendedKeyUsagePurpose::ServerAuth],
        LeafKind::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    sign(names(desired, kind), &common_name, usages, authority, now)
}

/// The certificate with which the operator speaks to the admin plane.
pub fn operator_client(authority: &Authority, now: Timestamp) -> Result<Pair, Error> {
    sign(Vec::new(), "quorate-operator", vec![ExtendedKeyUsagePurpose::ClientAuth], authority, now)
}

/// A new bearer token.
pub fn token() -> String {
    let mut bytes = [0_u8; TOKEN_BYTES];
    rand::rng().fill(&mut bytes);
    hex::encode(bytes)
}

fn sign(
    names: Vec<String>,
    common_name: &str,
    usages: Vec<ExtendedKeyUsagePurpose>,
    authority: &Authority,
    now: Timestamp,
) -> Result<Pair, Error> {
    let mut params = parameters(common_name, now, LEAF_LIFE)?;
    params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn parameters(common_name: &str, now: Timestamp, life: SignedDuration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = offset(now.as_second() - BACKDATE.as_secs())?;
    params.not_after = offset(now.as_second() + life.as_secs())?;
    Ok(params)
}

fn offset(seconds: i64) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Error::Time { seconds })
}
