//! A limit on the writes of one process to one block device: the throttle of the kernel's blkio group (cgroup v1). Where
//! the kernel has it not, [`SlowDisk::supported`] says so, and the fault is left out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::crash::Error;
use crate::crash::workspace::abandoned;

const ROOT: &str = "/sys/fs/cgroup/blkio";
const LIMIT: &str = "blkio.throttle.write_iops_device";

/// A group of its own for one member. It is removed with this value, when the process has ended.
#[derive(Debug)]
pub struct SlowDisk {
    folder: PathBuf,
}

impl SlowDisk {
    pub fn supported() -> bool {
        PathBuf::from(ROOT).join("blkio.throttle.read_iops_device").is_file()
    }

    /// Makes the group of a member, named by its run's workspace and its own name.
    pub fn create(workspace: &str, name: &str) -> Result<SlowDisk, Error> {
        for group in abandoned(Path::new(ROOT)) {
            // One that still holds a process is tried again by the next run.
            let _ = fs::remove_dir(group);
        }
        let folder = PathBuf::from(ROOT).join(format!("{workspace}-{name}"));
        fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        Ok(SlowDisk { folder })
    }

    /// Brings a process in, with all its threads; what it starts later is in too.
    pub fn enter(&self, process: u32) -> Result<(), Error> {
        let path = self.folder.join("cgroup.procs");
        fs::write(&path, process.to_string()).map_err(Error::io("write", path))
    }

    /// From now at most so many writes a second reach the device; 0 takes the limit away.
    pub fn limit(&self, device: &str, writes_per_second: u32) -> Result<(), Error> {
        let path = self.folder.join(LIMIT);
        fs::write(&path, format!("{device} {writes_per_second}")).map_err(Error::io("write", path))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // It stays while a process is in it, and a later run takes it.
        let _ = fs::remove_dir(&self.folder);
    }
}
