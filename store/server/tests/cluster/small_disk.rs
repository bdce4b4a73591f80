//! A file system of a given size for one member, that can be filled and freed. It is a tmpfs in a mount namespace of the test's own
//! thread, so that nothing of it is left whatever becomes of the test. Needs root.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;

pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Members that this thread starts from now on see it; the thread must be the only one that does.
    pub fn mount(path: &Path, mebibytes: u64) -> SmallDisk {
        unshare(CloneFlags::CLONE_NEWNS).expect("a file system of its own needs root");
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mebibytes}m");
        mount(Some("quorate-test"), path, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        SmallDisk { path: path.to_owned() }
    }

    pub fn free_bytes(&self) -> u64 {
        let statistics = statvfs(&self.path).unwrap();
        statistics.blocks_available() * statistics.fragment_size()
    }

    /// Takes all space but so many bytes.
    pub fn fill(&self, left: u64) {
        let file = File::create(self.ballast()).unwrap();
        let bytes = self.free_bytes().saturating_sub(left).max(1);
        fallocate(&file, FallocateFlags::empty(), 0, i64::try_from(bytes).unwrap()).unwrap();
    }

    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}
