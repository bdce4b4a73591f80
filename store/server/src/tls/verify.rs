//! Verifies the other side with the CA in use, and the names that a plane asks for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::live::Live;
use super::material::Verifiers;
use crate::config::tls::Files;

/// Lets in only clients with a certificate of the CA.
#[derive(Debug)]
pub struct ClientVerifier(Arc<Live>);

/// Talks only to servers with a certificate of the CA for the name that was dialed.
#[derive(Debug)]
pub struct ServerVerifier(Arc<Live>);

/// Talks to any server that holds the key of the certificate which it shows, whosever it is: self-signed ones prove no more.
#[derive(Debug)]
pub struct AnyServer(WebPkiSupportedAlgorithms);

impl AnyServer {
    pub fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        AnyServer(algorithms)
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl ClientVerifier {
    pub fn new(live: Arc<Live>) -> Self {
        ClientVerifier(live)
    }
}

impl ServerVerifier {
    pub fn new(live: Arc<Live>) -> Self {
        ServerVerifier(live)
    }
}

/// Without a CA nobody can be verified, so nobody is.
fn no_ca() -> Error {
    Error::General("no CA to verify the other side with".to_owned())
}

fn with<T>(live: &Live, check: impl FnOnce(&Verifiers) -> Result<T, Error>) -> Result<T, Error> {
    live.fresh().verifiers.as_ref().ok_or_else(no_ca).and_then(check)
}

/// Whether the certificate carries one of the names that the plane asks for.
fn check_names(files: &Files, certificate: &CertificateDer<'_>) -> Result<(), Error> {
    if files.allowed_common_names.is_empty() && files.allowed_hostnames.is_empty() {
        return Ok(());
    }
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let common_name = parsed
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok())
        .any(|name| files.allowed_common_names.iter().any(|allowed| allowed == name));
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let hostname = alternative.iter().flat_map(|names| &names.value.general_names).any(|name| match name {
        GeneralName::DNSName(name) => files.allowed_hostnames.iter().any(|allowed| covers(name, allowed)),
        GeneralName::IPAddress(bytes) => address(bytes)
            .is_some_and(|address| files.allowed_hostnames.iter().any(|allowed| allowed.parse() == Ok(address))),
        _ => false,
    });
    if common_name || hostname {
        return Ok(());
    }
    tracing::warn!(subject = %parsed.subject(), "refused a certificate that carries none of the allowed names");
    Err(CertificateError::ApplicationVerificationFailure.into())
}

/// Whether a name of a certificate, which may begin with `*.`, stands for a host.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    }
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(Into::into),
        16 => <[u8; 16]>::try_from(bytes).ok().map(Into::into),
        _ => None,
    }
}

impl ClientCertVerifier for ClientVerifier {
    /// Names no CA, since the list could not follow the file; clients then send what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = with(&self.0, |ca| ca.of_clients.verify_client_cert(end_entity, intermediates, now))?;
        check_names(self.0.files(), end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        with(&self.0, |ca| ca.of_clients.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        with(&self.0, |ca| ca.of_clients.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().verifiers.as_ref().map_or_else(Vec::new, |ca| ca.of_clients.supported_verify_schemes())
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = with(&self.0, |ca| {
            ca.of_servers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        })?;
        check_names(self.0.files(), end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        with(&self.0, |ca| ca.of_servers.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        with(&self.0, |ca| ca.of_servers.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().verifiers.as_ref().map_or_else(Vec::new, |ca| ca.of_servers.supported_verify_schemes())
    }
}
