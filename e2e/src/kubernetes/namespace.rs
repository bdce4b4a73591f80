//! Namespaces that live exactly as long as the processes in them: a holder process (the tiny `pause`) keeps them, and
//! nothing is mounted or named outside, so that nothing can be left behind once the processes are gone.
//!
//! A thread of the harness that enters a namespace ends there; the other threads never leave the machine's own.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sched::{CloneFlags, setns, unshare};

use super::cgroup::Cgroup;
use super::error::{Result, io, system};
use super::layout::Layout;
use super::process::{Process, Program};

/// A network namespace, for nodes with a mount namespace beside it.
#[derive(Debug)]
pub struct Namespaces {
    holder: Mutex<Process>,
    inside: Inside,
}

/// The namespaces of a running process, by which any process of root can enter them.
#[derive(Debug, Clone, Copy)]
pub struct Inside {
    pid: u32,
    with_mounts: bool,
}

impl Namespaces {
    /// Makes a network namespace and runs `set_up` in it before anything else does.
    pub fn network(
        layout: &Layout,
        cgroup: &Cgroup,
        holder: &Program,
        set_up: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Self> {
        Self::make(CloneFlags::CLONE_NEWNET, layout, cgroup, holder, set_up)
    }

    /// Makes a network and a mount namespace and runs `set_up` in them before anything else does.
    pub fn network_and_mounts(
        layout: &Layout,
        cgroup: &Cgroup,
        holder: &Program,
        set_up: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Self> {
        Self::make(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS, layout, cgroup, holder, set_up)
    }

    fn make(
        kinds: CloneFlags,
        layout: &Layout,
        cgroup: &Cgroup,
        holder: &Program,
        set_up: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Self> {
        let holder = holder.start(layout, cgroup, |command| {
            in_thread(|| {
                unshare(kinds).map_err(system("make namespaces"))?;
                set_up()?;
                command.spawn().map_err(io("start", "the holder of the namespaces"))
            })
        })?;
        let inside = Inside { pid: holder.id(), with_mounts: kinds.contains(CloneFlags::CLONE_NEWNS) };
        Ok(Self { holder: Mutex::new(holder), inside })
    }

    /// Process id of the holder, by which `ip` names the network namespace.
    pub fn holder_id(&self) -> u32 {
        self.inside.pid
    }

    /// Runs `work` in these namespaces; the processes that it starts are in them too.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.inside.enter(work)
    }

    pub fn inside(&self) -> Inside {
        self.inside
    }

    /// Starts a program in these namespaces.
    pub fn start(&self, program: &Program, layout: &Layout, cgroup: &Cgroup) -> Result<Process> {
        program.start(layout, cgroup, |command| self.enter(|| command.spawn().map_err(io("start", &program.program))))
    }

    /// An error if the holder has ended, and the namespaces with it.
    pub fn check_running(&self) -> Result<()> {
        self.lock().check_running()
    }

    /// Ends the holder. The namespaces go with the last process in them.
    pub fn end(&self) -> Result<()> {
        self.lock().kill()
    }

    fn lock(&self) -> MutexGuard<'_, Process> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// The network namespace of process `pid`.
    pub fn network_of(pid: u32) -> Self {
        Self { pid, with_mounts: false }
    }

    /// The network and the mount namespace of process `pid`.
    pub fn machine_of(pid: u32) -> Self {
        Self { pid, with_mounts: true }
    }

    /// Runs `work` in a thread inside; the processes that it starts are inside too.
    pub fn enter<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            self.move_thread()?;
            work()
        })
    }

    /// Moves the calling thread inside. It cannot come back.
    pub fn move_thread(self) -> Result<()> {
        let open = |kind: &str| -> Result<OwnedFd> {
            let path = format!("/proc/{}/ns/{kind}", self.pid);
            Ok(File::open(&path).map_err(io("open the namespace", path))?.into())
        };
        let network = open("net")?;
        let mounts = if self.with_mounts { Some(open("mnt")?) } else { None };
        if let Some(mounts) = mounts {
            // A thread that shares its root folder with others may not change its mounts.
            unshare(CloneFlags::CLONE_FS).map_err(system("leave the process's root folder"))?;
            setns(mounts, CloneFlags::CLONE_NEWNS).map_err(system("enter the mount namespace"))?;
        }
        setns(network, CloneFlags::CLONE_NEWNET).map_err(system("enter the network namespace"))
    }
}

/// Runs `work` in a thread of its own, which ends with it.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
