//! What a harness leaves in the cluster's folder for other processes: who runs it, and how far it is. The lock beside it
//! says whether that is still so, because the kernel lets go of it when the harness dies, however it dies.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use quorate_harness::Identity;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result, io};
use super::layout::Layout;
use super::store::Store;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub harness: Identity,
    pub nodes: u32,
    pub store: Store,
    pub phase: Phase,
    /// Process that holds the control plane's network namespace; 0 until it exists.
    pub lan_holder: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Starting,
    Ready,
    Failed(String),
}

impl State {
    /// `None` if there is no cluster in the folder, or a dead harness tore the file.
    pub fn read(layout: &Layout) -> Option<Self> {
        serde_json::from_slice(&fs::read(layout.state()).ok()?).ok()
    }

    pub fn write(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("numbers and strings have a JSON form");
        let (path, part) = (layout.state(), layout.state().with_extension("part"));
        fs::write(&part, text).map_err(io("write", &part))?;
        fs::rename(&part, &path).map_err(io("write", path))
    }
}

/// The right to run the cluster of a folder; the kernel takes it back when the process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held, never read")] Flock<File>);

impl Lock {
    pub fn take(layout: &Layout) -> Result<Self> {
        let path = layout.lock();
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(io("open the lock", &path))?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, _)| busy(layout, &path))?;
        let mut write = || {
            lock.set_len(0)?;
            write!(&mut *lock, "{}", std::process::id())
        };
        write().map_err(io("write the lock", &path))?;
        Ok(Self(lock))
    }
}

fn busy(layout: &Layout, path: &Path) -> Error {
    let mut pid = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut pid));
    if read.is_err() || pid.is_empty() {
        pid = "of another user".into();
    }
    Error::Busy { root: layout.root().into(), pid }
}
