//! What others may see of the driver's state, and what follows when role or leader change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use quorate_core::lease::Duty;
use quorate_core::log::Index;
use quorate_core::node::Status as NodeStatus;

use super::{Fatal, Running};
use crate::store::Status;

impl Running {
    fn status(&self, node: NodeStatus, applied: Index) -> Status {
        let machine = &self.driver.machine;
        let this = self.driver.inner.identity.member_id;
        let membership = machine.membership();
        let in_use = machine.size_in_use_bytes();
        Status {
            role: node.role,
            leader: node.leader,
            term: node.term,
            committed: node.commit,
            applied,
            is_learner: membership.get(this).is_some_and(|member| member.learner),
            revision: machine.revision(),
            compact_revision: machine.compact_revision(),
            feature_level: machine.feature_level(),
            alarms: machine.alarms().iter().collect(),
            db_size_in_use: in_use,
            db_size: in_use + self.driver.inner.unreclaimed.load(Ordering::Relaxed),
            leader_lost: self.leader_lost,
            removed: membership.is_removed(this),
            disk_full: self.disk_full_reason(),
        }
    }

    /// Before answers leave: whoever got one sees at least its revision in every later header.
    pub(super) fn publish_applied(&self, applied: Index) {
        let status = self.status(self.driver.node.status(), applied);
        self.driver.inner.status.store(Arc::new(status));
    }

    /// After a turn: compares with what was last published and tells who depends on it.
    pub(super) fn publish(&mut self) {
        let now = self.driver.node.status();
        let before = self.published;
        if before == Some(now) && self.changes == 0 {
            return;
        }
        self.published = Some(now);
        if let Some(before) = before
            && before.leader != 0
            && now.leader != before.leader
        {
            self.leader_lost = Some(Instant::now());
        }
        if now.leader != 0 && before.is_none_or(|before| before.leader != now.leader) {
            self.driver.inner.metrics.server.leader_changes.inc();
        }
        let inner = self.driver.inner.clone();
        let level = u64::from(self.driver.machine.feature_level());
        inner.peers.local().feature_level.store(level, Ordering::Relaxed);
        inner.status.store(Arc::new(self.status(now, now.applied)));
        self.tell_lessor(before, now);
        let moved = before.is_none_or(|before| {
            (before.role, before.leader, before.term, before.leads_with_commit)
                != (now.role, now.leader, now.term, now.leads_with_commit)
        });
        if moved {
            let id = |id: u64| format!("{id:x}");
            tracing::info!(role = ?now.role, term = now.term, leader = id(now.leader), "raft state changed");
        }
        if moved || self.changes > 0 || before.is_none_or(|before| before.applied != now.applied) {
            inner.changed.send_modify(|version| *version += 1);
        }
        self.changes = 0;
    }

    /// Leases expire on a leader that knows what is committed; a new one gives every lease its full time.
    fn tell_lessor(&self, before: Option<NodeStatus>, now: NodeStatus) {
        let inner = &self.driver.inner;
        match Duty::after(before.as_ref(), &now) {
            Duty::Promote { term } => {
                let leases =
                    self.driver.machine.leases().iter().map(|(id, lease)| (*id, lease.ttl_seconds, lease.grant_index));
                inner.lessor.promote(term, leases, inner.timers.load().election);
            }
            Duty::Demote => inner.lessor.demote(),
            Duty::Unchanged => {}
        }
    }

    /// Housekeeping that needs no event.
    pub(super) fn every_tick(&mut self) -> Result<(), Fatal> {
        let status = self.driver.node.status();
        self.driver.log.hint_commit(status.commit)?;
        self.watch_disk()?;
        self.rebuild_step();
        self.sweep()
    }
}
