//! A history that is right passes; each that is wrong in one way is found out by the checker of that way.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::*;

/// A small history: a put, an overwrite of it, a transaction of two puts, a delete, and a key that goes with lease 7.
/// Event n is seen at n seconds.
struct Small {
    events: Vec<Event>,
    observed: Observed,
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn row(value: &str, create_revision: i64, mod_revision: i64, version: i64, lease: i64) -> Option<Row> {
    Some(Row { value: bytes(value), create_revision, mod_revision, version, lease })
}

fn event(revision: i64, key: &str, row: Option<Row>) -> Event {
    Event { revision, key: bytes(key), row, seen: at(revision as u64) }
}

fn put(key: &str, value: &str, lease: i64) -> Put {
    Put { key: bytes(key), value: bytes(value), lease }
}

fn write(start: u64, end: u64, write: Write, outcome: Outcome) -> Operation {
    Operation { client: 1, start: at(start), end: at(end), request: Request::Write(write), outcome }
}

fn done(revision: i64) -> Outcome {
    deleted(revision, 0)
}

fn deleted(revision: i64, deleted: u64) -> Outcome {
    Outcome::Done(Answer::Written { revision, held: true, deleted })
}

fn puts(puts: &[Put]) -> Write {
    Write { puts: puts.to_vec(), ..Write::default() }
}

impl Small {
    fn new() -> Small {
        let events = vec![
            event(2, "a", row("1", 2, 2, 1, 0)),
            event(3, "a", row("2", 2, 3, 2, 0)),
            event(4, "b", row("3", 4, 4, 1, 0)),
            event(4, "c", row("4", 4, 4, 1, 0)),
            event(5, "b", None),
            event(6, "lease/1", row("5", 6, 6, 1, 7)),
            event(20, "lease/1", None),
        ];
        // The events are numbered without gaps; only the last was seen late.
        let events = events.into_iter().map(|event| Event { revision: event.revision.min(7), ..event }).collect();
        let delete = Write { deletes: vec![bytes("b")], ..Write::default() };
        let swap = Write { only_if: Some((bytes("a"), 2)), ..puts(&[put("a", "2", 0)]) };
        let late = Write { only_if: Some((bytes("a"), 2)), ..puts(&[put("a", "never", 0)]) };
        let operations = vec![
            write(1, 2, puts(&[put("a", "1", 0)]), done(2)),
            write(2, 3, swap, done(3)),
            write(3, 4, puts(&[put("b", "3", 0), put("c", "4", 0)]), Outcome::Unknown),
            write(4, 5, delete.clone(), deleted(5, 1)),
            write(5, 6, delete, done(5)),
            write(5, 6, puts(&[put("lease/1", "5", 7)]), done(6)),
            write(6, 7, puts(&[put("a", "refused", 0)]), Outcome::Refused),
            write(6, 7, late, Outcome::Done(Answer::Written { revision: 6, held: false, deleted: 0 })),
        ];
        let leases = vec![Lease { id: 7, ttl: at(10), renewed: vec![at(5), at(8)], revoked: None }];
        Small { events, observed: Observed { operations, leases, sessions: Vec::new() } }
    }

    fn truth(&self) -> Truth {
        let (truth, violations) = Truth::new(self.events.clone());
        assert_eq!(violations, []);
        truth
    }

    fn read(&mut self, start: u64, end: u64, revision: i64, serializable: bool, seen_at: i64) {
        let (from, until) = (bytes("a"), bytes("z"));
        let rows = self.truth().rows(&from, &until, seen_at);
        let request = Request::Read { from, end: until, revision: 0, serializable };
        let outcome = Outcome::Done(Answer::Rows { revision, rows });
        self.observed.operations.push(Operation { client: 2, start: at(start), end: at(end), request, outcome });
    }

    fn watch(&mut self, start_revision: i64) -> &mut Session {
        let truth = self.truth();
        let seen = truth.from(start_revision).iter();
        let seen = seen.map(|event| (event.revision, digest(&event.key, event.row.as_ref()))).collect();
        let session =
            Session { watcher: "w".into(), from: Bytes::new(), end: bytes("\u{ff}"), start_revision, seen, told: 7 };
        self.observed.sessions.push(session);
        self.observed.sessions.last_mut().unwrap()
    }

    #[track_caller]
    fn expect(&self, expected: &[&str]) -> Judged {
        let (judged, violations) = check(&self.truth(), &self.observed);
        let found: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
        judged
    }
}

#[test]
fn a_right_history_passes_and_every_checker_judges_it() {
    let mut small = Small::new();
    small.observed.operations.push(write(6, 7, puts(&[put("a", "not done", 0)]), Outcome::Unknown));
    small.read(6, 7, 6, false, 6);
    small.read(6, 7, 3, true, 3);
    let (from, end) = (bytes("a"), Bytes::new());
    let rows = small.truth().rows(&from, &end, 2);
    let request = Request::Read { from, end, revision: 2, serializable: false };
    let outcome = Outcome::Done(Answer::Rows { revision: 7, rows });
    small.observed.operations.push(Operation { client: 2, start: at(8), end: at(9), request, outcome });
    small.watch(3);
    let judged = small.expect(&[]);
    for (name, count) in judged.counts() {
        assert!(count > 0, "{name} was never judged");
    }
}

#[test]
fn an_acknowledged_write_that_is_not_there_is_lost() {
    let mut small = Small::new();
    small.observed.operations.push(write(7, 8, puts(&[put("d", "9", 0)]), done(8)));
    small.expect(&["client 1: the write of d acknowledged at revision 8 is not there"]);
    // Half of a transaction is as bad.
    let mut small = Small::new();
    small.observed.operations[0] = write(1, 2, puts(&[put("a", "1", 0), put("x", "9", 0)]), done(2));
    small.expect(&["client 1: the write of a acknowledged at revision 2 is not there"]);
    // So is a delete that found nothing where there was something.
    let mut small = Small::new();
    small.observed.operations[4].request = Request::Write(Write { deletes: vec![bytes("c")], ..Write::default() });
    small.expect(&["client 1: the write of c acknowledged at revision 5 is not there"]);
}

#[test]
fn a_refused_write_that_was_done_and_a_write_done_twice_are_found() {
    let mut small = Small::new();
    small.observed.operations[2].outcome = Outcome::Refused;
    small.expect(&[
        "client 1: the refused write of b stands at revision 4",
        "b at revision 4: nobody asked for this",
        "c at revision 4: nobody asked for this",
    ]);
    let mut small = Small::new();
    small.events.push(event(8, "b", row("3", 8, 8, 1, 0)));
    small.events.push(event(8, "c", row("4", 4, 8, 2, 0)));
    small.expect(&[
        "client 1: one write of b was done at revisions 4 and 8",
        "b at revision 8: nobody asked for this",
        "c at revision 8: nobody asked for this",
    ]);
}

#[test]
fn a_delete_that_nobody_asked_for_is_found_and_an_unknown_one_explains_one() {
    let mut small = Small::new();
    small.events.push(event(8, "c", None));
    small.expect(&["c at revision 8: nobody asked for this"]);
    let delete = Write { deletes: vec![bytes("c")], ..Write::default() };
    small.observed.operations.push(write(7, 8, delete, Outcome::Unknown));
    small.expect(&[]);
}

#[test]
fn a_condition_answered_against_the_state_is_found() {
    let mut small = Small::new();
    small.observed.operations.last_mut().unwrap().request =
        Request::Write(Write { only_if: Some((bytes("a"), 3)), ..puts(&[put("a", "never", 0)]) });
    small.expect(&["client 1: the condition on a cannot not have held at revision 6"]);
}

#[test]
fn a_stale_read_and_a_wrong_one_are_found() {
    let mut small = Small::new();
    // Right for revision 4, but 6 had been answered.
    small.read(8, 9, 4, false, 4);
    small.expect(&["client 2: a read that began at 8s has revision 4, after an answer of 6"]);
    // A serializable one may be old, but not wrong.
    let mut small = Small::new();
    small.read(8, 9, 4, true, 4);
    small.expect(&[]);
    small.read(8, 9, 5, true, 4);
    small.expect(&[
        "client 2: a serializable read from a at revision 5 shows 3 rows that are not the 2 of that revision",
    ]);
    let mut small = Small::new();
    small.read(8, 9, 9, false, 7);
    small.expect(&["client 2: a read shows revision 9, and the history ends at 7"]);
}

#[test]
fn revisions_against_real_time_are_found() {
    let mut small = Small::new();
    // Revision 3 began after revision 5 was answered.
    small.observed.operations[1].start = at(6);
    small.observed.operations[1].end = at(7);
    small.observed.operations[1].start += Duration::from_millis(500);
    small.expect(&["client 1: a write that began at 6.5s has revision 3, after an answer of 6"]);
    // An unknown one that was done began after its place in the history.
    let mut small = Small::new();
    small.observed.operations[2].start = at(9);
    small.expect(&["client 1: a write that began at 9s has revision 4, after an answer of 6"]);
}

#[test]
fn a_watch_that_skips_repeats_or_reorders_is_found() {
    let wrong = |expected: &str, change: fn(&mut Session)| {
        let mut small = Small::new();
        change(small.watch(3));
        small.expect(&[expected]);
    };
    wrong("w: delivered a wrong event of revision 5 where one of 4 was next", |session| {
        session.seen.remove(1);
        session.seen.remove(1);
    });
    wrong("w: delivered a wrong event of revision 3 where one of 4 was next", |session| {
        let first = session.seen[0];
        session.seen.insert(1, first);
    });
    wrong("w: delivered a wrong event of revision 4 where one of 3 was next", |session| session.seen.swap(0, 1));
    // Half of a revision.
    wrong("w: ended without the event of revision 4, though a header told of 4", |session| {
        session.seen.truncate(2);
        session.told = 0;
    });
    wrong("w: ended without the event of revision 7, though a header told of 7", |session| {
        session.seen.pop();
    });
    wrong("w: delivered an event of revision 9 beyond the end of the history", |session| session.seen.push((9, 1)));
    wrong("w: delivered a wrong event of revision 5 where one of 5 was next", |session| session.seen[3].1 ^= 1);
}

#[test]
fn a_history_that_skips_a_revision_or_miscounts_is_found() {
    let found = |events: Vec<Event>| Truth::new(events).1.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut skipping = Small::new().events;
    skipping.remove(1);
    assert_eq!(found(skipping), ["the watch of the history goes from revision 2 to 4"]);
    let mut miscounting = Small::new().events;
    miscounting[1].row = row("2", 2, 3, 3, 0);
    assert_eq!(found(miscounting), ["a at revision 3: its version or revisions do not continue the key's"]);
}

#[test]
fn a_lease_that_ends_early_or_never_is_found() {
    let mut small = Small::new();
    small.observed.leases[0].renewed.push(at(11));
    small.expect(&["lease 7: lease/1 went at revision 7, at least 1s before a whole TTL had passed"]);
    small.observed.leases[0].revoked = Some(at(15));
    small.expect(&[]);

    let mut small = Small::new();
    small.events.pop();
    let (truth, last_asked) = (small.truth(), HashMap::from([(7, at(9))]));
    let overdue = |now| leases::overdue(&truth, &small.observed.leases, &last_asked, now, at(2));
    assert_eq!(overdue(at(21)), []);
    assert_eq!(overdue(at(22))[0].to_string(), "lease 7: lease/1 is still there 3s after the lease was due");
}
