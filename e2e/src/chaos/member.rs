//! One member: a real `quorate` process in a network namespace of its own, on a disk of its own, and what can be done to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};

use super::slow_disk::SlowDisk;
use crate::crash::Error;
use crate::crash::disk::{Disk, run};
use crate::crash::namespace::Namespace;
use crate::crash::process::{Process, server_binary, tail};

/// A SIGTERM is answered by handing leadership over, ending streams and a flush.
const TERMINATE_WITHIN: Duration = Duration::from_secs(30);

/// The folder of a member's data on its disk.
const DATA: &str = "data";

/// The file that takes what space is left.
const FILLER: &str = "filler";

/// It grows by pieces of these sizes, down to a block, until nothing more goes.
const FILLER_PIECES: [i64; 4] = [256 << 20, 4 << 20, 64 << 10, 4 << 10];

/// What a member is started with beside its folder.
#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    /// Fixed for its life: URLs, initial cluster, certificates.
    pub flags: Vec<String>,
}

pub struct Member {
    settings: Settings,
    disk: Disk,
    namespace: Arc<Namespace>,
    /// On the machine's own disk, so that it outlives power cuts.
    log: PathBuf,
    process: Option<Process>,
    group: Option<SlowDisk>,
    /// Seconds by which its monotonic clock and its clock since boot are ahead of the machine's.
    clock_offset: i64,
    /// It has been added to a cluster that exists.
    joins: bool,
    /// The processor that it runs on, when it has one of its own.
    processor: Option<usize>,
}

impl Member {
    /// A member that does not run yet; `group` is where the speed of its disk is limited.
    pub fn new(
        settings: Settings,
        disk: Disk,
        namespace: Arc<Namespace>,
        log: PathBuf,
        group: Option<SlowDisk>,
    ) -> Member {
        let (clock_offset, joins, processor) = (0, false, None);
        Member { settings, disk, namespace, log, process: None, group, clock_offset, joins, processor }
    }

    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// How the process ended by itself, if it has; from then on it does not run.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut().and_then(Process::ended)?;
        self.process = None;
        Some(status)
    }

    pub fn start(&mut self) -> Result<(), Error> {
        assert!(self.process.is_none(), "member {} runs already", self.settings.name);
        let binary = server_binary()?;
        let mut around: Vec<String> = Vec::new();
        if self.clock_offset != 0 {
            let offset = self.clock_offset.to_string();
            around
                .extend(["unshare", "--time", "--monotonic", &offset, "--boottime", &offset, "--"].map(str::to_owned));
        }
        if let Some(processor) = self.processor {
            around.extend(["taskset", "--cpu-list", &processor.to_string()].map(str::to_owned));
        }
        around.push(binary.display().to_string());
        let mut command = self.disk.command(&around[0]);
        command.args(&around[1..]);
        let state = if self.joins { "existing" } else { "new" };
        command
            .arg(format!("--name={}", self.settings.name))
            .arg(format!("--data-dir={}", self.disk.path().join(DATA).display()))
            .arg(format!("--initial-cluster-state={state}"))
            .args(&self.settings.flags);
        let process = Process::start(&self.settings.name, command, &self.log)?;
        if let Some(group) = &self.group {
            group.enter(process.id())?;
        }
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL, and the process is gone when this returns. A disk that stalls is let go on, because a process that waits for
    /// it does not die, and because it would stay for ever when its mount goes.
    pub fn kill(&mut self) {
        self.disk.resume();
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM; the exit status, or `None` if it did not end in time and was killed.
    pub async fn terminate(&mut self) -> Option<ExitStatus> {
        let mut process = self.process.take()?;
        process.terminate(TERMINATE_WITHIN).await
    }

    /// SIGSTOP.
    pub async fn pause(&self) -> Result<(), Error> {
        match &self.process {
            Some(process) => process.freeze().await,
            None => Ok(()),
        }
    }

    /// SIGCONT.
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.thaw();
        }
    }

    /// Limits the writes of the process to its disk; 0 takes the limit away. Nothing where the kernel cannot.
    pub fn slow_disk(&self, writes_per_second: u32) -> Result<(), Error> {
        match (&self.group, self.disk.device()?) {
            (Some(group), Some(device)) => group.limit(&device, writes_per_second),
            _ => Ok(()),
        }
    }

    /// From its next start its clocks are ahead by so many seconds.
    pub fn set_clock_offset(&mut self, seconds: i64) {
        self.clock_offset = seconds;
    }

    /// From its next start it runs on this processor alone.
    pub fn set_processor(&mut self, processor: usize) {
        self.processor = Some(processor);
    }

    /// Removes its data, and has it join the cluster at its next start.
    pub fn wipe(&mut self) -> Result<(), Error> {
        assert!(self.process.is_none(), "member {} still runs", self.settings.name);
        let data = self.namespace.seen(self.disk.path()).join(DATA);
        fs::remove_dir_all(&data).map_err(Error::io("remove", &data))?;
        self.joins = true;
        Ok(())
    }

    /// Takes all the space that is left on its disk, what is kept for root too.
    pub fn fill_disk(&self) -> Result<(), Error> {
        let path = self.namespace.seen(self.disk.path()).join(FILLER);
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let mut length = 0;
        for piece in FILLER_PIECES {
            while fallocate(&file, FallocateFlags::empty(), length, piece).is_ok() {
                length += piece;
            }
        }
        Ok(())
    }

    /// Gives the space back, for good: a power cut that follows must not fill the disk again.
    pub fn empty_disk(&self) -> Result<(), Error> {
        run(self.disk.command("rm").arg("-f").arg(self.disk.path().join(FILLER)))?;
        run(self.disk.command("sync").arg("-f").arg(self.disk.path()))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
