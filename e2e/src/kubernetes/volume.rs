//! A local volume: a file of the claimed size on the node's disk, with an ext4 in it that the node mounts. A pod that writes
//! more than was claimed is out of space, as on a rented disk.
//!
//! Invariant: a file is mounted once at a time. The mounts are in the node's own namespace and end with it; the kernel frees
//! the loop device then, so that nothing is left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quorate_harness::Identity;

use super::error::{Error, Result, io};
use super::layout::{Layout, node_name};
use super::namespace::Inside;
use super::node_files::{VOLUMES, volumes};
use super::process::run;
use super::wait::Deadline;

/// The kernel frees a loop device within milliseconds of its last user's end.
const FREE_LIMIT: Duration = Duration::from_secs(30);
/// ext4 with its journal takes most of anything smaller.
pub const BYTES_MIN: u64 = 8 << 20;

/// A volume of a node, by its name.
#[derive(Debug, Clone)]
pub struct Volume<'a> {
    layout: &'a Layout,
    node: u32,
    name: &'a str,
}

impl<'a> Volume<'a> {
    pub fn new(layout: &'a Layout, node: u32, name: &'a str) -> Self {
        Self { layout, node, name }
    }

    /// The file that holds it, as this machine sees it.
    pub fn file(&self) -> PathBuf {
        volumes(self.layout, self.node).join(format!("{}.img", self.name))
    }

    pub fn exists(&self) -> bool {
        self.file().exists()
    }

    /// Makes and mounts it; may be repeated.
    pub fn make(&self, bytes: u64) -> Result<()> {
        let file = self.file();
        if !file.exists() {
            // Under another name until it is whole, so that a crash leaves no half of a volume.
            let part = file.with_extension("part");
            File::create(&part).and_then(|file| file.set_len(bytes)).map_err(io("make the volume", &part))?;
            let options = ["-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"];
            run(Command::new("mkfs.ext4").args(options).arg(&part))?;
            fs::rename(&part, &file).map_err(io("make the volume", &file))?;
        }
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(io("make the folder", folder))?;
        let holder = self.holder()?;
        if self.device(&holder)?.is_some() {
            return Ok(());
        }
        let (image, path) = (format!("{}.img", path(self.name)), path(self.name));
        let deadline = Deadline::after(FREE_LIMIT, format!("a free {}", file.display()), self.layout);
        Inside::machine_of(holder.pid).enter(|| mount(&image, &path, &deadline))
    }

    /// Lets it grow: while it is mounted where the kernel allows that (it asks for CAP_SYS_RESOURCE, which containers lack),
    /// else once no pod uses it; until then an error. May be repeated.
    pub fn grow(&self, bytes: u64) -> Result<()> {
        let path = self.file();
        let file = File::options().write(true).open(&path).map_err(io("open the volume", &path))?;
        let present = file.metadata().map_err(io("look at the volume", &path))?.len();
        if present < bytes {
            file.set_len(bytes).map_err(io("grow the volume", &path))?;
        }
        let holder = self.holder()?;
        let device = self.device(&holder)?;
        let path = self::path(self.name);
        let deadline = Deadline::after(FREE_LIMIT, format!("a free {path}"), self.layout);
        Inside::machine_of(holder.pid).enter(|| {
            let image = format!("{path}.img");
            if let Some(device) = device {
                run(Command::new("losetup").arg("--set-capacity").arg(&device))?;
                if run(Command::new("resize2fs").arg(&device)).is_ok() {
                    return Ok(());
                }
                run(Command::new("umount").arg(&path))?;
            }
            await_free(&image, &deadline)?;
            run(Command::new("e2fsck").args(["-f", "-p"]).arg(&image))?;
            run(Command::new("resize2fs").arg(&image))?;
            mount(&image, &path, &deadline)
        })
    }

    /// Unmounts and deletes it; an error while a pod uses it. May be repeated.
    pub fn delete(&self) -> Result<()> {
        // Without power a node has no mounts.
        if let Ok(holder) = self.holder()
            && self.device(&holder)?.is_some()
        {
            let path = self::path(self.name);
            Inside::machine_of(holder.pid).enter(|| run(Command::new("umount").arg(path)).map(drop))?;
        }
        let folder = self.folder();
        for removed in [fs::remove_dir(&folder), fs::remove_file(self.file())] {
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("delete the volume", folder)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        volumes(self.layout, self.node).join(self.name)
    }

    /// The process that keeps the node's namespaces.
    fn holder(&self) -> Result<Identity> {
        let file = self.layout.pid_file(&format!("{}-holder", node_name(self.node)));
        Identity::read(&file).filter(Identity::is_alive).ok_or(Error::NodeDown(self.node))
    }

    /// The loop device that is mounted for it, if one is.
    fn device(&self, holder: &Identity) -> Result<Option<String>> {
        let file = format!("/proc/{}/mountinfo", holder.pid);
        let mounts = fs::read_to_string(&file).map_err(io("read", file))?;
        let path = self::path(self.name);
        // ID PARENT MAJOR:MINOR ROOT PATH OPTIONS ... - TYPE DEVICE OPTIONS
        let mounted = mounts.lines().find(|line| line.split(' ').nth(4) == Some(path.as_str()));
        Ok(mounted.and_then(|line| line.split_once(" - ")?.1.split(' ').nth(1)).map(str::to_owned))
    }
}

/// Where pods find a volume, as the node sees it.
pub fn path(name: &str) -> String {
    format!("{VOLUMES}/{name}")
}

/// Mounts what a node's disk holds, when the node boots; runs in its namespaces.
pub fn mount_all(layout: &Layout) -> Result<()> {
    let entries = fs::read_dir(VOLUMES).map_err(io("list", VOLUMES))?;
    for image in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if image.extension().is_some_and(|extension| extension == "img") {
            let deadline = Deadline::after(FREE_LIMIT, format!("a free {}", image.display()), layout);
            mount(&image.to_string_lossy(), &image.with_extension("").to_string_lossy(), &deadline)?;
        }
    }
    Ok(())
}

/// Waits for the end of an earlier mount: two of one file would destroy what is in it.
fn mount(image: &str, path: &str, deadline: &Deadline) -> Result<()> {
    await_free(image, deadline)?;
    run(Command::new("mount").args(["-t", "ext4", "-o", "loop,nosuid,nodev"]).args([image, path]))?;
    // Pods run as any user; kubelet sets the group where a pod asks for one.
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(Path::new(path), fs::Permissions::from_mode(0o777)).map_err(io("open up the volume", path))
}

fn await_free(image: &str, deadline: &Deadline) -> Result<()> {
    while !run(Command::new("losetup").arg("--associated").arg(image))?.trim().is_empty() {
        deadline.pause()?;
    }
    Ok(())
}

/// Bytes of a quantity in the forms that the API server keeps; `None` of a fraction of a byte or nonsense.
pub fn bytes(quantity: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 11] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("", 1),
    ];
    let (number, factor) =
        SUFFIXES.iter().find_map(|(suffix, factor)| Some((quantity.strip_suffix(suffix)?, *factor)))?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_bytes() {
        for (text, expected) in [
            ("1Gi", Some(1 << 30)),
            ("64Mi", Some(64 << 20)),
            ("10G", Some(10_000_000_000)),
            ("4096", Some(4096)),
            ("100m", None),
            ("1.5Gi", None),
            ("99999999Pi", None),
            ("lots", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
