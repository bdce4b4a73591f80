//! Who may talk to a server and how: TLS of the client, peer and admin planes, and the operator's token.

use std::path::Path;

use super::error::Error;
use super::parse::Values;
use super::tls::{self, CIPHER_SUITES, Version};
use super::url::Url;
use super::{Admin, AdminAccess, Owner, Warning};

pub fn protocol(values: &Values) -> Result<tls::Protocol, Error> {
    let min = match values.text("tls-min-version").as_str() {
        "TLS1.3" => Version::Tls13,
        _ => Version::Tls12,
    };
    let max = match values.text("tls-max-version").as_str() {
        "TLS1.2" => Version::Tls12,
        _ => Version::Tls13,
    };
    if min > max {
        return Err(Error::TlsVersions { min: min.name(), max: max.name() });
    }
    let mut cipher_suites = Vec::new();
    for name in values.list("cipher-suites") {
        // The names that Go gave these two suites before they had a standard.
        let standard = match name.as_str() {
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            name => name,
        };
        match CIPHER_SUITES.iter().find(|suite| suite.0 == standard) {
            Some(suite) => cipher_suites.push(*suite),
            None => {
                let known = CIPHER_SUITES.map(|suite| suite.0).join(", ");
                return Err(Error::CipherSuite { name, known });
            }
        }
    }
    if min == Version::Tls13 && !cipher_suites.is_empty() {
        return Err(Error::CipherSuitesTls13);
    }
    Ok(tls::Protocol { min, max, cipher_suites })
}

/// Certificate and key of these two flags; one without the other is refused.
fn pair(values: &Values, cert: &'static str, key: &'static str) -> Result<Option<tls::Pair>, Error> {
    match (values.path(cert), values.path(key)) {
        (Some(certificate), Some(key)) => Ok(Some(tls::Pair { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::Pair { name: cert, missing: key }),
        (None, Some(_)) => Err(Error::Pair { name: key, missing: cert }),
    }
}

/// Which certificates of clients are taken; nothing without a CA that signs them.
const CLIENT_CERTIFICATE_RULES: [&str; 2] = ["client-crl-file", "client-cert-allowed-hostname"];
/// Which certificates of peers are taken, and what is presented to them.
const PEER_CERTIFICATE_RULES: [&str; 4] =
    ["peer-crl-file", "peer-cert-allowed-cn", "peer-cert-allowed-hostname", "peer-client-cert-file"];

/// Refuses flags that would do nothing without `missing`: who asks for certificates must not be served without.
fn refuse_without(values: &Values, missing: &'static str, names: &[&'static str]) -> Result<(), Error> {
    match names.iter().find(|name| values.is_given(name)) {
        Some(name) => Err(Error::Requires { name, missing }),
        None => Ok(()),
    }
}

/// Where this member's self-signed pairs are kept, below its data directory: etcd's places.
const SELF_SIGNED: &str = "fixtures";

/// The self-signed pair that `flag` asks for, for the hosts of these URLs; files that are given win.
fn self_signed(
    values: &Values,
    plane: &'static str,
    flag: &'static str,
    given: Option<&tls::Pair>,
    data_dir: &Path,
    urls: &[&[Url]],
    warnings: &mut Vec<Warning>,
) -> Result<Option<(tls::Pair, tls::SelfSigned)>, Error> {
    if !values.bool(flag) {
        return Ok(None);
    }
    if given.is_some() {
        warnings.push(Warning::SelfSignedIgnored { plane });
        return Ok(None);
    }
    let validity_years = values.uint32("self-signed-cert-validity");
    if validity_years == 0 {
        return Err(Error::SelfSignedValidity);
    }
    let mut hosts = Vec::new();
    for (host, _) in urls.iter().copied().flatten().filter_map(Url::host_port) {
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    let folder = data_dir.join(SELF_SIGNED).join(plane);
    let pair = tls::Pair { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    Ok(Some((pair, tls::SelfSigned { hosts, validity_years })))
}

pub fn client_tls(
    values: &Values,
    protocol: &tls::Protocol,
    data_dir: &Path,
    warnings: &mut Vec<Warning>,
) -> Result<Option<tls::Files>, Error> {
    let server = pair(values, "cert-file", "key-file")?;
    let urls = ["listen-client-urls", "listen-client-http-urls", "listen-metrics-urls"].map(|name| values.urls(name));
    let secure = urls.iter().flatten().find(|url| url.is_tls());
    let trusted_ca = values.path("trusted-ca-file");
    if values.bool("client-cert-auth") && trusted_ca.is_none() {
        return Err(Error::Requires { name: "client-cert-auth", missing: "trusted-ca-file" });
    }
    let made = self_signed(values, "client", "auto-tls", server.as_ref(), data_dir, &[&urls[0], &urls[1]], warnings)?;
    if let Some((server, made)) = made {
        // etcd would let everybody in; who asks for certificates must not be served without.
        refuse_without(values, "cert-file", &["client-cert-auth", "trusted-ca-file"])?;
        refuse_without(values, "cert-file", &CLIENT_CERTIFICATE_RULES)?;
        warn_unused("client", &urls[0], warnings);
        return Ok(Some(tls::Files::self_signed(server, made, protocol)));
    }
    let Some(server) = server else {
        return match secure {
            Some(url) => {
                Err(Error::TlsFilesMissing { plane: "client", url: url.clone(), cert: "cert-file", key: "key-file" })
            }
            None => {
                refuse_without(values, "cert-file", &["client-cert-auth", "trusted-ca-file"])?;
                refuse_without(values, "cert-file", &CLIENT_CERTIFICATE_RULES).map(|()| None)
            }
        };
    };
    if trusted_ca.is_none() {
        refuse_without(values, "trusted-ca-file", &CLIENT_CERTIFICATE_RULES)?;
    }
    warn_unused("client", &urls[0], warnings);
    Ok(Some(tls::Files {
        client: server.clone(),
        server,
        trusted_ca,
        revoked: values.path("client-crl-file"),
        allowed_common_names: Vec::new(),
        allowed_hostnames: values.list("client-cert-allowed-hostname"),
        protocol: protocol.clone(),
        self_signed: None,
    }))
}

fn warn_unused(plane: &'static str, urls: &[Url], warnings: &mut Vec<Warning>) {
    for url in urls.iter().filter(|url| !url.is_tls()) {
        warnings.push(Warning::TlsUnused { plane, url: url.clone() });
    }
}

pub fn peer_tls(
    values: &Values,
    protocol: &tls::Protocol,
    data_dir: &Path,
    warnings: &mut Vec<Warning>,
) -> Result<Option<tls::Files>, Error> {
    let server = pair(values, "peer-cert-file", "peer-key-file")?;
    let client = pair(values, "peer-client-cert-file", "peer-client-key-file")?;
    let trusted_ca = values.path("peer-trusted-ca-file");
    let urls = values.urls("listen-peer-urls");
    let secure = urls.iter().find(|url| url.is_tls());
    let allowed_common_names = values.list("peer-cert-allowed-cn");
    let allowed_hostnames = values.list("peer-cert-allowed-hostname");
    if !allowed_common_names.is_empty() && !allowed_hostnames.is_empty() {
        return Err(Error::Exclusive("peer-cert-allowed-cn", "peer-cert-allowed-hostname"));
    }
    if values.bool("peer-client-cert-auth") && trusted_ca.is_none() {
        return Err(Error::Requires { name: "peer-client-cert-auth", missing: "peer-trusted-ca-file" });
    }
    if let Some((server, made)) =
        self_signed(values, "peer", "peer-auto-tls", server.as_ref(), data_dir, &[&urls], warnings)?
    {
        refuse_without(values, "peer-cert-file", &["peer-client-cert-auth", "peer-trusted-ca-file"])?;
        refuse_without(values, "peer-cert-file", &PEER_CERTIFICATE_RULES)?;
        warn_unused("peer", &urls, warnings);
        return Ok(secure.map(|_| tls::Files::self_signed(server, made, protocol)));
    }
    let Some(server) = server else {
        return match secure {
            Some(url) => Err(Error::TlsFilesMissing {
                plane: "peer",
                url: url.clone(),
                cert: "peer-cert-file",
                key: "peer-key-file",
            }),
            None => {
                refuse_without(values, "peer-cert-file", &["peer-client-cert-auth", "peer-trusted-ca-file"])?;
                refuse_without(values, "peer-cert-file", &PEER_CERTIFICATE_RULES).map(|()| None)
            }
        };
    };
    warn_unused("peer", &urls, warnings);
    match (secure, &trusted_ca) {
        (None, _) => return Ok(None),
        (Some(url), None) => return Err(Error::PeerCaMissing(url.clone())),
        (Some(_), Some(_)) => {}
    }
    Ok(Some(tls::Files {
        client: client.unwrap_or_else(|| server.clone()),
        server,
        trusted_ca,
        revoked: values.path("peer-crl-file"),
        allowed_common_names,
        allowed_hostnames,
        protocol: protocol.clone(),
        self_signed: None,
    }))
}

pub fn admin(values: &Values, protocol: &tls::Protocol) -> Result<Option<Admin>, Error> {
    let urls = values.urls("listen-admin-urls");
    let server = pair(values, "admin-cert-file", "admin-key-file")?;
    let trusted_ca = values.path("admin-trusted-ca-file");
    let token = values.path("admin-token-file");
    let owner = owner(values)?;
    if urls.is_empty() {
        for (given, name) in [
            (server.is_some(), "admin-cert-file"),
            (trusted_ca.is_some(), "admin-trusted-ca-file"),
            (token.is_some(), "admin-token-file"),
            (owner.is_some(), "owner-uid"),
        ] {
            if given {
                return Err(Error::Requires { name, missing: "listen-admin-urls" });
            }
        }
        return Ok(None);
    }
    if token.is_some() && trusted_ca.is_some() {
        return Err(Error::Exclusive("admin-token-file", "admin-trusted-ca-file"));
    }
    let secure = urls.iter().all(Url::is_tls);
    if !secure && urls.iter().any(Url::is_tls) {
        return Err(Error::MixedSchemes("listen-admin-urls"));
    }
    let tls = match (secure, server) {
        (false, _) => None,
        (true, Some(server)) => Some(tls::Files {
            client: server.clone(),
            server,
            trusted_ca: trusted_ca.clone(),
            revoked: None,
            allowed_common_names: Vec::new(),
            allowed_hostnames: Vec::new(),
            protocol: protocol.clone(),
            self_signed: None,
        }),
        (true, None) => {
            let (cert, key) = ("admin-cert-file", "admin-key-file");
            return Err(Error::TlsFilesMissing { plane: "admin", url: urls[0].clone(), cert, key });
        }
    };
    let access = match (token, tls, trusted_ca) {
        (Some(file), tls, _) => AdminAccess::Token { file, tls },
        (None, Some(tls), Some(_)) => AdminAccess::MutualTls(tls),
        _ => return Err(Error::AdminUnprotected),
    };
    Ok(Some(Admin { urls, access, owner }))
}

fn owner(values: &Values) -> Result<Option<Owner>, Error> {
    let (uid, name) = (values.text("owner-uid"), values.text("owner-name"));
    match (uid.is_empty(), name.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Err(Error::Requires { name: "owner-uid", missing: "owner-name" }),
        (true, false) => Err(Error::Requires { name: "owner-name", missing: "owner-uid" }),
        (false, false) => Ok(Some(Owner { uid, name })),
    }
}
