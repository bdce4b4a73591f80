//! Facts about the machine that figures mean nothing without.

use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::process::{field, read};

/// The machine and the moment.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// UTC.
    pub date: String,
    /// As the processor calls itself.
    pub processor: String,
    /// Processors that this program may use.
    pub cores: usize,
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Type of the file system that the servers write to.
    pub file_system: String,
}

impl Machine {
    /// This one; `data` is the existing folder that the servers write to.
    pub fn observe(data: &Path) -> Result<Self> {
        Ok(Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            processor: processor(&read("/proc/cpuinfo")?).unwrap_or("unknown").into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: field(&read("/proc/meminfo")?, "MemTotal:").unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().into(),
            file_system: file_system(&read("/proc/mounts")?, &data.canonicalize()?).unwrap_or("unknown").into(),
        })
    }
}

/// Programs running or waiting for the disk, on average over the last minute.
pub fn load_average() -> Result<f64> {
    let content = read("/proc/loadavg")?;
    Ok(content.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN))
}

fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Type of the mount that holds the folder: that of the longest mount point above it, the last mounted of equal ones.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let fields = mounts.lines().map(|line| line.split_whitespace().skip(1));
    let points = fields.filter_map(|mut fields| Some((fields.next()?, fields.next()?)));
    let above = points.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lies_on_the_nearest_mount_above_it() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nnone /tmp/data xfs rw 0 0\n";
        let found = |folder| file_system(mounts, Path::new(folder));
        assert_eq!(found("/home/data"), Some("ext4"));
        assert_eq!(found("/tmp/other"), Some("tmpfs"));
        assert_eq!(found("/tmp/data/etcd"), Some("xfs"));
        assert_eq!(found("/tmp/database"), Some("tmpfs"));
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one() {
        assert_eq!(file_system("a / ext4 rw 0 0\nb / overlay rw 0 0\n", Path::new("/x")), Some("overlay"));
    }

    #[test]
    fn the_processor_is_named_after_the_colon() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU @ 2: GHz\n"), Some("Some CPU @ 2: GHz"));
        assert_eq!(processor("processor : 0\n"), None);
    }

    #[test]
    fn this_machine_is_observed() {
        let machine = Machine::observe(Path::new("/")).unwrap();
        assert!(machine.memory_bytes > 1 << 26, "{machine:?}");
        assert_ne!(machine.file_system, "unknown");
        assert!(load_average().unwrap() >= 0.0);
    }
}
