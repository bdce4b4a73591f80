//! `Admin.ReloadTls`: what is on disk counts from the next connection on, and what cannot be used changes nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use quorate_api::admin;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use sha2::{Digest, Sha256};
use tonic::Code;

use crate::handshake::{self, Stream};
use crate::member::{Member, authorized};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, PEM.
fn leaf(ca: &Ca) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

/// The files of a listener, replaced as a mounted Secret's are: each at once.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(folder: &Path, name: &str) -> Files {
        Files { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
    }

    fn write(&self, certificate: &str, key: &str) {
        for (path, text) in [(&self.certificate, certificate), (&self.key, key)] {
            let beside = path.with_extension("new");
            fs::write(&beside, text).unwrap();
            fs::rename(beside, path).unwrap();
        }
    }
}

/// The flags of a plane with TLS and a bundle of its own.
fn plane(prefix: &str, files: &Files, bundle: &Path) -> Vec<String> {
    let flag = |name: &str, path: &Path| format!("--{prefix}{name}={}", path.display());
    vec![flag("cert-file", &files.certificate), flag("key-file", &files.key), flag("trusted-ca-file", bundle)]
}

/// Its client listener with TLS.
fn with_client_plane(member: Member, files: &Files, bundle: &Path) -> Member {
    let url = format!("https://127.0.0.1:{}", member.client);
    let urls = [format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")];
    urls.into_iter().chain(plane("", files, bundle)).fold(member, |member, flag| member.with_flag(&flag))
}

fn sha256_of(path: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}

/// Asks for the version over a connection that stays open.
fn version(stream: &mut Stream) -> String {
    write!(stream, "GET /version HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

async fn reload(member: &Member) -> Result<admin::ReloadTlsResponse, tonic::Status> {
    Ok(member.admin().reload_tls(authorized(admin::ReloadTlsRequest {})).await?.into_inner())
}

#[tokio::test]
async fn a_new_leaf_is_shown_from_the_next_handshake_on_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = ca();
    let files = Files::new(folder.path(), "client");
    let (first, first_key) = leaf(&issuer);
    files.write(&first, &first_key);
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    let url = format!("https://127.0.0.1:{}", member.client);
    member = member
        .with_flag(&format!("--listen-client-urls={url}"))
        .with_flag(&format!("--advertise-client-urls={url}"))
        .with_flag(&format!("--cert-file={}", files.certificate.display()))
        .with_flag(&format!("--key-file={}", files.key.display()));
    member.start();
    member.until(|state| state.leader_id != 0).await;
    let shown = || handshake::shown(&handshake::connect(member.client, &issuer.pem()).unwrap());
    // Clients are served a little later than the operator.
    let mut old = loop {
        match handshake::connect(member.client, &issuer.pem()) {
            Ok(stream) => break stream,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(handshake::shown(&old), handshake::der(&first));
    assert!(version(&mut old).contains("etcdserver"));

    let (second, second_key) = leaf(&issuer);
    files.write(&second, &second_key);
    let reloaded = reload(&member).await.unwrap();
    assert_eq!((reloaded.client_ca_sha256, reloaded.peer_ca_sha256), (String::new(), String::new()), "there is no CA");
    assert_eq!(shown(), handshake::der(&second));
    assert!(version(&mut old).contains("etcdserver"), "what was connected before goes on");

    let (third, third_key) = leaf(&issuer);
    for (certificate, key, at_fault, text) in [
        (third.as_str(), second_key.as_str(), &files.certificate, "do not belong together"),
        (third.as_str(), "no key", &files.key, "private key"),
        ("no certificate", third_key.as_str(), &files.certificate, "certificate"),
    ] {
        files.write(certificate, key);
        let status = reload(&member).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        for text in [at_fault.to_str().unwrap(), text] {
            assert!(status.message().contains(text), "{text:?} is missing in {status}");
        }
        assert_eq!(shown(), handshake::der(&second), "the old one stays in force");
    }
    files.write(&third, &third_key);
    fs::remove_file(&files.key).unwrap();
    let status = reload(&member).await.unwrap_err();
    assert!(status.message().contains(files.key.to_str().unwrap()), "{status}");

    files.write(&third, &third_key);
    reload(&member).await.unwrap();
    assert_eq!(shown(), handshake::der(&third));
    assert!(version(&mut old).contains("etcdserver"));
}

#[tokio::test]
async fn the_leaf_of_the_admin_listener_is_reloaded_too_and_the_bundle_in_force_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = ca();
    let (files, bundle) = (Files::new(folder.path(), "admin"), folder.path().join("ca.crt"));
    let (first, first_key) = leaf(&issuer);
    files.write(&first, &first_key);
    fs::write(&bundle, issuer.pem()).unwrap();
    let mut member = Member::static_cluster(folder.path(), 1).remove(0);
    // A second listener with TLS would need a token of its own: the operator's is asked over TLS alone.
    let admin_url = format!("https://127.0.0.1:{}", member.admin);
    member = with_client_plane(member, &files, &bundle)
        .with_flag(&format!("--listen-admin-urls={admin_url}"))
        .with_flag(&format!("--admin-cert-file={}", files.certificate.display()))
        .with_flag(&format!("--admin-key-file={}", files.key.display()));
    member.start();
    let admin = || {
        let tls = tonic::transport::ClientTlsConfig::new()
            .ca_certificate(tonic::transport::Certificate::from_pem(issuer.pem()));
        let endpoint = tonic::transport::Endpoint::from_shared(admin_url.clone()).unwrap().tls_config(tls).unwrap();
        quorate_api::admin::admin_client::AdminClient::new(endpoint.connect_lazy())
    };
    while admin().member_state(authorized(admin::MemberStateRequest {})).await.is_err() {
        assert!(member.is_running(), "{}", member.log());
        tokio::task::yield_now().await;
    }
    let (second, second_key) = leaf(&issuer);
    files.write(&second, &second_key);
    let other = ca();
    fs::write(&bundle, issuer.pem() + &other.pem()).unwrap();
    let reloaded = admin().reload_tls(authorized(admin::ReloadTlsRequest {})).await.unwrap().into_inner();
    assert_eq!(reloaded.client_ca_sha256, sha256_of(&bundle));
    let stream = handshake::connect(member.admin, &issuer.pem()).unwrap();
    assert_eq!(handshake::shown(&stream), handshake::der(&second));
}

#[tokio::test]
async fn the_state_tells_the_bundle_in_force_of_each_plane_and_another_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = ca();
    let files = Files::new(folder.path(), "leaf");
    let (certificate, key) = leaf(&issuer);
    files.write(&certificate, &key);
    let (clients, peers) = (folder.path().join("clients.crt"), folder.path().join("peers.crt"));
    fs::write(&clients, issuer.pem() + &ca().pem()).unwrap();
    fs::write(&peers, issuer.pem()).unwrap();
    let flags = plane("peer-", &files, &peers);
    let mut member = Member::static_cluster_with_peer_tls(folder.path(), 1, &flags).remove(0);
    member = with_client_plane(member, &files, &clients);
    member.start();
    let first = member.until(|state| state.leader_id != 0).await;
    assert_eq!((&first.client_ca_sha256, &first.peer_ca_sha256), (&sha256_of(&clients), &sha256_of(&peers)));
    fs::write(&peers, issuer.pem() + &ca().pem()).unwrap();
    reload(&member).await.unwrap();
    let second = member.until(|_| true).await;
    assert_eq!((&second.client_ca_sha256, &second.peer_ca_sha256), (&sha256_of(&clients), &sha256_of(&peers)));
    assert_ne!(second.peer_ca_sha256, first.peer_ca_sha256);
}

#[tokio::test]
async fn a_member_that_waits_for_admission_tells_its_bundle_too() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = ca();
    let (files, bundle) = (Files::new(folder.path(), "leaf"), folder.path().join("ca.crt"));
    let (certificate, key) = leaf(&issuer);
    files.write(&certificate, &key);
    fs::write(&bundle, issuer.pem()).unwrap();
    let mut member = Member::awaiting(folder.path(), "a");
    member = with_client_plane(member, &files, &bundle);
    member.start();
    let state = member.until(|state| state.phase() == admin::Phase::AwaitingAdmission).await;
    assert_eq!((state.client_ca_sha256, state.peer_ca_sha256.as_str()), (sha256_of(&bundle), ""));
}
