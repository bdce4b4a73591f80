//! Rereads everything that this member holds, slowly and again and again (`quorate_core::mvcc::scrub`). Damage raises CORRUPT.
//!
//! Only a step's views are held, never one of a whole pass: what is compacted meanwhile can be freed.

use std::time::Duration;

use quorate_core::mvcc::{Revision, Scrub, ScrubLimits, scrub};

use crate::store::Store;

/// One step, of well under a millisecond without the disk.
const STEP: ScrubLimits = ScrubLimits { versions: 256, bytes: 1 << 20 };
/// Between two steps: at most 4 MiB and a thousand versions a second.
const STEP_PAUSE: Duration = Duration::from_millis(250);

/// Scrubs until the server stops, with this long a rest between two passes. Begins with a pass.
pub async fn run(store: Store, rest: Duration) {
    let mut next = None;
    while !store.0.inbox.is_closed() {
        // What is damaged stays so until the member is rebuilt.
        let step = if store.is_quarantined() { None } else { step(&store, next.unwrap_or_default()).await };
        next = step.and_then(|step| step.next);
        let metrics = &store.0.metrics.disk;
        if let Some(step) = step {
            metrics.scrubbed_versions.inc_by(step.versions as u64);
            metrics.scrubbed_bytes.inc_by(step.bytes as u64);
            metrics.scrub_passes.inc_by(u64::from(step.next.is_none()));
        }
        tokio::time::sleep(if next.is_some() { STEP_PAUSE } else { rest }).await;
    }
}

/// `None` when the step could not be made, or found damage.
async fn step(store: &Store, from: Revision) -> Option<Scrub> {
    let view = store.backend().snapshot().past_the_cache();
    let stepped = tokio::task::spawn_blocking(move || scrub(&view, from, STEP)).await.ok()?;
    stepped.inspect_err(|error| _ = store.report_damage_of(error)).ok()
}
