//! Bounded waiting for something outside of this process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::layout::Layout;

/// Between two looks. Short beside the waits (tenths of seconds to seconds), long beside a look (a millisecond).
const POLL: Duration = Duration::from_millis(50);

/// The moment at which waiting for `what` becomes an error.
#[derive(Debug)]
pub struct Deadline {
    start: Instant,
    limit: Duration,
    what: String,
    logs: PathBuf,
}

impl Deadline {
    /// `limit` from now; the error names `what` and the folder of the cluster's logs.
    pub fn after(limit: Duration, what: impl Into<String>, layout: &Layout) -> Self {
        Self { start: Instant::now(), limit, what: what.into(), logs: layout.logs() }
    }

    /// Waits until the next look, or says that time is over. Blocks the thread.
    pub fn pause(&self) -> Result<()> {
        self.check()?;
        std::thread::sleep(POLL);
        Ok(())
    }

    /// Waits until the next look, or says that time is over.
    pub async fn pause_async(&self) -> Result<()> {
        self.check()?;
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.start.elapsed() < self.limit {
            return Ok(());
        }
        Err(Error::Timeout { what: self.what.clone(), limit: self.limit, logs: self.logs.clone() })
    }
}
