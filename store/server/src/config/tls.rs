//! TLS settings of a plane: which files, who may connect, which versions and ciphers. Nothing is read here.

use std::path::PathBuf;

/// Files and rules of one plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub server: Pair,
    /// Presented on outgoing connections; the server's pair unless another was given.
    pub client: Pair,
    /// CAs that sign the other side; `None`: clients need no certificate.
    pub trusted_ca: Option<PathBuf>,
    /// Revoked certificates of the other side.
    pub revoked: Option<PathBuf>,
    /// Common names of which the other side must carry one; empty: any.
    pub allowed_common_names: Vec<String>,
    /// Names (SAN) of which the other side must carry one; empty: any.
    pub allowed_hostnames: Vec<String>,
    pub protocol: Protocol,
    /// The server's pair is made where it is missing, and signed by itself.
    pub self_signed: Option<SelfSigned>,
}

impl Files {
    /// A plane with a pair that is made here, and nobody verified.
    pub fn self_signed(server: Pair, made: SelfSigned, protocol: &Protocol) -> Files {
        Files {
            client: server.clone(),
            server,
            trusted_ca: None,
            revoked: None,
            allowed_common_names: Vec::new(),
            allowed_hostnames: Vec::new(),
            protocol: protocol.clone(),
            self_signed: Some(made),
        }
    }
}

/// A pair that is made here: it encrypts, and proves nothing to who has not been given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// Names and addresses that it is made for.
    pub hosts: Vec<String>,
    /// At least 1; of 365 days each, as etcd counts.
    pub validity_years: u32,
}

/// Certificate and private key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub min: Version,
    pub max: Version,
    /// Suites of TLS 1.2 and their order; empty: all that are known.
    pub cipher_suites: Vec<CipherSuite>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub fn name(self) -> &'static str {
        match self {
            Version::Tls12 => "TLS1.2",
            Version::Tls13 => "TLS1.3",
        }
    }
}

/// A suite by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CipherSuite(pub &'static str);

/// The suites that can be chosen: those of TLS 1.2 with forward secrecy and authenticated encryption.
pub const CIPHER_SUITES: [CipherSuite; 6] = [
    CipherSuite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    CipherSuite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    CipherSuite("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    CipherSuite("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    CipherSuite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    CipherSuite("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];
