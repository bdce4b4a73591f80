//! TLS for clients: the CA that vouches for servers, and the certificate the client shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// Files of PEM. Without a CA only `skip_verify` can reach anyone: there is no fallback to the system's roots, because a
/// cluster's servers are signed by its own CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub ca: Option<PathBuf>,
    /// The certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Takes any server certificate; for tests only.
    pub skip_verify: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")]
    HalfIdentity { key: String, cert: String },
    #[error("open {}: {}", .path.display(), reason(.source))]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{} holds no {what} in PEM: {source}", .path.display())]
    Pem { path: PathBuf, what: &'static str, source: rustls_pki_types::pem::Error },
    #[error("{} holds a certificate that cannot be used: {source}", .path.display())]
    Certificate { path: PathBuf, source: rustls::Error },
    #[error("no CA to verify servers with: give --cacert, or --insecure-skip-tls-verify for tests")]
    NoCa,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The system's reason without Rust's number behind it, as other tools print it.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// Reads the files and makes rustls' configuration for HTTP/2.
pub fn config(options: &Options) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let identity = options.identity.as_ref().map(|(cert, key)| identity(cert, key)).transpose()?;
    let builder = if options.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        let ca = options.ca.as_ref().ok_or(Error::NoCa)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider)
            .build()
            .map_err(|error| Error::Setup(rustls::Error::General(error.to_string())))?;
        builder.with_webpki_verifier(verifier)
    };
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| Error::Certificate { path: path.into(), source })?;
    }
    Ok(roots)
}

fn identity(cert: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = certificates(cert)?;
    let pem = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|source| Error::Pem {
        path: key.into(),
        what: "private key",
        source,
    })?;
    Ok((chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let error = |source| Error::Pem { path: path.into(), what: "certificate", source };
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(error)?;
    if certificates.is_empty() {
        return Err(error(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Open { path: path.into(), source })
}

/// Takes every server; signatures are still checked, so that the connection is at least encrypted to its holder.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let options = Options { ca: Some("/nonexistent".into()), ..Options::default() };
        assert_eq!(config(&options).unwrap_err().to_string(), "open /nonexistent: no such file or directory");
    }

    #[test]
    fn without_a_ca_only_skipping_verification_works() {
        assert!(matches!(config(&Options::default()), Err(Error::NoCa)));
        let config = config(&Options { skip_verify: true, ..Options::default() }).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
    }
}
