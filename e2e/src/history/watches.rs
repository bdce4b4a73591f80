//! Watches: every event of the range once, in order, from the start revision on, none missing in between or before what a
//! header told of.

use bytes::Bytes;

use super::record::digest;
use super::truth::Truth;
use super::verdict::{Judged, Violation};

/// One watch from its creation to its end, on one stream.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Who watched whom, for people.
    pub watcher: String,
    /// Keys from `from` to below `end`.
    pub from: Bytes,
    pub end: Bytes,
    /// The first revision to be delivered; not 0.
    pub start_revision: i64,
    /// Revision and digest of every event, in the order of delivery.
    pub seen: Vec<(i64, u64)>,
    /// The highest revision up to which the server said that it had delivered everything (progress messages), 0 if none.
    pub told: i64,
}

pub fn check(truth: &Truth, sessions: &[Session], judged: &mut Judged) -> Vec<Violation> {
    sessions.iter().filter_map(|session| judge(truth, session, judged)).collect()
}

/// The first thing that is wrong; everything after it would be a consequence.
fn judge(truth: &Truth, session: &Session, judged: &mut Judged) -> Option<Violation> {
    let watcher = || session.watcher.clone();
    let inside = |key: &Bytes| *key >= session.from && *key < session.end;
    let mut expected = truth.from(session.start_revision).iter().filter(|event| inside(&event.key));
    for (revision, seen) in &session.seen {
        judged.watched_events += 1;
        let next = expected.next();
        let right =
            next.is_some_and(|next| next.revision == *revision && digest(&next.key, next.row.as_ref()) == *seen);
        if !right {
            let expected = next.map(|next| next.revision);
            return Some(Violation::WatchWrong { watcher: watcher(), revision: *revision, expected });
        }
    }
    let next = expected.next()?;
    // A revision is delivered whole, and a header promises everything up to its revision.
    let last = session.seen.last().map_or(0, |(revision, _)| *revision);
    let promised = session.told.max(last);
    (next.revision <= promised).then(|| Violation::WatchShort {
        watcher: watcher(),
        revision: next.revision,
        told: promised,
    })
}
