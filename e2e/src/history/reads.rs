//! Reads: every one, serializable or not, shows exactly the state of its revision.

use super::record::{Answer, Operation, Outcome, Request};
use super::truth::Truth;
use super::verdict::{Judged, Violation};

pub fn check(truth: &Truth, operations: &[Operation], judged: &mut Judged) -> Vec<Violation> {
    let mut violations = Vec::new();
    for operation in operations {
        let Request::Read { from, end, revision: asked, serializable } = &operation.request else { continue };
        let Outcome::Done(Answer::Rows { revision: header, rows }) = &operation.outcome else { continue };
        let client = operation.client;
        match (serializable, asked) {
            (_, 1..) => judged.past_reads += 1,
            (true, _) => judged.serializable_reads += 1,
            (false, _) => judged.linearizable_reads += 1,
        }
        if *header > truth.last_revision() {
            violations.push(Violation::FutureRevision { client, revision: *header, last: truth.last_revision() });
            continue;
        }
        let revision = if *asked > 0 { *asked } else { *header };
        let expected = truth.rows(from, end, revision);
        if *rows != expected {
            let (seen, expected) = (rows.len(), expected.len());
            let serializable = *serializable;
            violations.push(Violation::WrongRows {
                client,
                from: from.clone(),
                revision,
                serializable,
                seen,
                expected,
            });
        }
    }
    violations
}
