//! The account of what a cluster leaves behind on this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_e2e::kubernetes::{Cgroup, Identity, Layout};

use super::Error;

/// How long the machine's init may take to collect the dead.
const INIT_LIMIT: Duration = Duration::from_secs(20);

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

    /// Fails unless at least so many processes and namespaces were seen: none would prove nothing.
    pub fn assert_seen(&self, (processes, namespaces): (usize, usize)) {
        let enough = self.processes.len() >= processes && self.namespaces.len() >= namespaces;
        assert!(enough, "too little was seen of the running cluster: {self:?}");
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
