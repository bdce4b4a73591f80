//! The pair of `--auto-tls` and `--peer-auto-tls`: made where it is missing, and used as long as it is there. As etcd's it is never
//! made anew by itself, so what was handed out stays right; who deletes it gets another one at the next start.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::Error;
use crate::config::tls::{Files, Pair, SelfSigned};
use crate::directory;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Makes the pair of a plane that asks for one, unless certificate and key are there.
///
/// # Errors
/// Names that no certificate can hold, or a disk that does not take the files.
pub fn ensure(files: &Files) -> Result<(), Error> {
    let Some(wanted) = &files.self_signed else { return Ok(()) };
    let Pair { certificate, key } = &files.server;
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let (made, key_text) = make(wanted).map_err(|source| Error::SelfSigned { path: certificate.clone(), source })?;
    tracing::warn!(
        certificate = %certificate.display(), hosts = wanted.hosts.join(","), years = wanted.validity_years,
        "automatically generate certificates"
    );
    // The certificate last: one without its key would look like a pair that lost it.
    write(key, &key_text)?;
    write(certificate, &made)
}

/// Certificate and key, PEM.
fn make(wanted: &SelfSigned) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(wanted.hosts.clone())?;
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + YEAR * wanted.validity_years).into();
    params.distinguished_name.push(DnType::OrganizationName, "quorate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Not a CA, other than etcd's: clients that were given it as their CA take it all the same, and some take no CA for a server.
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        unreachable!("the paths are made of the data directory and names of ours");
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| Error::SelfSignedFolder { path: folder.to_owned(), source })?;
    Ok(directory::replace(folder, name, text.as_bytes())?)
}
