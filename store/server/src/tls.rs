//! TLS of the client, peer and admin planes by etcd's flags, on rustls.
//!
//! A plane reads its files when it is made and again when they change: certificates, keys, CAs and revocation lists are checked at
//! a handshake at most once a second, so a rotated Secret is used without restart. Files that cannot be read then leave the old
//! ones in place and are logged.
//!
//! A self-signed pair (`self_signed`) is made at the start where it is asked for. It encrypts; nobody is verified with it, as in etcd.
//!
//! Invariant: with a CA the other side must present a certificate that it signed; sessions are never resumed, because a resumed
//! session would skip that check.

mod live;
mod material;
mod self_signed;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use crate::config::tls::{Files, Protocol, Version};
pub use self_signed::ensure as ensure_self_signed;

use live::{Live, Side};
use verify::{AnyServer, ClientVerifier, ServerVerifier};

/// Why TLS cannot start or reload; each text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {what} {path}: {source}; check the path and that this user may read it")]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{what} {path} is not PEM: {reason}; convert it with `openssl x509 -outform pem` or `openssl pkey`")]
    Pem { what: &'static str, path: PathBuf, reason: String },
    #[error("{what} {path} holds no {what}: give a PEM file with one")]
    Empty { what: &'static str, path: PathBuf },
    #[error(
        "certificate {certificate} and key {key} do not belong together: {source}; give the key that the certificate was made for"
    )]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("CA {path} cannot be used: {reason}; give the PEM certificates of the CA itself")]
    Ca { path: PathBuf, reason: String },
    #[error("cannot make a self-signed certificate {path}: {source}; check the hosts of the listen URLs")]
    SelfSigned { path: PathBuf, source: rcgen::Error },
    #[error("cannot make {path} for a self-signed certificate: {source}")]
    SelfSignedFolder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Directory(#[from] crate::directory::Error),
    #[error("TLS settings: {0}; check --tls-min-version, --tls-max-version and --cipher-suites")]
    Settings(#[from] rustls::Error),
}

/// What the listeners and connections of one plane share.
#[derive(Clone)]
pub struct Plane {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    live: Arc<Live>,
}

impl Plane {
    /// Reads the files. `alpn`: protocols offered, the preferred one first.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(files: &Files, alpn: &[&str]) -> Result<Plane, Error> {
        let provider = Arc::new(provider(&files.protocol));
        let versions = versions(&files.protocol);
        let live = Arc::new(Live::load(files.clone(), provider.clone())?);
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions)?;
        let server = match files.trusted_ca {
            Some(_) => server.with_client_cert_verifier(Arc::new(ClientVerifier::new(live.clone()))),
            None => server.with_no_client_auth(),
        };
        let mut server = server.with_cert_resolver(Arc::new(Side::server(live.clone())));
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.alpn_protocols = alpn.clone();
        let of_servers: Arc<dyn ServerCertVerifier> = match files.self_signed {
            Some(_) => Arc::new(AnyServer::new(provider.signature_verification_algorithms)),
            None => Arc::new(ServerVerifier::new(live.clone())),
        };
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(of_servers)
            .with_client_cert_resolver(Arc::new(Side::client(live.clone())));
        client.resumption = rustls::client::Resumption::disabled();
        client.alpn_protocols = alpn;
        Ok(Plane { server: Arc::new(server), client: Arc::new(client), live })
    }

    /// Reads all files again; new connections use them.
    ///
    /// # Errors
    /// The first file that cannot be used; then nothing changes.
    pub fn reload(&self) -> Result<(), Error> {
        self.live.reload()
    }

    /// Lower-case hex sha256 of the CA file in use; empty without one.
    pub fn ca_sha256(&self) -> String {
        self.live.current().ca_sha256.clone()
    }
}

fn versions(protocol: &Protocol) -> Vec<&'static SupportedProtocolVersion> {
    [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)]
        .into_iter()
        .filter(|(version, _)| (protocol.min..=protocol.max).contains(version))
        .map(|(_, supported)| supported)
        .collect()
}

/// The suites of TLS 1.2 that were asked for, and all of TLS 1.3, which has no weak ones.
fn provider(protocol: &Protocol) -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    if !protocol.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            suite.tls13().is_some() || protocol.cipher_suites.iter().any(|wanted| wanted.0 == name)
        });
    }
    provider
}

#[cfg(test)]
mod tests;
