//! A running cluster as another process sees it: what commands beside the harness do with it.

use std::path::Path;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use quorate_harness::Identity;

use super::error::{Error, Result, io, kube as kube_error};
use super::layout::{Layout, node_name};
use super::namespace::Inside;
use super::node::import;
use super::state::{Phase, State};

/// A cluster that somebody else's harness runs.
#[derive(Debug)]
pub struct Attached {
    layout: Layout,
    state: State,
}

impl Attached {
    /// An error unless a live harness runs a ready cluster in the folder.
    pub fn open(root: &Path) -> Result<Self> {
        let not_running = || Error::NotRunning { root: root.into() };
        if !root.exists() {
            return Err(not_running());
        }
        let layout = Layout::open(root)?;
        let state = State::read(&layout).ok_or_else(not_running)?;
        if state.phase != Phase::Ready || !state.harness.is_alive() {
            return Err(not_running());
        }
        Ok(Self { layout, state })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn nodes(&self) -> u32 {
        self.state.nodes
    }

    /// The control plane's network namespace, from which pods, Services and nodes are reachable.
    pub fn lan(&self) -> Inside {
        Inside::network_of(self.state.lan_holder)
    }

    /// The process that keeps the control plane's network namespace.
    pub fn lan_holder(&self) -> u32 {
        self.state.lan_holder
    }

    /// A client of the API server with every right.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.layout.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Client::try_from(config).map_err(kube_error("make a client"))
    }

    /// Puts an image archive onto every node.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        for node in 1..=self.state.nodes {
            let file = self.layout.pid_file(&format!("{}-holder", node_name(node)));
            let holder = Identity::read(&file).filter(Identity::is_alive).ok_or(Error::NodeDown(node))?;
            import(Inside::machine_of(holder.pid), archive)?;
        }
        Ok(())
    }

    /// The programs that this cluster started, with whether each still runs.
    pub fn programs(&self) -> Result<Vec<(String, bool)>> {
        let folder = self.layout.root().join("run");
        let entries = std::fs::read_dir(&folder).map_err(io("list", &folder))?;
        let mut programs: Vec<(String, bool)> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| file.extension().is_some_and(|extension| extension == "pid"))
            .filter_map(|file| {
                let name = file.file_stem()?.to_string_lossy().into_owned();
                Some((name, Identity::read(&file).is_some_and(|identity| identity.is_alive())))
            })
            .collect();
        programs.sort();
        Ok(programs)
    }
}
