//! A running cluster: how to reach it, and what can go wrong with it on purpose.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::{Api, Client};

use super::cgroup::Cgroup;
use super::cleanup::clean;
use super::error::{Error, Result, kube as kube_error};
use super::layout::{Layout, node_name};
use super::node::{Fabric, Node};
use super::process::{Process, run};
use super::provisioner::Provisioner;
use super::relay::{Dialer, Relay};
use super::start::Builder;
use super::state::Lock;
use super::store::{Store, times_ready};
use super::wait::Deadline;
use super::{manifests, network};

/// A store of a few megabytes opens in well under a second.
const STORE_LIMIT: Duration = Duration::from_secs(60);
/// A silent node is NotReady after ten seconds; a killed one is Ready a few seconds after its start.
const NODE_LIMIT: Duration = Duration::from_secs(60);

/// Everything runs until [`Cluster::stop`]. Dropping ends the processes too, but leaves the folder with its logs.
pub struct Cluster {
    pub(super) fabric: Arc<Fabric>,
    pub(super) cgroup: Cgroup,
    pub(super) store: Store,
    pub(super) client: Client,
    pub(super) dialer: Dialer,
    pub(super) parts: Mutex<Parts>,
    /// Lead to the API server and provision volumes for as long as the cluster exists.
    pub(super) services: Option<(Relay, Provisioner)>,
    pub(super) lock: Lock,
    pub(super) stopped: bool,
}

/// What faults change.
#[derive(Debug)]
pub(super) struct Parts {
    /// `None` while it is killed.
    pub store: Option<Process>,
    pub control_plane: Vec<Process>,
    pub nodes: Vec<Node>,
    /// Nodes whose cable is cut.
    pub cut: Vec<u32>,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    Running,
    /// Its cable is cut.
    CutOff,
    Killed,
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::CutOff => "cut off",
            Self::Killed => "without power",
        })
    }
}

impl Cluster {
    /// A cluster in the folder `root`, which is made, and emptied of what a dead cluster left there.
    pub fn builder(root: impl Into<PathBuf>) -> Builder {
        Builder::new(root.into())
    }

    /// A client of the API server with every right.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The admin's kubeconfig, for programs in this machine's own namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout().kubeconfig()
    }

    pub fn layout(&self) -> &Layout {
        &self.fabric.layout
    }

    pub fn nodes(&self) -> u32 {
        self.fabric.nodes
    }

    /// The process that keeps the control plane's network namespace.
    pub fn lan_holder(&self) -> u32 {
        self.fabric.lan.holder_id()
    }

    /// Runs `kubectl` with the admin's rights to its end and returns what it printed.
    pub fn kubectl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let kubectl = self.fabric.tools.program("kubectl")?;
        run(Command::new(kubectl).arg("--kubeconfig").arg(self.kubeconfig()).args(arguments))
    }

    /// Applies YAML documents one after the other on the server's side.
    pub async fn apply(&self, text: &str) -> Result<()> {
        manifests::apply(&self.client, text).await
    }

    /// Puts an image archive onto every running node.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        let parts = self.parts();
        std::thread::scope(|scope| {
            let running = parts.nodes.iter().filter(|node| node.is_running());
            let imports: Vec<_> = running.map(|node| scope.spawn(move || node.import(archive))).collect();
            imports.into_iter().try_for_each(|import| import.join().expect("an import returns its errors"))
        })
    }

    /// Runs `work` in the control plane's network namespace: pods, Services and nodes are reachable from there, and so
    /// are they for the processes that it starts.
    pub fn in_lan<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.fabric.lan.enter(work)
    }

    /// Makes connections from this process into the cluster.
    pub fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    /// A port on this machine's loopback that leads to an address of a pod, a Service or a node. `port` 0 takes any.
    pub async fn forward(&self, target: std::net::SocketAddr, port: u16) -> Result<Relay> {
        Relay::start(self.dialer(), target, port).await
    }

    /// `kill -9` of the API server's store.
    pub fn kill_store(&self) -> Result<()> {
        match self.parts().store.take() {
            Some(mut store) => store.kill(),
            None => Ok(()),
        }
    }

    /// Starts the store again on its data, and returns once it serves.
    pub fn restart_store(&self) -> Result<()> {
        self.kill_store()?;
        let store = start_store(self.store, &self.fabric, &self.cgroup)?;
        self.parts().store = Some(store);
        Ok(())
    }

    /// Cuts the node's cable. Its pods run on and nobody reaches them.
    pub fn partition(&self, node: u32) -> Result<()> {
        let mut parts = self.parts();
        parts.node(node)?;
        self.in_lan(|| network::set_cable(node, false))?;
        parts.cut.push(node);
        self.route_services(&parts)
    }

    /// Mends the node's cable.
    pub fn heal(&self, node: u32) -> Result<()> {
        let mut parts = self.parts();
        parts.node(node)?;
        self.in_lan(|| network::set_cable(node, true))?;
        parts.cut.retain(|&cut| cut != node);
        self.route_services(&parts)
    }

    /// Pulls the node's plug: kubelet, containerd and every pod are killed, mounts and network are gone.
    pub fn kill_node(&self, node: u32) -> Result<()> {
        let mut parts = self.parts();
        parts.node(node)?.kill()?;
        parts.cut.retain(|&cut| cut != node);
        self.route_services(&parts)
    }

    /// Boots a killed node on its disk.
    pub fn restart_node(&self, node: u32) -> Result<()> {
        let mut parts = self.parts();
        let machine = parts.node(node)?;
        if !machine.is_running() {
            machine.boot(&self.fabric, &[])?;
            machine.join(&self.fabric)?;
        }
        self.route_services(&parts)
    }

    /// How every node is, by its number.
    pub fn node_states(&self) -> Vec<(u32, NodeState)> {
        let parts = self.parts();
        let state = |node: &Node| match (node.is_running(), parts.cut.contains(&node.number())) {
            (false, _) => NodeState::Killed,
            (true, true) => NodeState::CutOff,
            (true, false) => NodeState::Running,
        };
        parts.nodes.iter().map(|node| (node.number(), state(node))).collect()
    }

    /// Returns once the API server calls the node Ready, or no longer calls it that.
    pub async fn await_node(&self, node: u32, ready: bool) -> Result<()> {
        let word = if ready { "Ready" } else { "NotReady" };
        let deadline = Deadline::after(NODE_LIMIT, format!("{} {word}", node_name(node)), self.layout());
        let nodes = Api::<KubeNode>::all(self.client());
        loop {
            let found = nodes.get_opt(&node_name(node)).await.map_err(kube_error("read the node"))?;
            if found.as_ref().is_some_and(is_ready) == ready {
                return Ok(());
            }
            deadline.pause_async().await?;
        }
    }

    /// An error that names the first program which has ended by itself.
    pub fn check_running(&self) -> Result<()> {
        let mut parts = self.parts();
        let Parts { store, control_plane, nodes, cut: _ } = &mut *parts;
        store.iter_mut().chain(control_plane).try_for_each(Process::check_running)?;
        nodes.iter_mut().filter(|node| node.is_running()).try_for_each(Node::check_running)?;
        self.fabric.lan.check_running()
    }

    /// Ends every process and removes the folder.
    pub async fn stop(mut self) -> Result<()> {
        if let Some((relay, provisioner)) = self.services.take() {
            provisioner.stop().await;
            drop(relay);
        }
        self.end_processes()?;
        self.stopped = true;
        clean(self.layout(), &self.lock)?;
        self.layout().remove()
    }

    fn end_processes(&self) -> Result<()> {
        self.cgroup.kill()?;
        let mut parts = self.parts();
        // All dead already: this takes their entries out of the process table.
        parts.nodes.iter_mut().try_for_each(Node::kill)?;
        let Parts { store, control_plane, nodes: _, cut: _ } = &mut *parts;
        store.iter_mut().chain(control_plane).try_for_each(Process::kill)?;
        self.fabric.lan.end()?;
        self.cgroup.remove()
    }

    /// Services are reached through the kube-proxy of the first node that can be reached itself.
    fn route_services(&self, parts: &Parts) -> Result<()> {
        let reachable = parts.nodes.iter().find(|node| node.is_running() && !parts.cut.contains(&node.number()));
        match reachable {
            Some(node) => self.in_lan(|| network::route_services_through(node.number())),
            None => Ok(()),
        }
    }

    /// The first route, for a cluster whose nodes have just booted.
    pub(super) fn route_services_first(&self) -> Result<()> {
        self.route_services(&self.parts())
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.stopped {
            self.services = None;
            // Nobody to tell; the next start in this folder cleans what is left, and says why it cannot.
            let _ = self.end_processes();
        }
    }
}

impl Parts {
    fn node(&mut self, number: u32) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.number() == number).ok_or(Error::NoSuchNode(number))
    }
}

/// Starts the store in the LAN's namespace and waits until it serves.
pub(super) fn start_store(store: Store, fabric: &Fabric, cgroup: &Cgroup) -> Result<Process> {
    let Fabric { tools, layout, lan, nodes: _ } = fabric;
    let before = times_ready(layout)?;
    let mut process = lan.start(&store.command(tools, layout)?, layout, &cgroup.child("control-plane"))?;
    let deadline = Deadline::after(STORE_LIMIT, "a ready store", layout);
    while times_ready(layout)? == before {
        process.check_running()?;
        deadline.pause()?;
    }
    Ok(process)
}

pub(super) fn is_ready(node: &KubeNode) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
