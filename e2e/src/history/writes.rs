//! Writes: what was acknowledged is there, what was refused is not, nothing is done twice, and nothing else is there.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::record::{Answer, Event, Lease, Operation, Outcome, Request, Write};
use super::truth::Truth;
use super::verdict::{Judged, Violation};

/// Every violation of the writes. Keys that go with a lease must be deleted by nobody but it.
pub fn check(truth: &Truth, operations: &[Operation], leases: &[Lease], judged: &mut Judged) -> Vec<Violation> {
    let writes: Vec<(&Operation, &Write)> = operations.iter().filter_map(write_of).collect();
    let mut claimed: HashSet<i64> = HashSet::new();
    let mut violations = Vec::new();
    for (operation, write) in &writes {
        let Outcome::Done(Answer::Written { revision, held, deleted }) = operation.outcome else { continue };
        judged.acknowledged += 1;
        violations.extend(judge_condition(truth, operation, write, revision, held, judged));
        let right = if held && (!write.puts.is_empty() || deleted > 0) {
            claimed.insert(revision);
            let expected = changes(truth, write, revision);
            let deletes = expected.iter().filter(|(_, change)| change.is_none()).count();
            deletes as u64 == deleted && matches(truth.at(revision), &expected)
        } else {
            // Without effect: there was nothing to delete.
            !held || write.deletes.iter().all(|key| truth.mod_revision(key, revision) == 0)
        };
        if !right {
            violations.push(Violation::Lost { client: operation.client, key: first_key(write), revision });
        }
    }
    violations.extend(open_writes(truth, &writes, &mut claimed, judged));
    violations.extend(unexplained(truth, &writes, leases, &claimed));
    violations
}

fn write_of(operation: &Operation) -> Option<(&Operation, &Write)> {
    match &operation.request {
        Request::Write(write) => Some((operation, write)),
        Request::Read { .. } => None,
    }
}

/// A key to name the write by.
pub fn first_key(write: &Write) -> Bytes {
    write.puts.first().map(|put| &put.key).or(write.deletes.first()).cloned().unwrap_or_default()
}

/// The value and lease that a write leaves at each key that it changes; none for a delete.
type Change<'w> = (&'w Bytes, Option<(&'w Bytes, i64)>);

fn changes<'w>(truth: &Truth, write: &'w Write, revision: i64) -> Vec<Change<'w>> {
    let puts = write.puts.iter().map(|put| (&put.key, Some((&put.value, put.lease))));
    let deletes = write.deletes.iter().filter(|key| truth.mod_revision(key, revision - 1) != 0);
    puts.chain(deletes.map(|key| (key, None))).collect()
}

fn matches(events: &[Event], expected: &[Change<'_>]) -> bool {
    let found: BTreeMap<&Bytes, Option<(&Bytes, i64)>> =
        events.iter().map(|event| (&event.key, event.row.as_ref().map(|row| (&row.value, row.lease)))).collect();
    found.len() == expected.len() && expected.iter().all(|(key, change)| found.get(key) == Some(change))
}

/// A condition is judged by the state before the write; one that did not hold by the state of the answer's revision.
fn judge_condition(
    truth: &Truth,
    operation: &Operation,
    write: &Write,
    revision: i64,
    held: bool,
    judged: &mut Judged,
) -> Option<Violation> {
    let (key, wanted) = write.only_if.as_ref()?;
    judged.conditions += 1;
    let seen_at = if held { revision - 1 } else { revision };
    let right = (truth.mod_revision(key, seen_at) == *wanted) == held;
    (!right).then(|| Violation::ConditionWrong { client: operation.client, key: key.clone(), revision, held })
}

/// Finds each put of an operation that was not acknowledged by its value: a refused one nowhere, an unknown one at most once,
/// and then whole.
fn open_writes(
    truth: &Truth,
    writes: &[(&Operation, &Write)],
    claimed: &mut HashSet<i64>,
    judged: &mut Judged,
) -> Vec<Violation> {
    let mut places: HashMap<&Bytes, Vec<i64>> = HashMap::new();
    for event in truth.events() {
        if let Some(row) = &event.row {
            places.entry(&row.value).or_default().push(event.revision);
        }
    }
    let mut violations = Vec::new();
    for (operation, write) in writes {
        let (client, key) = (operation.client, first_key(write));
        let mut revisions: Vec<i64> =
            write.puts.iter().filter_map(|put| places.get(&put.value)).flatten().copied().collect();
        revisions.sort_unstable();
        revisions.dedup();
        if let [one, two, ..] = revisions[..] {
            violations.push(Violation::DoneTwice { client, key: key.clone(), revisions: (one, two) });
        }
        match (&operation.outcome, revisions.first()) {
            (Outcome::Refused, found) => {
                judged.refused += 1;
                violations.extend(found.map(|revision| Violation::RefusedDone { client, key, revision: *revision }));
            }
            (Outcome::Unknown, None) => judged.unknown_not_done += 1,
            (Outcome::Unknown, Some(revision)) => {
                judged.unknown_done += 1;
                claimed.insert(*revision);
                if !matches(truth.at(*revision), &changes(truth, write, *revision)) {
                    violations.push(Violation::Lost { client, key, revision: *revision });
                }
            }
            (Outcome::Done(_), _) => {}
        }
    }
    violations
}

/// Events that are left over: deletes by unknown operations, each used once, and the ends of leases; anything else is wrong.
fn unexplained(
    truth: &Truth,
    writes: &[(&Operation, &Write)],
    leases: &[Lease],
    claimed: &HashSet<i64>,
) -> Vec<Violation> {
    let known: HashSet<i64> = leases.iter().map(|lease| lease.id).collect();
    let mut deletes: HashMap<&Bytes, u32> = HashMap::new();
    for (_, write) in writes.iter().filter(|(operation, _)| matches!(operation.outcome, Outcome::Unknown)) {
        if let ([key], []) = (&write.deletes[..], &write.puts[..]) {
            *deletes.entry(key).or_default() += 1;
        }
    }
    let mut violations = Vec::new();
    for event in truth.events().iter().filter(|event| !claimed.contains(&event.revision)) {
        let before = truth.last_event(&event.key, event.revision - 1).and_then(|before| before.row.as_ref());
        let by_lease = before.is_some_and(|row| known.contains(&row.lease));
        let explained = event.row.is_none() && (by_lease || use_one(&mut deletes, &event.key));
        if !explained {
            violations.push(Violation::Unexplained { key: event.key.clone(), revision: event.revision });
        }
    }
    violations
}

fn use_one(left: &mut HashMap<&Bytes, u32>, key: &Bytes) -> bool {
    let Some(count) = left.get_mut(key).filter(|count| **count > 0) else { return false };
    *count -= 1;
    true
}
