//! Certificates, keys, CAs and revocation lists as read from their files, all of one moment.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::Error;
use crate::config::tls::{Files, Pair};

/// What handshakes use.
pub struct Material {
    pub server: Arc<CertifiedKey>,
    pub client: Arc<CertifiedKey>,
    /// Present when there is a CA.
    pub verifiers: Option<Verifiers>,
    pub ca_sha256: String,
}

/// Verifies the other side against the CA.
pub struct Verifiers {
    pub of_clients: Arc<dyn ClientCertVerifier>,
    pub of_servers: Arc<WebPkiServerVerifier>,
}

impl Material {
    pub fn load(files: &Files, provider: &Arc<CryptoProvider>) -> Result<Material, Error> {
        let server = load_pair(&files.server, provider)?;
        let client = match files.client == files.server {
            true => server.clone(),
            false => load_pair(&files.client, provider)?,
        };
        let (verifiers, ca_sha256) = match &files.trusted_ca {
            Some(path) => {
                let bytes = read("CA", path)?;
                (
                    Some(verifiers(path, &bytes, files.revoked.as_deref(), provider)?),
                    hex::encode(Sha256::digest(&bytes)),
                )
            }
            None => (None, String::new()),
        };
        Ok(Material { server, client, verifiers, ca_sha256 })
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { what, path: path.to_owned(), source })
}

fn load_pair(pair: &Pair, provider: &Arc<CryptoProvider>) -> Result<Arc<CertifiedKey>, Error> {
    let what = "certificate";
    let chain = certificates(what, &pair.certificate, &read(what, &pair.certificate)?)?;
    let what = "private key";
    let key = PrivateKeyDer::from_pem_slice(&read(what, &pair.key)?).map_err(|error| Error::Pem {
        what,
        path: pair.key.clone(),
        reason: error.to_string(),
    })?;
    warn_of_open_key(&pair.key);
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|source| Error::Pair {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        source,
    })?;
    Ok(Arc::new(key))
}

fn certificates(what: &'static str, path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(|error| Error::Pem {
        what,
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    match chain.is_empty() {
        true => Err(Error::Empty { what, path: path.to_owned() }),
        false => Ok(chain),
    }
}

/// A key that everybody may read is no secret; Kubernetes mounts Secrets readable by a group, so only others count.
fn warn_of_open_key(path: &Path) {
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.permissions().mode() & 0o007 != 0
    {
        let mode = format!("{:o}", metadata.permissions().mode() & 0o777);
        tracing::warn!(path = %path.display(), mode, "private key is open to all users of this machine; chmod it to 0600");
    }
}

fn verifiers(
    path: &Path,
    bytes: &[u8],
    revoked: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Verifiers, Error> {
    let unusable = |reason: String| Error::Ca { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA", path, bytes)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let roots = Arc::new(roots);
    let lists = match revoked {
        Some(path) => revocation_lists(path)?,
        None => Vec::new(),
    };
    let of_clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .with_crls(lists.clone())
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let of_servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .with_crls(lists)
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(Verifiers { of_clients, of_servers })
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let what = "revocation list";
    let bytes = read(what, path)?;
    if !bytes.starts_with(b"-----") {
        return Ok(vec![bytes.into()]);
    }
    CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().map_err(|error| Error::Pem {
        what,
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// What tells whether a file changed: times alone do not, a Secret's files are replaced through a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

impl Stamps {
    pub fn of(files: &Files) -> Stamps {
        let Files {
            server,
            client,
            trusted_ca,
            revoked,
            allowed_common_names: _,
            allowed_hostnames: _,
            protocol: _,
            self_signed: _,
        } = files;
        let paths = [&server.certificate, &server.key, &client.certificate, &client.key];
        let paths = paths.into_iter().chain(trusted_ca.as_ref()).chain(revoked.as_ref());
        let stamp = |path: &PathBuf| {
            std::fs::metadata(path).ok().map(|found| Stamp {
                device: found.dev(),
                inode: found.ino(),
                modified: (found.mtime(), found.mtime_nsec()),
                bytes: found.size(),
            })
        };
        Stamps(paths.map(stamp).collect())
    }
}
