//! Where a member keeps its data: a plain folder, or an ext4 file system of its own whose power can be cut, and which can fail.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::Error;
use super::namespace::Namespace;

/// Sparse, so that it costs what is written; large enough for the preallocated log segments and the store.
const IMAGE_BYTES: u64 = 2 << 30;

/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: the file system stops at once and its journal is not flushed.
const WITHOUT_LOG_FLUSH: u32 = 2;

mod ioctl {
    // FS_IOC_SHUTDOWN of the kernel's ext4.h: _IOR('X', 125, __u32).
    nix::ioctl_read!(
        #[doc = "Shuts a file system down."]
        shutdown,
        b'X',
        125,
        u32
    );
    // FIFREEZE and FITHAW of the kernel's fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int).
    nix::ioctl_readwrite!(
        #[doc = "Holds up every write to a file system."]
        freeze,
        b'X',
        119,
        i32
    );
    nix::ioctl_readwrite!(
        #[doc = "Lets writes go on."]
        thaw,
        b'X',
        120,
        i32
    );
}

/// A member's disk. Invariant: an ext4 disk is mounted whenever nobody is in the middle of a power cut.
pub enum Disk {
    Folder(PathBuf),
    Ext4 { image: PathBuf, mount: PathBuf, namespace: Arc<Namespace> },
}

impl Disk {
    /// A folder on the machine's own disk.
    pub fn folder(path: PathBuf) -> Result<Disk, Error> {
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        Ok(Disk::Folder(path))
    }

    /// A new ext4 file system in `path.img`, mounted at `path` inside the namespace.
    pub fn ext4(path: PathBuf, namespace: Arc<Namespace>) -> Result<Disk, Error> {
        let image = path.with_extension("img");
        let file = File::create(&image).map_err(Error::io("create", &image))?;
        file.set_len(IMAGE_BYTES).map_err(Error::io("extend", &image))?;
        // Inode tables are written now and not by a kernel thread later, which would hold up an unmount.
        let options = ["-q", "-F", "-N", "4096", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new("mkfs.ext4").args(options).arg(&image))?;
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        run(namespace.command("mount").args(["-o", "loop"]).args([&image, &path]))?;
        Ok(Disk::Ext4 { image, mount: path, namespace })
    }

    /// The path as a command of this disk sees it.
    pub fn path(&self) -> &Path {
        match self {
            Disk::Folder(path) | Disk::Ext4 { mount: path, .. } => path,
        }
    }

    /// A command that sees this disk.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Disk::Folder(_) => Command::new(program),
            Disk::Ext4 { namespace, .. } => namespace.command(program),
        }
    }

    /// Writes everything that is in memory to the disk, as the kernel does by itself within half a minute.
    pub fn settle(&self) -> Result<(), Error> {
        let Disk::Ext4 { mount, .. } = self else { return Ok(()) };
        run(self.command("sync").arg("--file-system").arg(mount))
    }

    /// From here every write fails and what was not synced is lost. A plain folder has no power to cut.
    pub fn cut_power(&self) -> Result<(), Error> {
        let Disk::Ext4 { mount, namespace, .. } = self else { return Ok(()) };
        let point = File::open(namespace.seen(mount)).map_err(Error::io("open", mount))?;
        let mut how = WITHOUT_LOG_FLUSH;
        // SAFETY: the descriptor is open for the length of the call, and the kernel only reads the u32 behind the pointer.
        unsafe { ioctl::shutdown(point.as_raw_fd(), &mut how) }.map_err(|errno| Error::Io {
            doing: "shut down",
            path: mount.clone(),
            source: errno.into(),
        })?;
        Ok(())
    }

    /// From here the file system takes no writes, as ext4 decides when it meets an error on its disk; what was not synced is lost. A
    /// plain folder stays as it is.
    pub fn turn_read_only(&self) -> Result<(), Error> {
        let Disk::Ext4 { mount, .. } = self else { return Ok(()) };
        run(self.command("mount").args(["-o", "remount,errors=remount-ro"]).arg(mount))?;
        let number = self.device()?.expect("an ext4 disk has a device");
        let device = fs::read_link(format!("/sys/dev/block/{number}")).map_err(Error::io("look at", &number))?;
        let name = device.file_name().expect("a device has a name");
        let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
        fs::write(&trigger, "a test's").map_err(Error::io("write", &trigger))
    }

    /// From here every write waits, as on a disk that does not answer. A plain folder never stalls.
    pub fn stall(&self) -> Result<(), Error> {
        let Disk::Ext4 { mount, namespace, .. } = self else { return Ok(()) };
        let point = File::open(namespace.seen(mount)).map_err(Error::io("open", mount))?;
        let mut unused = 0;
        // SAFETY: the descriptor is open for the length of the call, which leaves the integer alone.
        unsafe { ioctl::freeze(point.as_raw_fd(), &mut unused) }.map_err(|errno| Error::Io {
            doing: "freeze",
            path: mount.clone(),
            source: errno.into(),
        })?;
        Ok(())
    }

    /// Ends a stall; nothing happens when there is none.
    pub fn resume(&self) {
        if let Disk::Ext4 { mount, namespace, .. } = self {
            thaw(&namespace.seen(mount));
        }
    }

    /// The block device below the file system as "MAJOR:MINOR"; a plain folder has none of its own.
    pub fn device(&self) -> Result<Option<String>, Error> {
        let Disk::Ext4 { mount, namespace, .. } = self else { return Ok(None) };
        let metadata = fs::metadata(namespace.seen(mount)).map_err(Error::io("look at", mount))?;
        let device = metadata.dev();
        Ok(Some(format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device))))
    }

    /// Brings the disk back as a restarted machine finds it. Nothing may have it open.
    pub fn restore_power(&self) -> Result<(), Error> {
        let Disk::Ext4 { image, mount, namespace } = self else { return Ok(()) };
        run(namespace.command("umount").arg(mount))?;
        run(namespace.command("mount").args(["-o", "loop"]).args([image, mount]))
    }
}

/// Ends the stalls of disks that a dead run left, whose images are in `folder`. Its namespaces may be gone, but a file system that stalls stays
/// with its loop device: mounted again, it is the same one.
pub(super) fn thaw_abandoned(folder: &Path) {
    for device in loop_devices(folder) {
        let Ok(namespace) = Namespace::create() else { return };
        // It fails where the device has been freed in between, which is as good.
        if run(namespace.command("mount").arg(device).arg(folder)).is_ok() {
            thaw(&namespace.seen(folder));
        }
    }
}

/// The loop devices of images in a folder.
fn loop_devices(folder: &Path) -> Vec<PathBuf> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let image = |device: &Path| fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
    let ours = devices.filter(|device| Path::new(&image(&device.path())).starts_with(folder));
    ours.map(|device| Path::new("/dev").join(device.file_name())).collect()
}

/// Ends the stall of the file system at a path, if there is one.
fn thaw(mount: &Path) {
    let Ok(point) = File::open(mount) else { return };
    let mut unused = 0;
    // SAFETY: as in `Disk::stall`. It fails where nothing is frozen, which is as wanted.
    let _ = unsafe { ioctl::thaw(point.as_raw_fd(), &mut unused) };
}

/// Runs a command of the harness to its end, also when Ctrl-C asks the harness to stop; what it said on its standard error is the error.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let output = command.process_group(0).output().map_err(Error::io("run", PathBuf::from(command.get_program())))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: format!("{command:?}"),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::crash::workspace::Workspace;

    #[test]
    fn a_disk_that_stalls_is_let_go_on_when_the_namespace_of_its_run_is_gone() {
        let workspace = Workspace::create().unwrap();
        let namespace = Arc::new(Namespace::create().unwrap());
        let disk = Disk::ext4(workspace.path().join("disk"), Arc::clone(&namespace)).unwrap();
        disk.stall().unwrap();
        drop((disk, namespace));
        assert_eq!(loop_devices(workspace.path()).len(), 1, "a file system that stalls stays");
        thaw_abandoned(workspace.path());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !loop_devices(workspace.path()).is_empty() {
            assert!(Instant::now() < deadline, "its loop device is still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_power_cut_or_an_error_keeps_what_was_synced_and_loses_the_rest() {
        let workspace = Workspace::create().unwrap();
        let namespace = Arc::new(Namespace::create().unwrap());
        let disk = Disk::ext4(workspace.path().join("disk"), Arc::clone(&namespace)).unwrap();
        let root = namespace.seen(disk.path());
        let (synced, unsynced) = (root.join("synced"), root.join("unsynced"));
        let mut file = File::create(&synced).unwrap();
        file.write_all(b"kept").unwrap();
        file.sync_all().unwrap();
        File::open(&root).unwrap().sync_all().unwrap();
        fs::write(&unsynced, b"lost").unwrap();
        drop(file);

        disk.cut_power().unwrap();
        assert!(fs::write(&synced, b"late").is_err(), "a disk without power takes no write");
        disk.restore_power().unwrap();

        assert_eq!(fs::read(&synced).unwrap(), b"kept");
        assert!(!unsynced.exists(), "what was not synced is gone");
        disk.turn_read_only().unwrap();
        let refused = fs::write(&synced, b"late").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        disk.restore_power().unwrap();
        assert_eq!(fs::read(&synced).unwrap(), b"kept");
        fs::write(&synced, b"new").unwrap();

        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&*disk.path().to_string_lossy()), "nothing is mounted outside the namespace");
    }
}
