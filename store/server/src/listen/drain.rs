//! Asking clients to go elsewhere before a member leaves: a connection ends when the requests on it have (GOAWAY to HTTP/2,
//! `Connection: close` to HTTP/1), so that its client connects anew and may land on another member. Everything is still served.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Life of a connection that begins while clients are asked to go: long enough for the requests of a client that has nowhere else to
/// go, short enough for one that a Service has sent here once more.
const LIFE: Duration = Duration::from_millis(500);

/// Whether clients are asked to go, and how many connections of theirs are open.
#[derive(Debug, Default)]
pub struct Drain {
    on: watch::Sender<bool>,
    connections: AtomicU64,
}

impl Drain {
    pub fn set(&self, on: bool) {
        if self.on.send_replace(on) != on {
            tracing::info!(on, connections = self.connections(), "clients are asked to go to other members");
        }
    }

    pub fn is_on(&self) -> bool {
        *self.on.borrow()
    }

    /// Connections that are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connected(&self) -> Connected<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(self)
    }

    /// Completes when a connection that begins now shall end.
    pub(super) async fn due(&self) {
        let mut on = self.on.subscribe();
        let is_late = *on.borrow();
        if on.wait_for(|on| *on).await.is_ok() && is_late {
            tokio::time::sleep(LIFE).await;
        }
    }
}

pub(super) struct Connected<'a>(&'a Drain);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
