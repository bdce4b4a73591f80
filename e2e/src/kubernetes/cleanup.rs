//! The end of a cluster, from its folder alone: it works the same for the harness that made it, for one that was killed,
//! and for another process. Processes go first; namespaces and mounts go with them, then cgroups and files.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::Cgroup;
use super::error::{Error, Result, system};
use super::layout::Layout;
use super::state::{Lock, State};
use super::wait::Deadline;

/// A harness that was asked to stop kills its processes and deletes its files within a few seconds.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Ends whatever the cluster of this folder left running and deletes its files. Needs the lock, which proves that no
/// harness is at work; does nothing where there is nothing.
pub fn clean(layout: &Layout, _lock: &Lock) -> Result<()> {
    let cgroup = Cgroup::named(layout.id());
    cgroup.kill()?;
    cgroup.remove()?;
    layout.clear()
}

/// Stops the cluster of a folder, whoever runs it, and removes it all. Returns whether there was one.
pub fn down(root: &Path) -> Result<bool> {
    if !root.exists() {
        return Ok(false);
    }
    let layout = Layout::open(root)?;
    if !layout.is_ours() {
        return Ok(false);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let lock = match Lock::take(&layout) {
        Ok(lock) => lock,
        Err(busy) => {
            stop_harness(&layout).unwrap_or(Err(busy))?;
            if !root.exists() {
                return Ok(true);
            }
            Lock::take(&layout)?
        }
    };
    clean(&layout, &lock)?;
    layout.remove()?;
    Ok(true)
}

/// Asks the harness to stop and waits for its end; `None` if it is not known.
fn stop_harness(layout: &Layout) -> Option<Result<()>> {
    let harness = State::read(layout)?.harness;
    Some((|| {
        if harness.is_alive() {
            let pid = Pid::from_raw(i32::try_from(harness.pid).expect("the kernel's process ids are positive i32"));
            kill(pid, Signal::SIGTERM).map_err(system("stop the harness"))?;
        }
        let deadline = Deadline::after(STOP_LIMIT, format!("the end of the harness (process {})", harness.pid), layout);
        while harness.is_alive() {
            deadline.pause()?;
        }
        Ok(())
    })())
}
