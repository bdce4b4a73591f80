//! Which process it is: an id alone may be another's by now.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process id together with the moment of its start, which no later process with the same id shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Its id.
    pub pid: u32,
    /// Clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
}

impl Identity {
    /// `None` if there is no such process, or only its remains.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets and may hold anything, brackets too.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let state = *fields.first()?;
        let started = fields.get(19)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, started })
    }

    /// Of the running program.
    pub fn own() -> Self {
        Self::of(std::process::id()).expect("this process runs, and /proc is mounted on Linux")
    }

    /// Whether this very process runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Reads a pid file; `None` if it is missing or torn.
    pub fn read(file: &Path) -> Option<Self> {
        Self::parse(fs::read_to_string(file).ok()?.trim(), ' ')
    }

    /// `PREFIX-PID-STARTED-REST`: the name of something that the process owns, from which others tell whose it is.
    pub fn name(&self, prefix: &str, rest: impl fmt::Display) -> String {
        let Self { pid, started } = self;
        format!("{prefix}-{pid}-{started}-{rest}")
    }

    /// The owner of something with such a name; `None` if it is no name with this prefix.
    pub fn owner(name: &str, prefix: &str) -> Option<Self> {
        let rest = name.strip_prefix(prefix)?.strip_prefix('-')?;
        let (end, _) = rest.match_indices('-').nth(1)?;
        Self::parse(&rest[..end], '-')
    }

    fn parse(text: &str, between: char) -> Option<Self> {
        let (pid, started) = text.split_once(between)?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_alive_only_with_its_own_start_time() {
        let own = Identity::own();
        assert!(own.is_alive());
        assert!(!Identity { started: own.started + 1, ..own }.is_alive());
    }

    #[test]
    fn an_identity_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.pid");
        fs::write(&file, Identity::own().to_string()).unwrap();
        assert_eq!(Identity::read(&file), Some(Identity::own()));
        fs::write(&file, "12").unwrap();
        assert_eq!(Identity::read(&file), None);
    }

    #[test]
    fn a_name_tells_its_owner_and_others_tell_none() {
        let owner = Identity { pid: 12, started: 345 };
        let name = owner.name("quorate-run", "0-m1");
        assert_eq!(name, "quorate-run-12-345-0-m1");
        assert_eq!(Identity::owner(&name, "quorate-run"), Some(owner));
        for other in
            ["quorate-run-12-345", "quorate-run-12", "quorate-run-x-345-0", "quorate-runs-12-345-0", "run-12-345-0", ""]
        {
            assert_eq!(Identity::owner(other, "quorate-run"), None, "{other}");
        }
    }
}
