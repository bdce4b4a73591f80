//! Real time: what begins after an answer comes after it. A write has a higher revision than everything answered before it
//! began; a linearizable read, and a condition that did not hold, at least the highest of them.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::record::{Answer, Operation, Outcome, Request};
use super::truth::Truth;
use super::verdict::{Judged, Violation};

/// What an operation says about the order.
struct Point {
    client: u32,
    start: Duration,
    /// None while no answer came.
    end: Option<Duration>,
    revision: i64,
    bound: Bound,
}

enum Bound {
    /// Its revision is its own.
    Above,
    /// It saw at least everything before it.
    AtLeast,
    /// A serializable read promises nothing about when; what it showed had happened all the same.
    None,
}

pub fn check(truth: &Truth, operations: &[Operation], judged: &mut Judged) -> Vec<Violation> {
    let values = values(truth);
    let mut points: Vec<Point> = operations.iter().filter_map(|operation| point(operation, &values)).collect();
    points.sort_by_key(|point| point.start);
    let mut ends: Vec<(Duration, i64)> = points.iter().filter_map(|point| Some((point.end?, point.revision))).collect();
    ends.sort_unstable();
    let mut ended = ends.into_iter().peekable();
    let mut highest = 0;
    let mut violations = Vec::new();
    for point in &points {
        while let Some((_, revision)) = ended.next_if(|(end, _)| *end < point.start) {
            highest = highest.max(revision);
        }
        judged.ordered += 1;
        let (right, what) = match point.bound {
            Bound::Above => (point.revision > highest, "write"),
            Bound::AtLeast => (point.revision >= highest, "read"),
            Bound::None => (true, "serializable read"),
        };
        if !right {
            violations.push(Violation::OutOfOrder {
                client: point.client,
                what,
                revision: point.revision,
                earlier: highest,
                started: point.start,
            });
        }
    }
    violations
}

/// The revision at which each value was written.
fn values(truth: &Truth) -> HashMap<&Bytes, i64> {
    truth.events().iter().filter_map(|event| Some((&event.row.as_ref()?.value, event.revision))).collect()
}

fn point(operation: &Operation, values: &HashMap<&Bytes, i64>) -> Option<Point> {
    let (client, start) = (operation.client, operation.start);
    match (&operation.request, &operation.outcome) {
        (Request::Write(write), Outcome::Unknown) => {
            let revision = write.puts.iter().find_map(|put| values.get(&put.value)).copied()?;
            Some(Point { client, start, end: None, revision, bound: Bound::Above })
        }
        (_, Outcome::Unknown | Outcome::Refused) => None,
        (Request::Write(write), Outcome::Done(Answer::Written { revision, held, deleted })) => {
            // Without effect it does not raise the revision: it has seen the state of its header.
            let changed = *held && (!write.puts.is_empty() || *deleted > 0);
            let bound = if changed { Bound::Above } else { Bound::AtLeast };
            Some(Point { client, start, end: Some(operation.end), revision: *revision, bound })
        }
        (Request::Read { serializable, .. }, Outcome::Done(answer)) => {
            let bound = if *serializable { Bound::None } else { Bound::AtLeast };
            Some(Point { client, start, end: Some(operation.end), revision: answer.revision(), bound })
        }
        (Request::Write(_), Outcome::Done(Answer::Rows { .. })) => None,
    }
}
