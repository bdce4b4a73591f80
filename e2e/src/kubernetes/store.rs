//! The API server's own store: one member, over TLS, clients with certificates only. Quorate and etcd take the same
//! flags, so either can stand here.

use std::fs;
use std::path::PathBuf;

use super::error::{Result, io};
use super::layout::Layout;
use super::process::Program;
use super::tools::{Tools, workspace_program};

pub const CLIENT_URL: &str = "https://127.0.0.1:2379";
const PEER_URL: &str = "https://127.0.0.1:2380";
/// Both print this once they serve.
const READY: &str = "ready to serve client requests";

/// Which program keeps the cluster's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// This workspace's `quorate`.
    #[default]
    Quorate,
    /// etcd from the cache, to compare with.
    Etcd,
}

impl Store {
    fn program(self, tools: &Tools) -> Result<PathBuf> {
        match self {
            Self::Quorate => workspace_program("quorate"),
            Self::Etcd => tools.program("etcd"),
        }
    }

    pub fn command(self, tools: &Tools, layout: &Layout) -> Result<Program> {
        let data = layout.store_data().join("data");
        let pki = |file: &str| layout.pki(file).display().to_string();
        Ok(Program::new("store", self.program(tools)?).arguments([
            "--name=store".to_owned(),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={CLIENT_URL}"),
            format!("--advertise-client-urls={CLIENT_URL}"),
            format!("--listen-peer-urls={PEER_URL}"),
            format!("--initial-advertise-peer-urls={PEER_URL}"),
            format!("--initial-cluster=store={PEER_URL}"),
            format!("--cert-file={}", pki("store.crt")),
            format!("--key-file={}", pki("store.key")),
            format!("--trusted-ca-file={}", pki("store-ca.crt")),
            "--client-cert-auth".to_owned(),
            format!("--peer-cert-file={}", pki("store.crt")),
            format!("--peer-key-file={}", pki("store.key")),
            format!("--peer-trusted-ca-file={}", pki("store-ca.crt")),
            "--peer-client-cert-auth".to_owned(),
        ]))
    }
}

/// How often the store has reported itself ready in its log, over all of its lives.
pub fn times_ready(layout: &Layout) -> Result<usize> {
    let log = layout.log("store");
    match fs::read_to_string(&log) {
        Ok(text) => Ok(text.matches(READY).count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io("read", log)(error)),
    }
}
