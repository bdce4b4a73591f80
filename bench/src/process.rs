//! What a process has cost so far, read from /proc (proc(5)).

use std::path::Path;

use quorate_harness::Status;

use crate::error::{Error, Result};

/// One tick of /proc/PID/stat in µs: USER_HZ is 100 in the kernel's interface, whatever the kernel's own clock.
const TICK_US: u64 = 10_000;

/// Costs of a process since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU in user mode of all its threads, µs, in steps of 10 ms.
    pub user_us: u64,
    /// CPU in the kernel on its behalf, µs, in steps of 10 ms.
    pub system_us: u64,
    /// Bytes that it caused to be sent to the disk, less none that were cancelled.
    pub written_bytes: u64,
    /// Most memory it ever had resident, bytes.
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// Of the process with this id.
    pub fn of(pid: u32) -> Result<Self> {
        let (stat, io) = (format!("/proc/{pid}/stat"), format!("/proc/{pid}/io"));
        let missing = |file: &str, field| Error::Proc { file: file.into(), field };
        let (user, system) = ticks(&read(&stat)?).ok_or_else(|| missing(&stat, "utime"))?;
        Ok(Self {
            user_us: user * TICK_US,
            system_us: system * TICK_US,
            written_bytes: field(&read(&io)?, "write_bytes:").ok_or_else(|| missing(&io, "write_bytes"))?,
            peak_rss_bytes: Status::of(pid)?.peak_resident_bytes()?,
        })
    }

    /// User and system together, µs.
    pub fn cpu_us(&self) -> u64 {
        self.user_us + self.system_us
    }
}

/// CPU that all programs of the machine have taken since it started, µs; stolen time counts as taken.
pub fn machine_cpu_us() -> Result<u64> {
    let file = "/proc/stat";
    busy_ticks(&read(file)?).map(|ticks| ticks * TICK_US).ok_or_else(|| Error::Proc { file: file.into(), field: "cpu" })
}

/// Content of a file of /proc.
pub fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(file).map_err(Error::file(Path::new(file)))
}

/// The first number after `name` at the start of a line.
pub fn field(content: &str, name: &str) -> Option<u64> {
    let line = content.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// utime and stime, fields 14 and 15. The name in field 2 may hold blanks and brackets, so counting begins after its last bracket.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// All but idle (field 4) and iowait (field 5) of the first line; guests (from field 9) are part of user already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = fields.try_into().ok()?;
    Some(user + nice + system + irq + softirq + steal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_shifts_no_field() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 1234 567 11 12";
        assert_eq!(ticks(&format!("42 (etcd) {fields}")), Some((1234, 567)));
        assert_eq!(ticks(&format!("42 (a) b (c) d) {fields}")), Some((1234, 567)));
        assert_eq!(ticks("42 (etcd) S 1"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n";
        assert_eq!(field(io, "write_bytes:"), Some(4096));
        assert_eq!(field("VmPeak:\t  9 kB\nVmHWM:\t  1234 kB\n", "VmHWM:"), Some(1234));
        assert_eq!(field(io, "VmHWM:"), None);
    }

    #[test]
    fn idle_and_waiting_time_is_not_taken_by_anyone() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 9 9 9\n"), Some(63));
        assert_eq!(busy_ticks("intr 5\n"), None);
    }

    #[test]
    fn costs_of_this_very_process_are_read_and_grow() {
        let before = Usage::of(std::process::id()).unwrap();
        let machine = machine_cpu_us().unwrap();
        assert!(before.peak_rss_bytes > 100_000, "{before:?}");
        // Work until the clock of the kernel sees it, however coarse it is.
        let mut sum = 0_u64;
        while Usage::of(std::process::id()).unwrap().cpu_us() == before.cpu_us() {
            sum = (0..1_000_000_u64).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
        }
        assert!(machine_cpu_us().unwrap() >= machine);
    }
}
