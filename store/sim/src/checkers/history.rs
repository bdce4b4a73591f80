//! Whether the answers that clients got can be explained by some order of their requests, each taking effect at one moment between
//! its call and its answer. It looks at nothing else: not at the log, not at members.
//!
//! A search over all orders would not end, but answers show revisions: who wrote revision r is mostly known, and only requests
//! without an answer, and leases that ended, are tried out where a revision has no known writer.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, request_op::Request as Op};
use quorate_api::mvccpb::KeyValue;
use quorate_core::command::Request;

use crate::model::{Answer, Model};

/// Requests tried out before a history is left alone as too ambiguous: a hundred times what a plain one takes.
const TRIALS_MAX: usize = 20_000;

/// What a client asked for.
#[derive(Debug, Clone)]
pub enum Asked {
    Write(Request),
    /// A linearizable range of the newest revision.
    Read(pb::RangeRequest),
}

/// A request and, unless the client gave up, its answer.
#[derive(Debug, Clone)]
pub struct Call {
    pub asked: Asked,
    pub began: u64,
    pub answered: Option<(u64, Answer)>,
}

/// What the search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Explained,
    /// The bound on trials was reached first.
    TooAmbiguous,
    /// Nothing explains how this revision came about, or what was read at it.
    Unexplained {
        revision: i64,
    },
}

/// Keys and values after some revision.
#[derive(Debug, Clone)]
struct State {
    revision: i64,
    live: Vec<KeyValue>,
    /// Requests without answer that have taken effect.
    used: BTreeSet<usize>,
}

/// What tells states apart: revision, everything that lives (two writes in another order leave the same revisions behind, and other
/// values), and the requests without answer that were used.
type Tried = (i64, Vec<u8>, BTreeSet<usize>);

struct Search<'a> {
    /// Answered without error, by the revision of the answer.
    known: BTreeMap<i64, Vec<&'a Call>>,
    /// Writes that may have taken effect, once, or not.
    unknown: Vec<&'a Call>,
    /// When an answer first showed each revision, or one above it.
    first_seen: BTreeMap<i64, u64>,
    /// States that were gone into and explain nothing: other orders of the same writes end in them too.
    tried: BTreeSet<Tried>,
    trials: usize,
    furthest: i64,
}

/// Judges a history.
pub fn judge(calls: &[Call]) -> Verdict {
    let mut search = Search {
        known: BTreeMap::new(),
        unknown: Vec::new(),
        first_seen: BTreeMap::new(),
        tried: BTreeSet::new(),
        trials: 0,
        furthest: 1,
    };
    let mut ends: Vec<(u64, i64)> = Vec::new();
    for call in calls {
        match &call.answered {
            Some((at, answer)) if answer.error.is_none() => {
                search.known.entry(answer.revision).or_default().push(call);
                ends.push((*at, answer.revision));
            }
            // Over the quota a write is applied and answered with NoSpace.
            Some((_, answer)) if answer.error != Some(ApiError::NoSpace) => {}
            _ if matches!(call.asked, Asked::Write(_)) => search.unknown.push(call),
            _ => {}
        }
    }
    if let Some(revision) = out_of_time(calls, &mut ends) {
        return Verdict::Unexplained { revision };
    }
    let mut seen = u64::MAX;
    for (revision, calls) in search.known.iter().rev() {
        let ended = calls.iter().filter_map(|call| call.answered.as_ref()).map(|(at, _)| *at).min();
        seen = seen.min(ended.unwrap_or(u64::MAX));
        search.first_seen.insert(*revision, seen);
    }
    let start = State { revision: 1, live: Vec::new(), used: BTreeSet::new() };
    if !search.agrees(&start, None) {
        return Verdict::Unexplained { revision: 1 };
    }
    let last = search.known.keys().next_back().copied().unwrap_or(1);
    match search.explain(start, last) {
        true => Verdict::Explained,
        false if search.trials >= TRIALS_MAX => Verdict::TooAmbiguous,
        false => Verdict::Unexplained { revision: search.furthest + 1 },
    }
}

/// An answer with a revision below one that somebody had been shown before it was asked for.
fn out_of_time(calls: &[Call], ends: &mut [(u64, i64)]) -> Option<i64> {
    ends.sort_unstable();
    let mut newest = 0;
    let shown: Vec<(u64, i64)> = ends
        .iter()
        .map(|(at, revision)| {
            newest = newest.max(*revision);
            (*at, newest)
        })
        .collect();
    calls.iter().find_map(|call| {
        let (_, answer) = call.answered.as_ref().filter(|(_, answer)| answer.error.is_none())?;
        let before = shown.partition_point(|(at, _)| *at < call.began);
        let floor = before.checked_sub(1).map_or(0, |last| shown[last].1);
        (answer.revision < floor).then_some(answer.revision)
    })
}

impl Search<'_> {
    /// Goes on from `state` until `last` is explained.
    fn explain(&mut self, mut state: State, last: i64) -> bool {
        while state.revision < last {
            self.furthest = self.furthest.max(state.revision);
            let mut next = self.successors(&state);
            if self.trials >= TRIALS_MAX {
                return false;
            }
            match next.len() {
                0 => return false,
                1 => state = next.remove(0),
                _ => {
                    return next.into_iter().any(|next| {
                        let live = next.live.iter().flat_map(KeyValue::encode_length_delimited_to_vec).collect();
                        let new = self.tried.insert((next.revision, live, next.used.clone()));
                        new && self.explain(next, last)
                    });
                }
            }
        }
        true
    }

    /// The states that the next revision may have led to.
    fn successors(&mut self, state: &State) -> Vec<State> {
        let revision = state.revision + 1;
        let known = self.known.get(&revision).cloned().unwrap_or_default();
        let writers: Vec<&Call> = known.into_iter().filter(|call| matches!(call.asked, Asked::Write(_))).collect();
        let mut next = Vec::new();
        for writer in writers {
            if let Some(after) = self.after(state, writer).filter(|after| self.agrees(after, Some(writer))) {
                if tells_of_its_changes(writer) {
                    return vec![after];
                }
                next.push(after);
            }
        }
        let seen = self.first_seen.range(revision..).next().map_or(u64::MAX, |(_, at)| *at);
        for (number, call) in self.unknown.clone().into_iter().enumerate() {
            if call.began > seen || state.used.contains(&number) {
                continue;
            }
            if let Some(mut after) = self.after(state, call).filter(|after| self.agrees(after, None)) {
                after.used.insert(number);
                next.push(after);
            }
        }
        let leases: BTreeSet<i64> = state.live.iter().map(|kv| kv.lease).filter(|lease| *lease != 0).collect();
        for lease in leases {
            self.trials += 1;
            let live = state.live.iter().filter(|kv| kv.lease != lease).cloned().collect();
            let after = State { revision, live, used: state.used.clone() };
            if self.agrees(&after, None) {
                next.push(after);
            }
        }
        next
    }

    /// The state after a write took effect as the next revision, with the answer that was given, if one was.
    fn after(&mut self, state: &State, call: &Call) -> Option<State> {
        let Asked::Write(request) = &call.asked else { return None };
        let (answer, revision, live) = self.carry_out(state, request);
        let told = call.answered.as_ref().map(|(_, answer)| answer).filter(|answer| answer.error.is_none());
        let fits = told.is_none_or(|told| *told == answer || reads_the_past(request));
        (fits && revision == state.revision + 1).then(|| State { revision, live, used: state.used.clone() })
    }

    /// Whether everything that was answered at the state's revision could be answered in this state. `writer` made it.
    fn agrees(&mut self, state: &State, writer: Option<&Call>) -> bool {
        let known = self.known.get(&state.revision).cloned().unwrap_or_default();
        known.into_iter().filter(|call| writer.is_none_or(|writer| !std::ptr::eq(*call, writer))).all(|call| {
            let Some((_, told)) = &call.answered else { return true };
            match &call.asked {
                Asked::Read(range) => {
                    self.trials += 1;
                    let model = Model::of(state.revision, &state.live);
                    let found = model.range(range, state.revision, -1);
                    found.is_ok_and(|found| Answer { revision: state.revision, ..found } == *told)
                }
                Asked::Write(request) => {
                    let (answer, revision, _) = self.carry_out(state, request);
                    revision == state.revision && (answer == *told || reads_the_past(request))
                }
            }
        })
    }

    fn carry_out(&mut self, state: &State, request: &Request) -> (Answer, i64, Vec<KeyValue>) {
        self.trials += 1;
        let mut model = Model::of(state.revision, &state.live);
        let answer = match request {
            // Whether a lease existed is not looked at here.
            Request::LeaseGrant(grant) => {
                let numbers = vec![grant.id, grant.ttl];
                Answer { revision: state.revision, numbers, ..Answer::default() }
            }
            Request::Compact(_) => Answer { revision: state.revision, ..Answer::default() },
            Request::Alarm(_) => return (Answer::default(), state.revision, state.live.clone()),
            request => model.apply(0, 0, request),
        };
        (answer, model.revision, model.live(b"\0", b"\0", model.revision))
    }
}

/// Whether the answer of this write says that it changed something, if it did: then nothing else made its revision. The revocation of a
/// lease says nothing, and where a transaction's answer is not compared, it may have changed nothing.
fn tells_of_its_changes(call: &Call) -> bool {
    match &call.asked {
        Asked::Write(Request::LeaseRevoke { .. }) | Asked::Read(_) => false,
        Asked::Write(request) => !reads_the_past(request),
    }
}

/// Whether an answer holds what this check does not keep: rows of old revisions, or alarms.
fn reads_the_past(request: &Request) -> bool {
    fn txn(request: &pb::TxnRequest) -> bool {
        request.success.iter().chain(&request.failure).any(|op| match &op.request {
            Some(Op::RequestRange(range)) => range.revision != 0,
            Some(Op::RequestTxn(nested)) => txn(nested),
            _ => false,
        })
    }
    match request {
        Request::Txn(request) => txn(request),
        Request::Alarm(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &str) -> Asked {
        let (key, value) = ("k".into(), value.to_owned().into());
        Asked::Write(Request::Put(pb::PutRequest { key, value, ..Default::default() }))
    }

    /// When, at which revision, and the value with its version that was read.
    type Told<'a> = (u64, i64, Option<(&'a str, i64)>);

    fn call(asked: Asked, began: u64, answered: Option<Told<'_>>) -> Call {
        let answered = answered.map(|(at, revision, read)| {
            let kv = read.map(|(value, version)| KeyValue {
                key: "k".into(),
                value: value.to_owned().into(),
                create_revision: 2,
                mod_revision: version + 1,
                version,
                lease: 0,
            });
            let numbers = match asked {
                Asked::Write(_) => vec![0],
                Asked::Read(_) => vec![i64::from(kv.is_some()), 0],
            };
            (at, Answer { revision, numbers, kvs: kv.into_iter().collect(), error: None })
        });
        Call { asked, began, answered }
    }

    fn get() -> Asked {
        Asked::Read(pb::RangeRequest { key: "k".into(), ..Default::default() })
    }

    fn wrote(value: &str, began: u64, at: u64, revision: i64) -> Call {
        call(put(value), began, Some((at, revision, None)))
    }

    fn read(began: u64, at: u64, revision: i64, seen: Option<(&str, i64)>) -> Call {
        call(get(), began, Some((at, revision, seen)))
    }

    #[test]
    fn what_happened_in_some_order_is_explained() {
        let plain = [read(0, 1, 1, None), wrote("a", 0, 5, 2), read(3, 6, 1, None), read(4, 7, 2, Some(("a", 1)))];
        assert_eq!(judge(&plain), Verdict::Explained);
        let without_answer = [call(put("a"), 0, None), call(put("b"), 0, None), read(5, 6, 2, Some(("b", 1)))];
        assert_eq!(judge(&without_answer), Verdict::Explained);
    }

    /// A lease that somebody else's write has taken the key from ends nothing, and its answer would be the same.
    #[test]
    fn a_revocation_is_not_taken_for_the_write_that_took_its_key() {
        let attached =
            Request::Put(pb::PutRequest { key: "k".into(), value: "a".into(), lease: 7, ..Default::default() });
        let attached = Call {
            asked: Asked::Write(attached),
            began: 0,
            answered: Some((1, Answer { revision: 2, numbers: vec![0], ..Answer::default() })),
        };
        let revoked = Call {
            asked: Asked::Write(Request::LeaseRevoke { id: 7, expiry: None }),
            began: 4,
            answered: Some((5, Answer { revision: 3, ..Answer::default() })),
        };
        let history = [attached, call(put("b"), 2, None), revoked, read(6, 7, 3, Some(("b", 2)))];
        assert_eq!(judge(&history), Verdict::Explained);
    }

    /// Both orders of the puts leave a key of revision 3 and the same requests used up.
    #[test]
    fn two_writes_without_answer_are_tried_in_both_orders() {
        for value in ["a", "b"] {
            let writes = [call(put("a"), 0, None), call(put("b"), 0, None)];
            let prev = Asked::Write(Request::Put(pb::PutRequest {
                key: "k".into(),
                value: "c".into(),
                prev_kv: true,
                ..Default::default()
            }));
            let mut told = call(prev, 8, Some((9, 4, Some((value, 2)))));
            if let Some((_, answer)) = &mut told.answered {
                answer.numbers = vec![1];
            }
            let history = [&writes[..], &[told, read(10, 11, 4, Some(("c", 3)))]].concat();
            assert_eq!(judge(&history), Verdict::Explained, "{value} was there before");
        }
    }

    #[test]
    fn a_stale_a_lost_a_torn_and_a_repeated_value_are_not_explained() {
        let stale = [wrote("a", 0, 5, 2), read(6, 7, 1, None)];
        assert_eq!(judge(&stale), Verdict::Unexplained { revision: 1 });
        let lost = [wrote("a", 0, 5, 2), read(6, 7, 2, None)];
        assert_eq!(judge(&lost), Verdict::Unexplained { revision: 2 });
        let invented = [call(put("a"), 0, None), read(5, 6, 2, Some(("c", 1)))];
        assert_eq!(judge(&invented), Verdict::Unexplained { revision: 2 });
        let twice = [call(put("a"), 0, None), read(5, 6, 3, Some(("a", 2)))];
        assert_eq!(judge(&twice), Verdict::Unexplained { revision: 3 });
        let too_late = [read(1, 2, 2, Some(("a", 1))), call(put("a"), 3, None)];
        assert_eq!(judge(&too_late), Verdict::Unexplained { revision: 2 });
    }

    #[test]
    fn two_writes_cannot_make_one_revision() {
        let both = [wrote("a", 0, 5, 2), wrote("b", 0, 5, 2)];
        assert_eq!(judge(&both), Verdict::Unexplained { revision: 2 });
    }
}
