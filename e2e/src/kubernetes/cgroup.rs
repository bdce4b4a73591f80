//! A cluster's branch of the cgroup tree. Every process of the cluster is born in it, pods included, so that one walk
//! finds and ends them all, also when the harness that started them is gone.
//!
//! Works on cgroup v2 (one tree) and v1 (a tree for each controller, the same branch in each).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::{Error, Result, io};

const MOUNT: &str = "/sys/fs/cgroup";
/// kubelet needs these in its branch; others stay as the machine has them.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];
/// A killed process is gone within milliseconds unless it waits on a disk.
const KILL_LIMIT: Duration = Duration::from_secs(15);
const KILL_POLL: Duration = Duration::from_millis(5);

/// The same named group in every hierarchy of the machine.
#[derive(Debug, Clone)]
pub struct Cgroup {
    /// Path below each hierarchy, without a leading slash.
    name: String,
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Names a group; makes nothing.
    pub fn named(name: &str) -> Self {
        let folders = hierarchies().iter().map(|base| base.join(name)).collect();
        Self { name: name.into(), folders }
    }

    pub fn child(&self, name: &str) -> Self {
        Self::named(&format!("{}/{name}", self.name))
    }

    /// As kubelet's `cgroupRoot` wants it.
    pub fn absolute_name(&self) -> String {
        format!("/{}", self.name)
    }

    /// Makes the group and its parents.
    pub fn create(&self) -> Result<()> {
        for base in hierarchies() {
            let mut folder = base;
            for part in Path::new(&self.name) {
                hand_down_controllers(&folder);
                let parent = folder.clone();
                folder.push(part);
                if !folder.exists() {
                    fs::create_dir(&folder).map_err(io("make the cgroup", &folder))?;
                }
                inherit_cpuset(&parent, &folder)?;
            }
        }
        Ok(())
    }

    /// The files into which a process writes 0 to enter the group.
    pub fn entries(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// The processes in the group and below it.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.folders.iter().flat_map(|folder| processes_below(folder)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Ends every process in the group and below it with SIGKILL and waits until they are gone.
    pub fn kill(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let pids = self.processes();
            if pids.is_empty() {
                return Ok(());
            }
            if start.elapsed() > KILL_LIMIT {
                return Err(Error::Unkillable { pids, limit: KILL_LIMIT });
            }
            for pid in pids.into_iter().filter(|&pid| self.holds(pid)) {
                // It may have ended by itself in between.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(KILL_POLL);
        }
    }

    /// Deletes the group and what is below it. The processes must be gone.
    pub fn remove(&self) -> Result<()> {
        let start = Instant::now();
        for folder in self.folders.iter().filter(|folder| folder.exists()) {
            // The kernel frees a group shortly after its last process.
            while let Err(error) = remove_tree(folder) {
                if start.elapsed() > KILL_LIMIT {
                    return Err(io("delete the cgroup", folder)(error));
                }
                std::thread::sleep(KILL_POLL);
            }
        }
        Ok(())
    }

    /// Looked up again right before the signal, so that a reused process id is not taken for ours.
    fn holds(&self, pid: i32) -> bool {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let ours = |line: &str| {
            line.rsplit(':').next().and_then(|path| path.strip_prefix('/')).is_some_and(|path| {
                path.strip_prefix(self.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        groups.lines().any(ours)
    }
}

/// One folder for each hierarchy: the only one of v2, or all of v1 with the empty v2 beside them, in which runc makes
/// groups too.
fn hierarchies() -> Vec<PathBuf> {
    let mount = PathBuf::from(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount];
    }
    let Ok(entries) = fs::read_dir(&mount) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok()?.path().canonicalize().ok())
        .filter(|folder| folder.join("cgroup.procs").exists())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// cgroup v2 only: a group's children have the controllers that it hands down. One that the kernel lacks is refused,
/// and kubelet then says which it misses.
fn hand_down_controllers(folder: &Path) {
    let file = folder.join("cgroup.subtree_control");
    if file.exists() {
        for controller in CONTROLLERS {
            let _ = fs::write(&file, format!("+{controller}"));
        }
    }
}

/// cgroup v1 only: a new cpuset is empty, and no process may enter it before it is filled.
fn inherit_cpuset(parent: &Path, folder: &Path) -> Result<()> {
    if folder.join("cgroup.controllers").exists() {
        return Ok(());
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let target = folder.join(file);
        let Ok(present) = fs::read_to_string(&target) else { continue };
        if present.trim().is_empty() {
            let value = fs::read_to_string(parent.join(file)).map_err(io("read", parent.join(file)))?;
            fs::write(&target, value).map_err(io("write", target))?;
        }
    }
    Ok(())
}

fn processes_below(folder: &Path) -> Vec<i32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok());
    own.chain(children(folder).iter().flat_map(|child| processes_below(child))).collect()
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for child in children(folder) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    use super::*;

    /// A process in the group, or in this test's own where none is given.
    fn sleeper(group: Option<&Cgroup>) -> Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        for entry in group.iter().flat_map(|group| group.entries()) {
            fs::write(entry, child.id().to_string()).unwrap();
        }
        child
    }

    #[test]
    fn killing_a_group_ends_what_is_below_it_and_nothing_beside_it() {
        let group = Cgroup::named(&format!("quorate-test-{}", std::process::id()));
        let (below, beside) = (group.child("node1/system"), group.child("node10"));
        below.create().unwrap();
        beside.create().unwrap();
        let (mut inside, mut neighbour, mut outside) = (sleeper(Some(&below)), sleeper(Some(&beside)), sleeper(None));

        group.child("node1").kill().unwrap();
        assert_eq!(inside.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(neighbour.try_wait().unwrap().is_none(), "node10 is not below node1");
        assert!(outside.try_wait().unwrap().is_none(), "the test's own group is not below node1");

        group.kill().unwrap();
        assert_eq!(neighbour.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        group.remove().unwrap();
        assert!(hierarchies().iter().all(|hierarchy| !hierarchy.join(&group.name).exists()));
        outside.kill().unwrap();
        outside.wait().unwrap();
    }
}
