//! The programs that a cluster is made of: ours from the workspace, the others from the cache that `make setup` fills.

use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// Built by scripts/tools.sh from e2e/tools/.
const CACHED: [&str; 9] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "etcd",
    "coredns",
    "pause",
];
/// Programs of the distribution with the package that holds them.
const PACKAGED: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
];
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const CNI_PLUGINS: [&str; 4] = ["ptp", "host-local", "portmap", "loopback"];

/// Folders with every program of a cluster in them.
#[derive(Debug, Clone)]
pub struct Tools {
    cached: PathBuf,
    /// Folder of the CNI plugins.
    pub cni: PathBuf,
}

impl Tools {
    /// Finds them all, or names the first that is missing and how to get it.
    pub fn find() -> Result<Self> {
        let cached = cache_folder().join("tools/bin");
        for program in CACHED {
            if !cached.join(program).exists() {
                return Err(Error::ToolMissing { program: program.into(), folder: cached });
            }
        }
        for (program, package) in PACKAGED {
            if on_path(program).is_none() {
                return Err(Error::PackageMissing { program: program.into(), package });
            }
        }
        let whole = |folder: &&&str| CNI_PLUGINS.iter().all(|plugin| Path::new(folder).join(plugin).exists());
        let cni = CNI_FOLDERS.iter().find(whole).ok_or_else(|| Error::PackageMissing {
            program: format!("one of the CNI plugins {}", CNI_PLUGINS.join(", ")),
            package: "containernetworking-plugins",
        })?;
        Ok(Self { cached, cni: cni.into() })
    }

    /// The real file of a cached program (the cache links to versioned folders).
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let link = self.cached.join(name);
        link.canonicalize().map_err(|_| Error::ToolMissing { program: name.into(), folder: self.cached.clone() })
    }
}

/// A program of the distribution, found as a shell of root would find it.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A program of this workspace, from the folder that cargo built the running program into.
pub fn workspace_program(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().unwrap_or_default();
    // Tests run from target/PROFILE/deps/, programs from target/PROFILE/.
    let folders: Vec<PathBuf> = running.ancestors().skip(1).take(2).map(Path::to_path_buf).collect();
    let found = folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or(Error::NotBuilt { program: name.into(), folders })
}

/// `$QUORATE_CACHE`, else what scripts/env.sh makes of the user's cache folder.
pub fn cache_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("QUORATE_CACHE") {
        return folder.into();
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("quorate")
}
