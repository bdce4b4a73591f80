//! Real handshakes in memory with certificates made here.

use super::*;

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::tls::{CIPHER_SUITES, Pair};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes certificate and key for `localhost` with this common name.
fn leaf(folder: &Path, file: &str, common_name: &str, ca: &Ca) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let pair = Pair { certificate: folder.join(format!("{file}.crt")), key: folder.join(format!("{file}.key")) };
    std::fs::write(&pair.certificate, params.signed_by(&key, ca).unwrap().pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}

fn files(folder: &Path, name: &str, common_name: &str, signer: &Ca, trusted: Option<&Ca>) -> Files {
    let server = leaf(folder, name, common_name, signer);
    let trusted_ca = trusted.map(|ca| {
        let path = folder.join(format!("{name}-ca.crt"));
        std::fs::write(&path, ca.pem()).unwrap();
        path
    });
    Files {
        client: server.clone(),
        server,
        trusted_ca,
        revoked: None,
        allowed_common_names: Vec::new(),
        allowed_hostnames: Vec::new(),
        protocol: Protocol { min: Version::Tls12, max: Version::Tls13, cipher_suites: Vec::new() },
        self_signed: None,
    }
}

/// The certificate that the client was shown and the suite, or why one of the two sides refused.
async fn handshake(server: &Plane, client: &Plane) -> Result<(Vec<u8>, String), String> {
    use tokio::io::AsyncReadExt;
    let (a, b) = tokio::io::duplex(1 << 16);
    let name = "localhost".try_into().unwrap();
    let accept = async {
        let mut stream = TlsAcceptor::from(server.server.clone()).accept(a).await?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"!").await
    };
    let connect = async {
        let mut stream = TlsConnector::from(client.client.clone()).connect(name, b).await?;
        // With TLS 1.3 a client learns only here that its certificate was refused.
        stream.read_u8().await?;
        let (_, session) = stream.get_ref();
        let suite = format!("{:?}", session.negotiated_cipher_suite().map(|suite| suite.suite()));
        Ok::<_, std::io::Error>((session.peer_certificates().unwrap()[0].to_vec(), suite))
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    match (accepted, connected) {
        (Ok(()), Ok(found)) => Ok(found),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn both_sides_must_present_a_certificate_of_the_ca() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ca("ours"), ca("theirs"));
    let load = |name: &str, signer: &Ca, trusted: &Ca| {
        Plane::load(&files(folder.path(), name, name, signer, Some(trusted)), &["h2"]).unwrap()
    };
    let a = load("a", &ours, &ours);
    let b = load("b", &ours, &ours);
    let stranger = load("stranger", &theirs, &ours);
    assert!(handshake(&a, &b).await.is_ok());
    let refused = handshake(&a, &stranger).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let refused = handshake(&stranger, &a).await.unwrap_err();
    assert!(refused.contains("UnknownCA") || refused.contains("UnknownIssuer"), "{refused}");
    assert_eq!(a.ca_sha256(), b.ca_sha256());
    assert_eq!(a.ca_sha256().len(), 64);
}

#[tokio::test]
async fn without_a_ca_any_client_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ca("ours"), ca("theirs"));
    let server = Plane::load(&files(folder.path(), "server", "s", &ours, None), &["h2"]).unwrap();
    let client = Plane::load(&files(folder.path(), "client", "c", &theirs, Some(&ours)), &["h2"]).unwrap();
    assert!(handshake(&server, &client).await.is_ok());
    assert_eq!(server.ca_sha256(), "");
}

#[tokio::test]
async fn only_allowed_names_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ca("ours");
    let client = Plane::load(&files(folder.path(), "client", "alice", &ours, Some(&ours)), &[]).unwrap();
    for (common_names, hostnames, admitted) in [
        (&["alice", "bob"][..], &[][..], true),
        (&["bob"], &[], false),
        (&[], &["localhost"], true),
        (&[], &["example.com", "127.0.0.1"], false),
    ] {
        let mut files = files(folder.path(), "server", "alice", &ours, Some(&ours));
        files.allowed_common_names = common_names.iter().map(|name| (*name).to_owned()).collect();
        files.allowed_hostnames = hostnames.iter().map(|name| (*name).to_owned()).collect();
        let server = Plane::load(&files, &[]).unwrap();
        assert_eq!(handshake(&server, &client).await.is_ok(), admitted, "{common_names:?} {hostnames:?}");
    }
}

#[tokio::test]
async fn versions_and_cipher_suites_are_those_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ca("ours");
    let mut files = files(folder.path(), "a", "a", &ours, Some(&ours));
    files.protocol.max = Version::Tls12;
    for suite in CIPHER_SUITES.into_iter().filter(|suite| suite.0.contains("ECDSA")) {
        files.protocol.cipher_suites = vec![suite];
        let plane = Plane::load(&files, &[]).unwrap();
        let (_, found) = handshake(&plane, &plane).await.unwrap();
        assert_eq!(found, format!("Some({})", suite.0));
    }
}

#[tokio::test]
async fn reloaded_files_are_used_by_the_next_connection_and_bad_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ca("ours");
    let client = Plane::load(&files(folder.path(), "client", "c", &ours, Some(&ours)), &[]).unwrap();
    let first = files(folder.path(), "server", "s", &ours, Some(&ours));
    let server = Plane::load(&first, &[]).unwrap();
    let (before, _) = handshake(&server, &client).await.unwrap();
    leaf(folder.path(), "server", "s", &ours);
    server.reload().unwrap();
    let (after, _) = handshake(&server, &client).await.unwrap();
    assert_ne!(before, after);

    let other = leaf(folder.path(), "other", "s", &ours);
    std::fs::copy(&other.key, &first.server.key).unwrap();
    let error = server.reload().unwrap_err().to_string();
    assert!(error.contains("do not belong together") && error.contains("server.key"), "{error}");
    assert_eq!(handshake(&server, &client).await.unwrap().0, after);
}

#[test]
fn unusable_files_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ca("ours");
    let good = files(folder.path(), "a", "a", &ours, Some(&ours));
    let text = folder.path().join("text");
    std::fs::write(&text, "hello").unwrap();
    let absent = folder.path().join("absent");
    for (change, expected) in [
        (
            Files { server: Pair { certificate: absent.clone(), ..good.server.clone() }, ..good.clone() },
            "cannot read certificate",
        ),
        (
            Files { server: Pair { certificate: text.clone(), ..good.server.clone() }, ..good.clone() },
            "holds no certificate",
        ),
        (Files { server: Pair { key: text.clone(), ..good.server.clone() }, ..good.clone() }, "is not PEM"),
        (Files { trusted_ca: Some(text.clone()), ..good.clone() }, "holds no CA"),
        (Files { trusted_ca: Some(absent.clone()), ..good.clone() }, "cannot read CA"),
        (Files { revoked: Some(absent), ..good.clone() }, "cannot read revocation list"),
    ] {
        let Err(error) = Plane::load(&change, &[]) else { panic!("accepted; expected {expected}") };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
