//! What is known of the state that both servers are in, while a sequence runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::compare::View;
use crate::session::Session;

/// What is known of the state that both servers are in.
pub struct Facts {
    pub now: i64,
    pub compacted: i64,
    pub compactions: BTreeSet<i64>,
    /// Compactions since the servers were started.
    pub compactions_begun: u64,
    /// Revisions that must not be compacted at.
    pub kept: BTreeSet<i64>,
    pub hash_has_chosen: bool,
    /// A change of members came into the log and was refused there.
    pub refused_change: bool,
    /// The TTL of each lease, in seconds.
    pub ttls: BTreeMap<i64, i64>,
    pub cluster: bool,
    started: Instant,
}

impl Facts {
    pub fn new(cluster: bool) -> Facts {
        Facts {
            now: 1,
            compacted: 0,
            compactions: BTreeSet::new(),
            compactions_begun: 0,
            kept: BTreeSet::new(),
            hash_has_chosen: false,
            refused_change: false,
            ttls: BTreeMap::new(),
            cluster,
            started: Instant::now(),
        }
    }

    /// Revision 0 was compacted at, which is done once, and none above it.
    pub fn only_compacted_at_zero(&self) -> bool {
        self.compactions.last() == Some(&0)
    }

    pub fn view<'a>(&'a self, session: &'a Session) -> View<'a> {
        View {
            names: &session.names,
            cluster: self.cluster,
            elapsed: self.started.elapsed(),
            hash_has_chosen: self.hash_has_chosen,
            ttls: &self.ttls,
        }
    }
}
