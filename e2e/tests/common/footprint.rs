//! The account of what a cluster leaves behind on this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_e2e::kubernetes::{Cgroup, Layout};
use quorate_harness::Identity;

use super::Error;

/// How long the machine's init may take to collect the dead.
const INIT_LIMIT: Duration = Duration::from_secs(20);

/// Everything by which a running cluster can be recognised on this machine.
#[derive(Debug)]
pub struct Footprint {
    root: PathBuf,
    /// The names of its cgroups begin with it.
    id: String,
    processes: Vec<Identity>,
    namespaces: BTreeSet<PathBuf>,
}

impl Footprint {
    pub fn of(layout: &Layout) -> Self {
        let pids = Cgroup::named(layout.id()).processes();
        let pids = pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect();
        Self::new(layout.root(), layout.id(), pids)
    }

    /// Of a run of `quorate-chaos`, by its process and the folder in which it makes its own.
    pub fn of_chaos(harness: u32, folder: &Path) -> Self {
        let name = Identity::of(harness).expect("the harness runs").name("quorate-crash", 0);
        Self::new(&folder.join(&name), &name, with_descendants(harness))
    }

    fn new(root: &Path, id: &str, pids: Vec<u32>) -> Self {
        let own = namespaces_of("self");
        let namespaces = pids.iter().flat_map(|pid| namespaces_of(&pid.to_string()));
        let namespaces = namespaces.filter(|namespace| !own.contains(namespace)).collect();
        let processes = pids.into_iter().filter_map(Identity::of).collect();
        Self { root: root.into(), id: id.into(), processes, namespaces }
    }

    /// Fails unless at least so many processes and namespaces were seen: none would prove nothing.
    pub fn assert_seen(&self, (processes, namespaces): (usize, usize)) {
        let enough = self.processes.len() >= processes && self.namespaces.len() >= namespaces;
        assert!(enough, "too little was seen of the running cluster: {self:?}");
    }

    /// An error with what is left, unless all of it is gone soon. Soon, because a killed process keeps its entry in the
    /// process table until the machine's init, which is nobody of ours, collects it.
    pub async fn await_gone(&self) -> Result<(), Error> {
        self.await_none(|_| true).await
    }

    async fn await_none(&self, counts: impl Fn(&str) -> bool) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let mut remains = self.remains();
            remains.retain(|what| counts(what));
            if remains.is_empty() {
                return Ok(());
            }
            if start.elapsed() > INIT_LIMIT {
                return Err(format!("left behind: {remains:#?}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// As [`Footprint::await_gone`], but a folder and cgroups may stay: nobody is left who could remove them.
    pub async fn await_dead(&self) -> Result<(), Error> {
        self.await_none(|what| !what.starts_with("folder") && !what.starts_with("cgroup")).await
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
        let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted").flatten();
        for hierarchy in hierarchies.map(|hierarchy| hierarchy.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
            let groups = fs::read_dir(hierarchy).into_iter().flatten().flatten();
            let ours = groups.filter(|group| group.file_name().to_string_lossy().starts_with(&self.id));
            remains.extend(ours.map(|group| format!("cgroup {}", group.path().display())));
        }
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

/// A process and all that it started, and what these started.
fn with_descendants(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        let children: Vec<u32> =
            children.flat_map(|line| line.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        found.extend(children);
        next += 1;
    }
    found
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
