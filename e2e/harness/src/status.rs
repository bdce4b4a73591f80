//! What /proc/PID/status says of a process (proc_pid_status(5)).

use std::fs;
use std::io::ErrorKind;

use nix::sys::signal::Signal;

/// Why it says nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process has ended.
    #[error("there is no process {0} any more")]
    Gone(u32),
    /// /proc cannot be read: is it mounted, and is the process one's own?
    #[error("read /proc/{pid}/status: {source}; mount /proc, or run as root")]
    Unreadable {
        /// The process.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
    /// The process has ended and waits for its parent, or the kernel does not match the manual page.
    #[error(
        "/proc/{pid}/status has no readable {field}: the process is a zombie or the kernel's own, or this kernel does not match proc_pid_status(5)"
    )]
    Field {
        /// The process.
        pid: u32,
        /// The field.
        field: &'static str,
    },
}

/// The state of a process at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    pid: u32,
    text: String,
}

impl Status {
    /// Of the process with this id, now.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn of(pid: u32) -> Result<Status, Error> {
        match fs::read_to_string(format!("/proc/{pid}/status")) {
            Ok(text) => Ok(Status { pid, text }),
            // ESRCH: it ended between the opening and the reading.
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH) => {
                Err(Error::Gone(pid))
            }
            Err(source) => Err(Error::Unreadable { pid, source }),
        }
    }

    /// Memory that is resident, bytes.
    ///
    /// # Errors
    /// A zombie has none.
    pub fn resident_bytes(&self) -> Result<u64, Error> {
        self.bytes("VmRSS")
    }

    /// The most memory that ever was resident, bytes.
    ///
    /// # Errors
    /// A zombie has none.
    pub fn peak_resident_bytes(&self) -> Result<u64, Error> {
        self.bytes("VmHWM")
    }

    /// Whether the process has a handler for the signal.
    ///
    /// # Errors
    /// The kernel does not match the manual page.
    pub fn handles(&self, signal: Signal) -> Result<bool, Error> {
        let caught = self.field("SigCgt", |mask| u64::from_str_radix(mask, 16).ok())?;
        Ok(caught & (1 << (signal as u64 - 1)) != 0)
    }

    /// A field in "kB", which are KiB.
    fn bytes(&self, field: &'static str) -> Result<u64, Error> {
        self.field(field, |value| value.strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024))
    }

    fn field<T>(&self, field: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        let value = self.text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.and_then(|value| read(value.trim())).ok_or(Error::Field { pid: self.pid, field })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn status(text: &str) -> Status {
        Status { pid: 42, text: text.to_owned() }
    }

    #[test]
    fn fields_are_found_by_their_whole_name_and_read_in_their_unit() {
        let status = status(
            "Name:\tVmRSS: 9 kB\nVmHWM:\t    3072 kB\nVmRSS:\t    2048 kB\nRssAnon:\t 1 kB\nSigCgt:\t0000000000004002\n",
        );
        assert_eq!(status.resident_bytes().unwrap(), 2 << 20);
        assert_eq!(status.peak_resident_bytes().unwrap(), 3 << 20);
        assert!(status.handles(Signal::SIGINT).unwrap() && status.handles(Signal::SIGTERM).unwrap());
        assert!(!status.handles(Signal::SIGHUP).unwrap());
    }

    #[test]
    fn what_is_missing_or_torn_is_named() {
        for text in ["Name:\tkthreadd\n", "VmRSS:\t12\n", "VmRSS:\tmany kB\n"] {
            let said = status(text).resident_bytes().unwrap_err().to_string();
            assert!(said.contains("/proc/42/status") && said.contains("VmRSS"), "{text}: {said}");
        }
        assert!(matches!(status("SigCgt:\txyz\n").handles(Signal::SIGTERM), Err(Error::Field { field: "SigCgt", .. })));
    }

    #[test]
    fn a_process_is_told_from_a_zombie_and_from_none() {
        let own = Status::of(std::process::id()).unwrap();
        assert!(own.resident_bytes().unwrap() > 100_000);
        assert!(own.peak_resident_bytes().unwrap() >= own.resident_bytes().unwrap());
        let mut child = Command::new("true").spawn().unwrap();
        let (pid, mut ended) = (child.id(), false);
        while !ended {
            // It has no memory once it has ended, and stays a zombie until it is waited for.
            ended = matches!(Status::of(pid).unwrap().resident_bytes(), Err(Error::Field { field: "VmRSS", .. }));
        }
        child.wait().unwrap();
        assert!(matches!(Status::of(pid), Err(Error::Gone(gone)) if gone == pid));
    }
}
