//! The right to act: it ends by the clock alone, whatever else this process is busy with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since boot, which goes on while the process is stopped and while the machine sleeps.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("Linux has had this clock since 2.6.39")
}

/// Shared by those who act; asked right before every write.
#[derive(Clone, Debug)]
pub struct Tenure(Arc<Mutex<Duration>>);

impl Tenure {
    /// Not yet begun.
    pub fn ended() -> Self {
        Self(Arc::new(Mutex::new(Duration::ZERO)))
    }

    /// For a process that cannot have a rival.
    pub fn unlimited() -> Self {
        Self(Arc::new(Mutex::new(Duration::MAX)))
    }

    /// Whether this process may act right now.
    pub fn holds(&self) -> bool {
        now() < *self.until()
    }

    /// It lasts until then, unless it lasts longer already.
    pub(super) fn extend(&self, until: Duration) {
        let mut present = self.until();
        *present = until.max(*present);
    }

    /// It is over.
    pub(super) fn end(&self) {
        *self.until() = Duration::ZERO;
    }

    fn until(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenure_ends_by_the_clock_and_by_word() {
        let tenure = Tenure::ended();
        assert!(!tenure.holds());
        tenure.extend(now() + Duration::from_secs(60));
        assert!(tenure.clone().holds());
        tenure.extend(now());
        assert!(tenure.holds(), "a late answer does not shorten it");
        tenure.end();
        assert!(!tenure.holds());
        tenure.extend(now());
        assert!(!tenure.holds());
        assert!(Tenure::unlimited().holds());
    }
}
