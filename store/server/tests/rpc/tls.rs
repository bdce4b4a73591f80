//! A server with client certificates required, and one that makes its own certificate.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use quorate_api::etcdserverpb::{self as pb};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::client::Client;
use crate::process::Server;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key in PEM for 127.0.0.1.
fn leaf(ca: &Ca) -> (String, String) {
    numbered_leaf(ca, rand::random())
}

fn numbered_leaf(ca: &Ca, serial: u64) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

/// A list in PEM that revokes this serial number.
fn revocation(ca: &Ca, serial: u64) -> String {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2120, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().pem().unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server with a certificate of the CA that it trusts, its files in the folder.
fn server(folder: &Path, ca: &Ca, more: &[&str]) -> Server {
    let (certificate, key) = leaf(ca);
    let certificate = write(folder, "server.crt", &certificate);
    let key = write(folder, "server.key", &key);
    let trusted = write(folder, "ca.crt", &ca.pem());
    let files = ["--cert-file", &certificate, "--key-file", &key, "--trusted-ca-file", &trusted];
    Server::quorate_tls(&[&files, more].concat())
}

async fn connect(
    server: &Server,
    trusted: &Ca,
    identity: Option<(String, String)>,
) -> Result<Client, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.pem()));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::try_from(format!("https://{}", server.address())).unwrap().tls_config(tls)?;
    Ok(Client::over(endpoint.connect().await?))
}

async fn can_read(client: Result<Client, tonic::transport::Error>) -> bool {
    let Ok(mut client) = client else { return false };
    let request = pb::RangeRequest { key: "k".into(), ..Default::default() };
    client.kv.range(request).await.is_ok()
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_ca_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ca(), ca());
    let server = server(folder.path(), &ours, &["--client-cert-auth"]);
    assert!(server.folder().join("data").exists());
    assert!(can_read(connect(&server, &ours, Some(leaf(&ours))).await).await);
    assert!(!can_read(connect(&server, &ours, None).await).await);
    assert!(!can_read(connect(&server, &ours, Some(leaf(&theirs))).await).await);
    assert!(!can_read(connect(&server, &theirs, Some(leaf(&ours))).await).await);
}

#[tokio::test]
async fn a_client_whose_certificate_was_revoked_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ca();
    let list = write(folder.path(), "crl.pem", &revocation(&ours, 7));
    let server = server(folder.path(), &ours, &["--client-crl-file", &list]);
    assert!(can_read(connect(&server, &ours, Some(numbered_leaf(&ours, 8))).await).await);
    assert!(!can_read(connect(&server, &ours, Some(numbered_leaf(&ours, 7))).await).await);
}

#[tokio::test]
async fn a_server_with_auto_tls_serves_who_was_given_its_certificate() {
    let server = Server::quorate_tls(&["--auto-tls", "--self-signed-cert-validity=2"]);
    let made = server.folder().join("data/fixtures/client");
    let certificate = std::fs::read_to_string(made.join("cert.pem")).unwrap();
    for name in ["cert.pem", "key.pem"] {
        let mode = std::fs::metadata(made.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let validity = parsed.validity();
    let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert_eq!(seconds, 2 * 365 * 24 * 60 * 60, "etcd's years");

    let read = async |trusted: &str| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted));
        let endpoint = Endpoint::try_from(format!("https://{}", server.address())).unwrap().tls_config(tls).unwrap();
        can_read(endpoint.connect().await.map(Client::over)).await
    };
    assert!(read(&certificate).await);
    assert!(!read(&ca().pem()).await);
}

#[tokio::test]
async fn files_that_are_given_win_over_auto_tls() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ca();
    let server = server(folder.path(), &ours, &["--auto-tls"]);
    assert!(can_read(connect(&server, &ours, Some(leaf(&ours))).await).await);
    assert!(!server.folder().join("data/fixtures").exists());
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("ignoring client auto TLS since certs given"), "{log}");
}
