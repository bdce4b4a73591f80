//! What can go wrong between this machine and a ready cluster; every message ends in what to do next.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the local Kubernetes needs root (namespaces, mounts, cgroups): run it with sudo")]
    NotRoot,
    #[error("{program} is not in {}: run `make setup`, which builds it into the cache", folder.display())]
    ToolMissing { program: String, folder: PathBuf },
    #[error("{program} is not on this machine: run `make setup`, which installs package {package}")]
    PackageMissing { program: String, package: &'static str },
    #[error("{program} is not beside this program (looked in {}): build it with `scripts/cargo build -p {program}`", folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "))]
    NotBuilt { program: String, folders: Vec<PathBuf> },
    #[error("{what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: nix::Error },
    #[error("`{command}` failed ({status}): {stderr}")]
    Command { command: String, status: ExitStatus, stderr: String },
    #[error("{name} ended ({status}); the end of {}:\n{tail}", log.display())]
    Ended { name: String, status: ExitStatus, log: PathBuf, tail: String },
    #[error("{what} did not happen within {} s; look into {}", limit.as_secs(), logs.display())]
    Timeout { what: String, limit: Duration, logs: PathBuf },
    #[error("process {pid} runs a cluster in {}: stop it first (quorate-local down --state-dir {})", root.display(), root.display())]
    Busy { root: PathBuf, pid: String },
    #[error("{} holds files that no cluster made ({entry}): choose an empty folder", root.display())]
    FolderNotOurs { root: PathBuf, entry: String },
    #[error("{0} nodes are not supported: choose 1 to {max}", max = super::layout::NODES_MAX)]
    NodeCount(u32),
    #[error("there is no node {0} in this cluster")]
    NoSuchNode(u32),
    #[error("node {0} is not running: restart it first")]
    NodeDown(u32),
    #[error("processes {pids:?} of the cluster did not end within {} s of SIGKILL: see `ps` for what they wait on", limit.as_secs())]
    Unkillable { pids: Vec<i32>, limit: Duration },
    #[error("no cluster runs in {}: start one with `quorate-local up`", root.display())]
    NotRunning { root: PathBuf },
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{what}: {source}")]
    Kube { what: String, source: Box<kube::Error> },
    #[error("{what}: {source}")]
    Manifest { what: String, source: serde_yaml::Error },
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names what was being done to which path when an I/O error came back.
pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { what, path, source }
}

pub(crate) fn system(what: &'static str) -> impl FnOnce(nix::Error) -> Error {
    move |source| Error::System { what, source }
}

pub(crate) fn kube(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |source| Error::Kube { what, source: Box::new(source) }
}
