//! One node: a machine made of a network namespace, a mount namespace, a cgroup and a folder that is its disk, with
//! containerd, kubelet and kube-proxy in it. What a real machine loses with its power (processes, mounts, network,
//! `/run`) goes when its processes are killed; the disk stays.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cgroup::Cgroup;
use super::error::{Error, Result, io};
use super::layout::{Layout, node_address, node_name};
use super::namespace::{Inside, Namespaces};
use super::process::{Process, Program, run};
use super::tools::{Tools, on_path};
use super::wait::Deadline;
use super::{network, node_files, volume};

/// containerd answers within 0.2 s on an idle machine.
const CONTAINERD_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Debug)]
pub struct Node {
    number: u32,
    cgroup: Cgroup,
    /// `None` while the node is without power.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    namespaces: Namespaces,
    processes: Vec<Process>,
}

impl Node {
    pub fn new(number: u32, cluster: &Cgroup) -> Self {
        Self { number, cgroup: cluster.child(&node_name(number)), running: None }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Switches the machine on: namespaces, volumes, cable, containerd, and `images` that its disk does not hold yet.
    pub fn boot(&mut self, fabric: &Fabric, images: &[PathBuf]) -> Result<()> {
        assert!(self.running.is_none(), "a node boots once");
        let Fabric { tools, layout, lan, nodes } = fabric;
        let name = node_name(self.number);
        let system = self.system_cgroup();
        system.create()?;
        node_files::write(layout, tools, &self.cgroup, self.number)?;
        let programs = ["pause", "kubelet", "kube-proxy"];
        let programs = programs.map(|name| tools.program(name).map(|path| (name, path)));
        let programs = programs.into_iter().collect::<Result<Vec<_>>>()?;
        let disk = layout.node_disk(self.number);
        let holder = Program::new(&format!("{name}-holder"), node_files::program("pause"));
        let namespaces = Namespaces::network_and_mounts(layout, &system, &holder, || {
            node_files::mount(&disk, &programs)?;
            network::set_up_node()
        })?;
        namespaces.enter(|| volume::mount_all(layout))?;
        lan.enter(|| network::plug_in(self.number, namespaces.holder_id()))?;
        namespaces.enter(|| network::address_node(self.number, *nodes))?;

        let containerd = on_path("containerd").ok_or_else(|| package_missing("containerd"))?;
        let containerd = Program::new(&format!("{name}-containerd"), containerd)
            .arguments(["--config", &node_files::in_node("containerd.toml")]);
        let mut containerd = namespaces.start(&containerd, layout, &system)?;
        await_containerd(&namespaces, &mut containerd, layout)?;
        let running = Running { namespaces, processes: vec![containerd] };
        for archive in images {
            import(running.namespaces.inside(), archive)?;
        }
        self.running = Some(running);
        Ok(())
    }

    /// Starts kubelet and kube-proxy, which register the node with the API server.
    pub fn join(&mut self, fabric: &Fabric) -> Result<()> {
        let name = node_name(self.number);
        let system = self.system_cgroup();
        let kubelet = Program::new(&format!("{name}-kubelet"), node_files::program("kubelet")).arguments([
            format!("--config={}", node_files::in_node("kubelet.yaml")),
            format!("--kubeconfig={}", node_files::in_node("kubelet.kubeconfig")),
            format!("--hostname-override={name}"),
            format!("--node-ip={}", node_address(self.number)),
            format!("--node-labels=topology.kubernetes.io/zone=zone{}", self.number),
        ]);
        let proxy = Program::new(&format!("{name}-kube-proxy"), node_files::program("kube-proxy"))
            .arguments([format!("--config={}", node_files::in_node("kube-proxy.yaml"))]);
        let running = self.running.as_mut().ok_or(Error::NodeDown(self.number))?;
        for program in [kubelet, proxy] {
            running.processes.push(running.namespaces.start(&program, &fabric.layout, &system)?);
        }
        Ok(())
    }

    /// Puts an image archive into the node's containerd.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let running = self.running.as_ref().ok_or(Error::NodeDown(self.number))?;
        import(running.namespaces.inside(), archive)
    }

    /// Pulls the plug: every process of the node is killed, pods included.
    pub fn kill(&mut self) -> Result<()> {
        self.cgroup.kill()?;
        if let Some(Running { namespaces, processes }) = self.running.take() {
            for mut process in processes {
                process.kill()?;
            }
            namespaces.end()?;
        }
        self.cgroup.remove()
    }

    pub fn check_running(&mut self) -> Result<()> {
        let running = self.running.as_mut().ok_or(Error::NodeDown(self.number))?;
        running.namespaces.check_running()?;
        running.processes.iter_mut().try_for_each(Process::check_running)
    }

    /// Of the node's own programs, beside the pods'.
    fn system_cgroup(&self) -> Cgroup {
        self.cgroup.child("system")
    }
}

/// What a node needs of the cluster around it.
#[derive(Debug)]
pub struct Fabric {
    pub tools: Tools,
    pub layout: Layout,
    /// The control plane's namespace, with the LAN in it.
    pub lan: Namespaces,
    pub nodes: u32,
}

fn await_containerd(namespaces: &Namespaces, containerd: &mut Process, layout: &Layout) -> Result<()> {
    let deadline = Deadline::after(CONTAINERD_LIMIT, "an answer of containerd", layout);
    while ctr(namespaces.inside(), |ctr| run(ctr.arg("version"))).is_err() {
        containerd.check_running()?;
        deadline.pause()?;
    }
    Ok(())
}

/// Puts an image archive into the containerd of the node that is `inside`.
pub fn import(inside: Inside, archive: &Path) -> Result<()> {
    // Opened here: the node sees other files at this path.
    let file = File::open(archive).map_err(io("open the image", archive))?;
    ctr(inside, |ctr| run(ctr.args(["--namespace=k8s.io", "images", "import", "-"]).stdin(Stdio::from(file))))?;
    Ok(())
}

fn ctr<T: Send>(inside: Inside, work: impl FnOnce(&mut Command) -> Result<T> + Send) -> Result<T> {
    let program = on_path("ctr").ok_or_else(|| package_missing("ctr"))?;
    inside.enter(|| work(&mut Command::new(program)))
}

fn package_missing(program: &str) -> Error {
    Error::PackageMissing { program: program.into(), package: "containerd" }
}
