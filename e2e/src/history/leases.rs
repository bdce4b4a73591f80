//! Leases: a key lives at least a whole TTL from the start of the last renewal that was acknowledged, and goes once nobody
//! renews it.

use std::collections::HashMap;
use std::time::Duration;

use super::record::{Event, Lease};
use super::truth::Truth;
use super::verdict::{Judged, Violation};

/// No key of a lease may have gone early. An event is received after it happened, so this never accuses wrongly.
pub fn check(truth: &Truth, leases: &[Lease], judged: &mut Judged) -> Vec<Violation> {
    let leases: HashMap<i64, &Lease> = leases.iter().map(|lease| (lease.id, lease)).collect();
    judged.leases += leases.len() as u64;
    let mut violations = Vec::new();
    for event in truth.events().iter().filter(|event| event.row.is_none()) {
        let before = truth.last_event(&event.key, event.revision - 1).and_then(|before| before.row.as_ref());
        let Some(lease) = before.and_then(|row| leases.get(&row.lease)) else { continue };
        judged.expiries += 1;
        violations.extend(early(lease, event));
    }
    violations
}

fn early(lease: &Lease, event: &Event) -> Option<Violation> {
    if lease.revoked.is_some_and(|revoked| revoked <= event.seen) {
        return None;
    }
    let due = *lease.renewed.iter().max()? + lease.ttl;
    (event.seen < due).then(|| Violation::ExpiredEarly {
        lease: lease.id,
        key: event.key.clone(),
        revision: event.revision,
        early_by: due - event.seen,
    })
}

/// Keys that are still there at the end although their lease was due `slack` ago or longer. `unrenewed` says for each lease
/// when the last request that may have renewed it had ended.
pub fn overdue(
    truth: &Truth,
    leases: &[Lease],
    unrenewed: &HashMap<i64, Duration>,
    now: Duration,
    slack: Duration,
) -> Vec<Violation> {
    let due: HashMap<i64, Duration> =
        leases.iter().filter_map(|lease| Some((lease.id, *unrenewed.get(&lease.id)? + lease.ttl + slack))).collect();
    let mut violations = Vec::new();
    for event in truth.events() {
        let Some(row) = &event.row else { continue };
        let Some(due) = due.get(&row.lease).filter(|due| **due < now) else { continue };
        let stands = truth.mod_revision(&event.key, truth.last_revision()) == event.revision;
        if stands {
            let key = event.key.clone();
            violations.push(Violation::NotExpired { lease: row.lease, key, overdue: now - *due + slack });
        }
    }
    violations
}
