//! From nothing to a ready cluster. The nodes boot while the control plane comes up, and everything is waited for, never
//! slept for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node as KubeNode, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use quorate_harness::Identity;

use super::addons::{self, COREDNS, SYSTEM_NAMESPACE};
use super::cgroup::Cgroup;
use super::cleanup::clean;
use super::cluster::{Cluster, Parts, is_ready, start_store};
use super::error::{Error, Result, kube as kube_error};
use super::layout::{Layout, NODES_MAX, api_address};
use super::namespace::Namespaces;
use super::node::{Fabric, Node};
use super::process::{Process, Program};
use super::provisioner::Provisioner;
use super::relay::{Dialer, Relay};
use super::state::{Lock, Phase, State};
use super::store::Store;
use super::tools::Tools;
use super::wait::Deadline;
use super::{control_plane, manifests, network, pki};

/// Each wait takes a few seconds on an idle machine; builds beside it may slow it tenfold.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// Told of each step, with the time since the start.
pub type Progress = Arc<dyn Fn(Duration, &str) + Send + Sync>;

/// Settings of a cluster to start.
#[derive(Clone)]
pub struct Builder {
    root: PathBuf,
    nodes: u32,
    store: Store,
    port: u16,
    progress: Progress,
}

impl Builder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, nodes: 1, store: Store::default(), port: 0, progress: Arc::new(|_, _| {}) }
    }

    /// 1 (the default) to 5.
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// What the API server keeps its objects in; Quorate unless told otherwise.
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// Port of the API server on this machine's loopback; 0 (the default) takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Returns once every node is Ready, pods can be made and DNS answers. After an error nothing runs any more, and the
    /// logs are in the folder.
    pub async fn start(self) -> Result<Cluster> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return Err(Error::NodeCount(self.nodes));
        }
        let tools = Tools::find()?;
        let layout = Layout::prepare(&self.root)?;
        // Before anything of a former cluster is removed.
        self.store.command(&tools, &layout)?;
        let lock = Lock::take(&layout)?;
        clean(&layout, &lock)?;
        layout.make_folders()?;
        let cgroup = Cgroup::named(layout.id());
        let state = Status { layout: layout.clone(), builder: self.clone(), start: Instant::now() };
        state.write(Phase::Starting, 0)?;
        let started = start(self, tools, layout, lock, &cgroup, &state).await;
        match &started {
            Ok(cluster) => state.write(Phase::Ready, cluster.lan_holder())?,
            Err(error) => {
                // The first error is the one to tell.
                let _ = cgroup.kill().and_then(|()| cgroup.remove());
                state.write(Phase::Failed(error.to_string()), 0)?;
            }
        }
        started
    }
}

/// Where the progress goes: to the caller, and for other processes into the folder.
struct Status {
    layout: Layout,
    builder: Builder,
    start: Instant,
}

impl Status {
    fn tell(&self, what: &str) {
        (self.builder.progress)(self.start.elapsed(), what);
    }

    fn write(&self, phase: Phase, lan_holder: u32) -> Result<()> {
        let Builder { nodes, store, .. } = self.builder;
        State { harness: Identity::own(), nodes, store, phase, lan_holder }.write(&self.layout)
    }
}

async fn start(
    builder: Builder,
    tools: Tools,
    layout: Layout,
    lock: Lock,
    cgroup: &Cgroup,
    status: &Status,
) -> Result<Cluster> {
    let Builder { nodes, store, port, .. } = builder;
    pki::write(&layout, nodes)?;
    let control_plane = cgroup.child("control-plane");
    control_plane.create()?;
    let holder = Program::new("lan-holder", tools.program("pause")?);
    let lan = Namespaces::network(&layout, &control_plane, &holder, network::set_up_lan)?;
    let images = addons::images(&tools)?;
    let dialer = Dialer::start(lan.holder_id())?;
    let fabric = Arc::new(Fabric { tools, layout, lan, nodes });
    status.tell("certificates and network");

    let booting = tokio::task::spawn_blocking({
        let (fabric, cgroup) = (fabric.clone(), cgroup.clone());
        move || boot_nodes(&fabric, &cgroup, &images)
    });
    let store_process = start_store(store, &fabric, cgroup)?;
    status.tell(&format!("store ({})", format!("{store:?}").to_lowercase()));
    let begin = |program: Program| fabric.lan.start(&program, &fabric.layout, &control_plane);
    let mut api_server = begin(control_plane::api_server(&fabric.tools, &fabric.layout)?)?;
    let relay = Relay::start(dialer.clone(), api_address(), port).await?;
    let client = connect(&fabric.layout, &relay).await?;
    await_api_server(&client, &mut api_server, &fabric.layout).await?;
    status.tell("API server");
    let others = [
        begin(control_plane::controller_manager(&fabric.tools, &fabric.layout)?)?,
        begin(control_plane::scheduler(&fabric.tools, &fabric.layout)?)?,
    ];
    let mut machines = booting.await.expect("booting returns its errors")?;
    status.tell(&format!("{nodes} node(s) booted"));
    machines.iter_mut().try_for_each(|node| node.join(&fabric))?;
    await_namespace(&client, &fabric.layout).await?;
    manifests::apply(&client, &addons::manifests()).await?;
    let provisioner = Provisioner::start(client.clone(), fabric.layout.clone());
    let control_plane = std::iter::once(api_server).chain(others).collect();
    let parts = Parts { store: Some(store_process), control_plane, nodes: machines, cut: Vec::new() };
    let cluster = Cluster {
        fabric,
        cgroup: cgroup.clone(),
        store,
        client,
        dialer,
        parts: Mutex::new(parts),
        services: Some((relay, provisioner)),
        lock,
        stopped: false,
    };
    await_nodes(&cluster, status).await?;
    await_pods_possible(&cluster, status).await?;
    Ok(cluster)
}

fn boot_nodes(fabric: &Fabric, cgroup: &Cgroup, images: &[PathBuf]) -> Result<Vec<Node>> {
    std::thread::scope(|scope| {
        let boot = |number| {
            let mut node = Node::new(number, cgroup);
            node.boot(fabric, images).map(|()| node)
        };
        let nodes: Vec<_> = (1..=fabric.nodes).map(|number| scope.spawn(move || boot(number))).collect();
        nodes.into_iter().map(|node| node.join().expect("booting returns its errors")).collect()
    })
}

/// Writes the kubeconfig that leads through the relay, and connects with it.
async fn connect(layout: &Layout, relay: &Relay) -> Result<Client> {
    let text = pki::admin_kubeconfig(layout, &format!("https://{}", relay.local()))?;
    pki::write_secret(&layout.kubeconfig(), &text)?;
    let kubeconfig = Kubeconfig::from_yaml(&text)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).map_err(kube_error("make a client"))
}

async fn await_api_server(client: &Client, api_server: &mut Process, layout: &Layout) -> Result<()> {
    let deadline = Deadline::after(STEP_LIMIT, "/readyz of the API server", layout);
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a constant path is a URI");
        if client.request_text(request).await.is_ok() {
            return Ok(());
        }
        api_server.check_running()?;
        deadline.pause_async().await?;
    }
}

/// The API server makes it right after its start.
async fn await_namespace(client: &Client, layout: &Layout) -> Result<()> {
    let deadline = Deadline::after(STEP_LIMIT, format!("the namespace {SYSTEM_NAMESPACE}"), layout);
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone());
    while namespaces.get_opt(SYSTEM_NAMESPACE).await.map_err(kube_error("read the namespace"))?.is_none() {
        deadline.pause_async().await?;
    }
    Ok(())
}

async fn await_nodes(cluster: &Cluster, status: &Status) -> Result<()> {
    let deadline = Deadline::after(STEP_LIMIT, "every node Ready", cluster.layout());
    let nodes = Api::<KubeNode>::all(cluster.client());
    loop {
        let found = nodes.list(&Default::default()).await.map_err(kube_error("list the nodes"))?;
        if found.iter().filter(|node| is_ready(node)).count() == cluster.nodes() as usize {
            break;
        }
        cluster.check_running()?;
        deadline.pause_async().await?;
    }
    cluster.route_services_first()?;
    status.tell("all nodes Ready");
    Ok(())
}

/// A pod needs the account `default`, which the controller manager makes, and names need DNS.
async fn await_pods_possible(cluster: &Cluster, status: &Status) -> Result<()> {
    let deadline = Deadline::after(STEP_LIMIT, "the account default and DNS on every node", cluster.layout());
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client(), "default");
    let sets = Api::<DaemonSet>::namespaced(cluster.client(), SYSTEM_NAMESPACE);
    loop {
        let account = accounts.get_opt("default").await.map_err(kube_error("read the account default"))?;
        let dns = sets.get(COREDNS).await.map_err(kube_error("read CoreDNS"))?;
        let answering = dns.status.map_or(0, |status| status.number_ready);
        if account.is_some() && u32::try_from(answering) == Ok(cluster.nodes()) {
            break;
        }
        cluster.check_running()?;
        deadline.pause_async().await?;
    }
    status.tell("DNS answers: the cluster is ready");
    Ok(())
}
