//! What the cluster tests share: where clusters stand, a pod to run, and the account of what a cluster leaves behind.

#![allow(dead_code, reason = "each test target uses its part")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::conditions::is_pod_running;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use quorate_e2e::image::{self, Config, Content};
use quorate_e2e::kubernetes::{Builder, Cgroup, Cluster, Identity, Layout, Store, run};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Image of the test pods: a shell and a few tools of this machine.
pub const TOOLBOX: &str = "quorate.local/toolbox:1";
const TOOLBOX_PROGRAMS: [&str; 6] = ["bash", "cat", "sleep", "getent", "ls", "id"];
/// A pod with its image in place starts in a second; builds beside it slow that down.
const POD_LIMIT: Duration = Duration::from_secs(60);
/// How long the machine's init may take to collect the dead.
const INIT_LIMIT: Duration = Duration::from_secs(20);

/// A folder of the build, always the same for a test, so that the next run cleans what a killed one left.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A cluster in the test's folder. `QUORATE_E2E_STORE=etcd` runs the same test on etcd, to tell whose fault a failure is.
pub fn cluster(name: &str) -> Builder {
    let etcd = std::env::var("QUORATE_E2E_STORE").is_ok_and(|store| store == "etcd");
    let progress = |since: Duration, what: &str| println!("{:6.1} s  {what}", since.as_secs_f32());
    Cluster::builder(folder(name)).store(if etcd { Store::Etcd } else { Store::Quorate }).progress(Arc::new(progress))
}

/// The archive of [`TOOLBOX`].
pub fn toolbox() -> Result<PathBuf, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/image/rootfs.sh");
    let root = folder(&format!("toolbox-{}", std::process::id()));
    let programs = TOOLBOX_PROGRAMS.map(|program| format!("/usr/bin/{program}"));
    run(Command::new(script).arg(&root).args(programs))?;
    let archive = root.with_extension("tar");
    let config = Config {
        references: vec![TOOLBOX.into()],
        entrypoint: vec!["/usr/bin/bash".into()],
        user: "65532:65532".into(),
        ..Config::default()
    };
    image::write(&archive, &config, &Content::Root(root.clone()))?;
    fs::remove_dir_all(root)?;
    Ok(archive)
}

/// Puts the toolbox onto the nodes of a cluster.
pub fn load_toolbox(cluster: &Cluster) -> Result<(), Error> {
    let archive = toolbox()?;
    cluster.import_image(&archive)?;
    Ok(fs::remove_file(archive)?)
}

/// A pod of the toolbox that runs `script` in bash, with more of its spec in YAML.
pub fn pod(name: &str, script: &str, container: &str, spec: &str) -> String {
    let script = serde_json::to_string(script).expect("a string has a JSON form");
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - name: main\n    image: {TOOLBOX}\n    args: [-c, {script}]\n{container}\n{spec}\n"
    )
}

pub async fn await_running(client: &Client, name: &str) -> Result<(), Error> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    tokio::time::timeout(POD_LIMIT, await_condition(pods, name, is_pod_running()))
        .await
        .map_err(|_| format!("pod {name} did not run within {} s", POD_LIMIT.as_secs()))??;
    Ok(())
}

/// Everything by which a running cluster can be recognised on this machine.
#[derive(Debug)]
pub struct Footprint {
    root: PathBuf,
    id: String,
    processes: Vec<Identity>,
    namespaces: BTreeSet<PathBuf>,
}

impl Footprint {
    pub fn of(layout: &Layout) -> Self {
        let pids = Cgroup::named(layout.id()).processes();
        let pids: Vec<u32> = pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect();
        let own = namespaces_of("self");
        let namespaces = pids.iter().flat_map(|pid| namespaces_of(&pid.to_string()));
        let namespaces = namespaces.filter(|namespace| !own.contains(namespace)).collect();
        let processes = pids.into_iter().filter_map(Identity::of).collect();
        Self { root: layout.root().into(), id: layout.id().into(), processes, namespaces }
    }

    /// How many processes and namespaces were seen: none would prove nothing.
    pub fn size(&self) -> (usize, usize) {
        (self.processes.len(), self.namespaces.len())
    }

    /// An error with what is left, unless all of it is gone soon. Soon, because a killed process keeps its entry in the
    /// process table until the machine's init, which is nobody of ours, collects it.
    pub async fn await_gone(&self) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let remains = self.remains();
            if remains.is_empty() {
                return Ok(());
            }
            if start.elapsed() > INIT_LIMIT {
                return Err(format!("left behind: {remains:#?}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What is still there, in words.
    pub fn remains(&self) -> Vec<String> {
        let alive = self.processes.iter().filter(|process| process.is_alive());
        let mut remains: Vec<String> = alive.map(|process| format!("process {}", process.pid)).collect();
        for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let inside = namespaces_of(&name).into_iter().filter(|namespace| self.namespaces.contains(namespace));
            remains.extend(inside.map(|namespace| format!("{} of process {name}", namespace.display())));
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted").flatten() {
            let group = hierarchy.path().join(&self.id);
            remains.extend(group.exists().then(|| format!("cgroup {}", group.display())));
        }
        let group = Path::new("/sys/fs/cgroup").join(&self.id);
        remains.extend(group.exists().then(|| format!("cgroup {}", group.display())));
        for device in fs::read_dir("/sys/block").expect("/sys is mounted").flatten() {
            let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
            let ours = Path::new(file.trim()).starts_with(&self.root);
            remains.extend(ours.then(|| format!("loop device {} on {}", device.path().display(), file.trim())));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let root = self.root.display().to_string();
        remains.extend(mounts.lines().filter(|line| line.contains(&root)).map(|line| format!("mount {line}")));
        remains.extend(self.root.exists().then(|| format!("folder {root}")));
        remains
    }
}

fn namespaces_of(process: &str) -> Vec<PathBuf> {
    let kinds = ["net", "mnt", "ipc", "uts", "pid"];
    kinds.iter().filter_map(|kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok()).collect()
}

/// What of the machine itself a node's programs like to change, as it is now.
pub fn machine() -> Vec<String> {
    let files = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys"];
    let files = files.iter().map(|file| format!("/proc/sys/{file}")).chain(["/proc/net/fib_trie".to_owned()]);
    let settings = files.map(|file| format!("{file}: {}", fs::read_to_string(&file).unwrap_or_default()));
    let folders = ["/run/netns", "/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"];
    let folders = folders.iter().chain(&["/var/log/pods", "/usr/libexec/kubernetes", "/etc/cni/net.d"]);
    let contents = folders.map(|folder| {
        let entries = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()).collect());
        let entries: Option<BTreeSet<_>> = entries.ok();
        format!("{folder}: {entries:?}")
    });
    settings.chain(contents).collect()
}
