//! Where everything of one cluster stands: its folder, its name in the cgroup tree and its addresses.
//!
//! Addresses are the same for every cluster, because each lives in network namespaces of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{Error, Result, io};

/// Most nodes of one cluster: the addresses below give each node one digit.
pub const NODES_MAX: u32 = 5;

/// The control plane on the cluster's LAN, and the gateway of the nodes.
pub const LAN_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// Port of the API server on [`LAN_ADDRESS`].
pub const API_PORT: u16 = 6443;
pub const SERVICE_SUBNET: &str = "10.96.0.0/16";
/// First address of the services: `kubernetes.default`.
pub const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub const POD_SUBNETS: &str = "10.244.0.0/16";
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// File that marks a folder as one of ours; nothing is ever deleted in a folder without it.
const MARKER: &str = "quorate-local.cluster";
/// Everything that a cluster writes into its folder. `remove` deletes these and nothing else.
const ENTRIES: [&str; 8] = ["pki", "log", "run", "store", "nodes", "kubeconfig", "cluster.json", "control.sock"];

/// The folder of one cluster.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    id: String,
}

impl Layout {
    /// Makes the folder if it is missing. Refuses one that holds files which no cluster wrote.
    pub fn prepare(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(io("make the folder", root))?;
        let layout = Self::open(root)?;
        let marker = layout.root.join(MARKER);
        if !marker.exists() {
            if let Some(entry) = fs::read_dir(&layout.root).map_err(io("list", &layout.root))?.next() {
                let entry = entry.map_err(io("list", &layout.root))?.file_name().to_string_lossy().into_owned();
                return Err(Error::FolderNotOurs { root: layout.root, entry });
            }
            fs::write(&marker, "").map_err(io("write", &marker))?;
        }
        layout.make_folders()?;
        Ok(layout)
    }

    /// The layout of a folder that may or may not hold a cluster; writes nothing. The folder must exist.
    pub fn open(root: &Path) -> Result<Self> {
        let root = root.canonicalize().map_err(io("find the folder", root))?;
        let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
        let id = format!("quorate-{}", &hex::encode(digest)[..8]);
        Ok(Self { root, id })
    }

    /// Whether this folder was made by [`Layout::prepare`].
    pub fn is_ours(&self) -> bool {
        self.root.join(MARKER).exists()
    }

    pub fn make_folders(&self) -> Result<()> {
        for folder in ["pki", "log", "run", "store", "nodes"] {
            let folder = self.root.join(folder);
            fs::create_dir_all(&folder).map_err(io("make the folder", &folder))?;
        }
        Ok(())
    }

    /// Deletes what clusters wrote here, but not the folder, its marker, its lock and the output of its supervisor.
    pub fn clear(&self) -> Result<()> {
        for entry in ENTRIES {
            let path = self.root.join(entry);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("delete", path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes everything, and the folder too unless somebody else put files into it.
    pub fn remove(&self) -> Result<()> {
        self.clear()?;
        for file in [self.progress(), self.lock(), self.root.join(MARKER)] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("delete", file)(error)),
                _ => {}
            }
        }
        // Not empty means that it holds somebody's files: those stay.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Name of the cluster in the cgroup tree, one for each folder.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.root.join("run").join(format!("{name}.pid"))
    }

    pub fn store_data(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Admin's kubeconfig for this machine's own namespace (through the relay).
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// What `status` reads: see [`super::state::State`].
    pub fn state(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// What a supervisor prints.
    pub fn progress(&self) -> PathBuf {
        self.root.join("progress.log")
    }

    /// Socket on which a supervisor takes requests for faults.
    pub fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Held by the harness for as long as it runs the cluster.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The folder that node `node` sees as its `/var/lib`: its disk.
    pub fn node_disk(&self, node: u32) -> PathBuf {
        self.root.join("nodes").join(node.to_string())
    }
}

pub fn node_name(node: u32) -> String {
    format!("node{node}")
}

pub fn node_address(node: u32) -> Ipv4Addr {
    assert!((1..=NODES_MAX).contains(&node), "nodes count from 1 to {NODES_MAX}");
    let [a, b, c, _] = LAN_ADDRESS.octets();
    Ipv4Addr::new(a, b, c, 10 + u8::try_from(node).expect("at most NODES_MAX"))
}

pub fn pod_subnet(node: u32) -> String {
    format!("10.244.{node}.0/24")
}

pub fn api_address() -> SocketAddr {
    (LAN_ADDRESS, API_PORT).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_somebodys_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let refused = Layout::prepare(folder.path());
        assert!(matches!(refused, Err(Error::FolderNotOurs { entry, .. }) if entry == "thesis.tex"));
    }

    #[test]
    fn removing_a_cluster_spares_what_somebody_put_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(folder.path()).unwrap();
        fs::write(layout.pki("ca.key"), "").unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        layout.remove().unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["thesis.tex"]);
    }

    #[test]
    fn a_removed_cluster_takes_its_folder_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cluster");
        Layout::prepare(&root).unwrap().remove().unwrap();
        assert!(!root.exists());
    }
}
