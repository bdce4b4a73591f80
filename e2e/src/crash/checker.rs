//! Judges what the members hold after a crash against what was acknowledged before. Pure: it reports and never panics, so
//! that a test can also show that it finds a loss.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use bytes::Bytes;

use super::load::{Outcome, Write};
use super::member::Refusal;

/// One member's answer to "everything at revision R".
#[derive(Debug, Clone, Default)]
pub struct Holding {
    pub member: String,
    /// Key → value and mod revision.
    pub rows: BTreeMap<Bytes, (Bytes, i64)>,
    /// HashKV at that revision, and the compact revision it was taken with.
    pub hash: (u32, i64),
}

/// A broken promise.
#[derive(Debug)]
pub enum Violation {
    /// An acknowledged write is not there, nor anything that may have overwritten it.
    Lost { member: String, key: Bytes, revision: i64 },
    /// The value is there under another revision than the client was told.
    Moved { member: String, key: Bytes, told: i64, found: i64 },
    /// Two acknowledged writes were told the same revision.
    RevisionTwice { key: Bytes, other: Bytes, revision: i64 },
    /// A row that nobody wrote.
    Invented { member: String, key: Bytes, revision: i64 },
    /// Members differ at one revision.
    HashesDiffer { revision: i64, hashes: Vec<(String, u32, i64)> },
    /// A member does not come back.
    Refused(Refusal),
    /// A member does not end as it must when its disk fails, or does not say why it does.
    Lingers(Refusal),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        match self {
            Violation::Lost { member, key, revision } => {
                write!(f, "{member}: {} acknowledged at revision {revision} is lost", text(key))
            }
            Violation::Moved { member, key, told, found } => {
                write!(f, "{member}: {} was acknowledged at revision {told} and stands at {found}", text(key))
            }
            Violation::RevisionTwice { key, other, revision } => {
                write!(f, "{} and {} were both acknowledged at revision {revision}", text(key), text(other))
            }
            Violation::Invented { member, key, revision } => {
                write!(f, "{member}: {} at revision {revision} holds a value that nobody wrote to it", text(key))
            }
            Violation::HashesDiffer { revision, hashes } => {
                write!(f, "HashKV at revision {revision} differs: {hashes:?}")
            }
            Violation::Refused(Refusal { member, reason, log }) => {
                write!(f, "{member} does not come back: {reason}; the end of its log:\n{log}")
            }
            Violation::Lingers(Refusal { member, reason, log }) => {
                write!(f, "{member} has a disk that failed: {reason}; the end of its log:\n{log}")
            }
        }
    }
}

/// Every violation of the writes of one run by what each member holds at `revision`, which is not below any acknowledged one.
pub fn check(writes: &[Write], revision: i64, holdings: &[Holding]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let histories = histories(writes);
    for holding in holdings {
        for (key, history) in &histories {
            violations.extend(judge_key(holding, key, history));
        }
        violations.extend(invented(holding, &histories));
    }
    violations.extend(revisions_told_twice(writes));
    if holdings.windows(2).any(|pair| pair[0].hash != pair[1].hash) {
        let hashes = holdings.iter().map(|holding| (holding.member.clone(), holding.hash.0, holding.hash.1)).collect();
        violations.push(Violation::HashesDiffer { revision, hashes });
    }
    violations
}

/// What happened to one key, in the order of its one writer.
#[derive(Default)]
struct History {
    /// The last acknowledged write of the key: revision and value.
    last: Option<(i64, Bytes)>,
    values: HashSet<Bytes>,
}

fn histories(writes: &[Write]) -> BTreeMap<Bytes, History> {
    let mut histories: BTreeMap<Bytes, History> = BTreeMap::new();
    for write in writes {
        let history = histories.entry(write.key.clone()).or_default();
        history.values.insert(write.value.clone());
        if let Outcome::Acknowledged { revision } = write.outcome {
            // An earlier put of the same writer whose outcome is unknown may still come after this one, never before it
            // with a higher revision, so the highest acknowledged revision is the one that must have survived.
            if history.last.as_ref().is_none_or(|(last, _)| *last < revision) {
                history.last = Some((revision, write.value.clone()));
            }
        }
    }
    histories
}

fn judge_key(holding: &Holding, key: &Bytes, history: &History) -> Option<Violation> {
    let (told, value) = history.last.as_ref()?;
    let lost = || Violation::Lost { member: holding.member.clone(), key: key.clone(), revision: *told };
    match holding.rows.get(key) {
        None => Some(lost()),
        Some((found, at)) if found == value && at != told => {
            Some(Violation::Moved { member: holding.member.clone(), key: key.clone(), told: *told, found: *at })
        }
        Some((found, at)) if found != value && at <= told => Some(lost()),
        Some(_) => None,
    }
}

fn invented(holding: &Holding, histories: &BTreeMap<Bytes, History>) -> Vec<Violation> {
    let known = |key: &Bytes, value: &Bytes| histories.get(key).is_some_and(|history| history.values.contains(value));
    holding
        .rows
        .iter()
        .filter(|(key, (value, _))| !known(key, value))
        .map(|(key, (_, revision))| Violation::Invented {
            member: holding.member.clone(),
            key: key.clone(),
            revision: *revision,
        })
        .collect()
}

fn revisions_told_twice(writes: &[Write]) -> Vec<Violation> {
    let mut seen: HashMap<i64, &Bytes> = HashMap::new();
    let mut violations = Vec::new();
    for write in writes {
        let Outcome::Acknowledged { revision } = write.outcome else { continue };
        if let Some(other) = seen.insert(revision, &write.key) {
            violations.push(Violation::RevisionTwice { key: write.key.clone(), other: other.clone(), revision });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &'static str, value: &'static str, revision: Option<i64>) -> Write {
        let outcome = revision.map_or(Outcome::Unknown, |revision| Outcome::Acknowledged { revision });
        Write { key: Bytes::from(key), value: Bytes::from(value), outcome }
    }

    fn holding(member: &str, rows: &[(&'static str, &'static str, i64)]) -> Holding {
        let rows =
            rows.iter().map(|(key, value, revision)| (Bytes::from(*key), (Bytes::from(*value), *revision))).collect();
        Holding { member: member.to_owned(), rows, hash: (7, -1) }
    }

    #[track_caller]
    fn expect(writes: &[Write], holdings: &[Holding], expected: &[&str]) {
        let found: Vec<String> = check(writes, 9, holdings).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_store_that_holds_all_that_was_acknowledged_passes() {
        let writes =
            [write("a", "1", Some(2)), write("hot", "1", Some(3)), write("hot", "2", Some(4)), write("b", "1", None)];
        let with_unknown = holding("m1", &[("a", "1", 2), ("hot", "2", 4), ("b", "1", 5)]);
        expect(&writes, &[with_unknown], &[]);
        expect(&writes, &[holding("m1", &[("a", "1", 2), ("hot", "2", 4)])], &[]);
    }

    #[test]
    fn an_unknown_write_may_overwrite_a_later_acknowledged_one() {
        let writes = [write("hot", "1", None), write("hot", "2", Some(4))];
        expect(&writes, &[holding("m1", &[("hot", "1", 5)])], &[]);
        expect(&writes, &[holding("m1", &[("hot", "1", 3)])], &["m1: hot acknowledged at revision 4 is lost"]);
    }

    #[test]
    fn a_missing_moved_doubled_or_invented_write_is_found_on_each_member() {
        let writes = [write("a", "1", Some(2)), write("b", "1", Some(3))];
        expect(&writes, &[holding("m1", &[("b", "1", 3)])], &["m1: a acknowledged at revision 2 is lost"]);
        expect(
            &writes,
            &[holding("m1", &[("a", "1", 2), ("b", "1", 3)]), holding("m2", &[("a", "1", 4), ("b", "1", 3)])],
            &["m2: a was acknowledged at revision 2 and stands at 4"],
        );
        expect(
            &writes,
            &[holding("m1", &[("a", "1", 2), ("b", "1", 3), ("c", "1", 4)])],
            &["m1: c at revision 4 holds a value that nobody wrote to it"],
        );
        let doubled = [write("a", "1", Some(2)), write("b", "1", Some(2))];
        expect(
            &doubled,
            &[holding("m1", &[("a", "1", 2), ("b", "1", 2)])],
            &["b and a were both acknowledged at revision 2"],
        );
    }

    #[test]
    fn members_with_different_hashes_are_found() {
        let writes = [write("a", "1", Some(2))];
        let mut other = holding("m2", &[("a", "1", 2)]);
        other.hash.0 = 8;
        expect(
            &writes,
            &[holding("m1", &[("a", "1", 2)]), other],
            &["HashKV at revision 9 differs: [(\"m1\", 7, -1), (\"m2\", 8, -1)]"],
        );
    }
}
