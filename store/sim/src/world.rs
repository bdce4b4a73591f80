//! The checkers: what is known outside of the members, and what must hold of everything that they do and say.
//!
//! Committed entries extend one history and one `Model`, in the order of the log. That order is the linearization: each answer must
//! be what the model says at its place, and the places must agree with real time (an operation that began after another was
//! answered comes after it). For a revisioned history this needs no search.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_api::etcdserverpb as pb;
use quorate_core::command::{self, CommandId};
use quorate_core::integrity::NOBODY;
use quorate_core::log::{Entry, EntryKind, Index, MemberId, Term};
use quorate_core::memory::Memory;
use quorate_core::mvcc::{self, State};

use crate::checkers::alarms::{AlarmJudge, Size};
use crate::checkers::leases::LeaseJudge;
use crate::counts::Counts;
use crate::model::{Answer, Model, cost_bytes};

/// What members are compared by may be this old: it was on its way.
const ACCUSED_MICROS_MAX: u64 = 2_000_000;

/// What was answered to anybody before an operation began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Floor {
    pub index: Index,
    pub revision: i64,
}

/// What the history says about a command.
#[derive(Debug, Clone)]
pub(crate) struct Executed {
    pub index: Index,
    pub answer: Answer,
    pub size: Size,
}

/// What a member has on its disk beyond what is in use, compacted and not reclaimed: members differ in it.
pub fn unreclaimed_bytes(member: MemberId) -> u64 {
    member % 4 * 700
}

/// See the module.
#[derive(Default)]
pub struct World {
    pub counts: Counts,
    pub violation: Option<String>,
    /// Too many members have wrong data: nothing is promised any more.
    given_up: bool,
    /// When a member's data were last seen to be wrong.
    wrong: BTreeMap<MemberId, u64>,
    /// When a CORRUPT alarm was last raised.
    pub corrupt_at: u64,
    pub model: Model,
    pub floor: Floor,
    /// Simulated time, in microseconds.
    pub now: u64,
    pub leases: LeaseJudge,
    pub alarms: AlarmJudge,
    /// Size from which on writes are answered with NoSpace.
    pub quota_bytes: Option<u64>,
    /// Term and data of every committed entry.
    entries: BTreeMap<Index, (Term, Bytes)>,
    /// Revision and compact revision after each entry.
    states: BTreeMap<Index, (i64, i64)>,
    executed: BTreeMap<CommandId, Executed>,
    /// Answered before anybody applied them.
    promised: BTreeMap<CommandId, (Answer, Floor)>,
    leaders: BTreeMap<Term, MemberId>,
    hashes: BTreeMap<(i64, i64), u32>,
}

impl World {
    /// The first violation is kept; the run ends with it.
    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// The run ends early.
    pub fn give_up(&mut self) {
        if !std::mem::replace(&mut self.given_up, true) {
            self.counts.add("integrity: runs given up with too many wrong");
        }
    }

    pub fn is_over(&self) -> bool {
        self.given_up || self.violation.is_some()
    }

    /// A member's data are wrong now.
    pub fn wrong_at(&mut self, member: MemberId) {
        self.wrong.insert(member, self.now);
    }

    /// It is proposed to say of a member that its data are wrong, or of somebody (0).
    pub(crate) fn accused(&mut self, member: MemberId) {
        let lately = |at: &u64| self.now < at + ACCUSED_MICROS_MAX;
        let is_right = if member == NOBODY {
            self.wrong.values().any(lately)
        } else {
            self.wrong.get(&member).is_some_and(lately)
        };
        self.counts.add(if member == NOBODY {
            "integrity: accusations of nobody"
        } else {
            "integrity: accusations checked"
        });
        if !is_right {
            self.violate(format!("member {member} is said to have wrong data (0: somebody), and all are right"));
        }
    }

    /// Index of the last entry that is known to be committed.
    pub fn last(&self) -> Index {
        self.entries.keys().next_back().copied().unwrap_or(0)
    }

    /// A member hands this entry to its state machine.
    pub fn committed(&mut self, member: MemberId, entry: &Entry) {
        let last = self.last();
        if let Some((term, data)) = self.entries.get(&entry.index) {
            self.counts.add("committed entries compared");
            if *term != entry.term || *data != entry.data {
                let (found, index) = (entry.term, entry.index);
                self.violate(format!(
                    "member {member} applies an entry of term {found} at {index}, where another applied one of term {term}"
                ));
            }
            return;
        }
        if entry.index != last + 1 {
            return self.violate(format!("member {member} applies entry {} but {last} is the last", entry.index));
        }
        self.entries.insert(entry.index, (entry.term, entry.data.clone()));
        if entry.kind == EntryKind::Normal {
            match command::decode(entry.data.clone()) {
                Ok(commands) => commands.iter().for_each(|command| self.execute(entry, command)),
                Err(error) => self.violate(format!("entry {} does not decode: {error}", entry.index)),
            }
        }
        self.states.insert(entry.index, (self.model.revision, self.model.compacted));
    }

    fn execute(&mut self, entry: &Entry, command: &command::Command) {
        let index = entry.index;
        self.counts.add("executions told apart");
        let id = command.id;
        if let Some(Executed { index: before, .. }) = self.executed.get(&id) {
            let before = *before;
            return self.violate(format!("{id:?} is executed at {before} and again at {index}"));
        }
        let size = Size { before_bytes: self.model.size_in_use_bytes(), cost_bytes: cost_bytes(&command.request) };
        self.judge_before(entry, &command.request);
        let revision = self.model.revision;
        let answer = self.model.apply(index, entry.term, &command.request);
        self.judge_after(index, &command.request, &answer);
        if answer.error.is_some() && revision != self.model.revision {
            return self.violate(format!("{id:?} was refused and took effect"));
        }
        self.executed.insert(id, Executed { index, answer, size });
        if let Some((answer, floor)) = self.promised.remove(&id) {
            self.acknowledged(id, answer, floor);
        }
    }

    pub(crate) fn executed(&self, id: CommandId) -> Option<&Executed> {
        self.executed.get(&id)
    }

    /// A client got the answer of a command; `floor` is what was answered to anybody when it was sent.
    pub fn acknowledged(&mut self, id: CommandId, answer: Answer, floor: Floor) {
        let Some(executed) = self.executed.get(&id) else {
            self.promised.insert(id, (answer, floor));
            return;
        };
        let index = executed.index;
        self.counts.add("acknowledged writes checked");
        let expected = self.expected(id.member, &executed.clone());
        if expected != answer {
            return self.violate(format!("{id:?} at {index} was answered {answer:?}, the history says {expected:?}"));
        }
        if index <= floor.index {
            let floor = floor.index;
            return self.violate(format!("{id:?} has its place at {index}, but {floor} was answered before it began"));
        }
        match answer.error {
            Some(_) => self.counts.add("refusals checked"),
            None if answer.revision < floor.revision => {
                let (found, floor) = (answer.revision, floor.revision);
                return self.violate(format!("{id:?} answered revision {found} after {floor} was answered"));
            }
            None => self.floor.revision = self.floor.revision.max(answer.revision),
        }
        self.floor.index = self.floor.index.max(index);
    }

    /// A member answers a range from its state at `applied`.
    pub fn served(&mut self, member: MemberId, applied: Index, request: &pb::RangeRequest, answer: &Answer) {
        let (revision, compacted) = self.states.get(&applied).copied().unwrap_or((1, -1));
        let wanted = if request.revision <= 0 { revision } else { request.revision };
        let expected = self.model.range(&pb::RangeRequest { revision: wanted, ..request.clone() }, revision, compacted);
        let expected = expected.map_or_else(Answer::of_error, |found| Answer { revision, ..found });
        let holds = expected == *answer;
        match request.revision - compacted {
            0 if compacted > 0 => self.counts.add("reads at the watermark checked"),
            -1 if compacted > 1 => self.counts.add("reads right below the watermark refused"),
            _ => {}
        }
        self.counts.add(match (&expected.error, request.revision) {
            (Some(_), _) => "reads of compacted or future revisions checked",
            (None, 0) => "reads checked against the state at their revision",
            (None, _) => "reads of old revisions checked",
        });
        if !holds {
            self.violate(format!(
                "member {member} at entry {applied} answers {request:?} with {answer:?}, the history says {expected:?} at \
                 revision {revision}"
            ));
        }
    }

    /// A client got the answer of a linearizable read.
    pub fn read(&mut self, answer: &Answer, floor: Floor) {
        self.counts.add("linearizable reads checked");
        if answer.revision < floor.revision {
            let (found, floor) = (answer.revision, floor.revision);
            return self.violate(format!("a linearizable read sees revision {found}, but {floor} was answered before"));
        }
        self.floor.revision = self.floor.revision.max(answer.revision);
    }

    /// A member has applied everything up to `index`.
    pub fn applied(&mut self, member: MemberId, index: Index, revision: i64, compacted: i64) {
        let expected = self.states.get(&index).copied();
        self.counts.add("revisions compared");
        if expected != Some((revision, compacted)) {
            self.violate(format!(
                "member {member} stands at revision {revision} (compacted {compacted}) after entry {index}, the history \
                 says {expected:?}"
            ));
        }
    }

    pub fn leads(&mut self, member: MemberId, term: Term) {
        let first = *self.leaders.entry(term).or_insert(member);
        self.counts.add("leaders of a term compared");
        self.leases.leads(self.now, term);
        if first != member {
            self.violate(format!("members {first} and {member} both lead term {term}"));
        }
    }

    /// Compares a member's HashKV with that of every other at the same revision and watermark.
    pub fn hash(&mut self, member: MemberId, rows: &Memory) {
        let hashed = State::load(rows).and_then(|state| mvcc::hash_kv(rows, &state, 0));
        let hashed = match hashed {
            Ok(hashed) => hashed,
            Err(error) => return self.violate(format!("member {member} cannot hash its rows: {error}")),
        };
        let key = (hashed.hash_revision, hashed.compact_revision);
        let Some(first) = self.hashes.get(&key) else {
            self.hashes.insert(key, hashed.hash);
            return;
        };
        self.counts.add("HashKV compared");
        if *first != hashed.hash {
            let first = *first;
            let hash = hashed.hash;
            self.violate(format!("member {member} has HashKV {hash:x} at revision {}, another {first:x}", key.0));
        }
    }

    /// At the end of a run: all that was answered is in the history.
    pub fn finish(&mut self) {
        if let Some((id, (answer, _))) = self.promised.first_key_value() {
            let lost = format!("{id:?} was answered {answer:?}, and is lost");
            self.violate(lost);
        }
    }
}
