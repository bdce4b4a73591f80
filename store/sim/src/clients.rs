//! Clients: what they ask, whom, and how long they wait. Each has one operation at a time.

use bytes::Bytes;
use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb::{self as pb, compare::CompareTarget, compare::TargetUnion, request_op::Request as Op};
use quorate_core::command::{self, Command, CommandId, Request};
use quorate_core::log::MemberId;
use quorate_core::mvcc::{self, State};
use quorate_core::node::{Event, Payload, Proposal};

use crate::cluster::{CALM_MICROS, Cluster, SETTLE_MICROS, What};
use crate::host::{Host, Process};
use crate::model::Answer;
use crate::options::Bug;
use crate::world::Floor;

const TIMEOUT_MICROS: u64 = 3_000_000;
/// Few keys, so that operations meet.
const KEYS: u64 = 6;

pub(crate) enum Asked {
    Write { request: Request, id: CommandId },
    Linearizable(pb::RangeRequest),
    Serializable(pb::RangeRequest),
}

pub(crate) struct Operation {
    client: u64,
    asked: Asked,
    floor: Floor,
    began: u64,
}

/// Answers a range from a member's state as it is.
pub(crate) fn read(process: &Process, request: &pb::RangeRequest) -> Answer {
    let answered = State::load(&process.live).and_then(|state| mvcc::range(&process.live, &state, request));
    let error = match answered {
        Ok(response) => {
            let revision = response.header.map_or(0, |header| header.revision);
            return Answer { revision, number: 0, kvs: response.kvs, error: None };
        }
        Err(mvcc::Error::Compacted) => ApiError::Compacted,
        Err(mvcc::Error::FutureRevision) => ApiError::FutureRev,
        Err(error) => panic!("a read failed: {error}"),
    };
    Answer { revision: 0, number: 0, kvs: Vec::new(), error: Some(error) }
}

impl Cluster {
    fn key(&mut self) -> Bytes {
        format!("k{}", self.chance.between(0, KEYS)).into()
    }

    pub(crate) fn begin_operation(&mut self, client: u64) {
        let calm = self.options.fault_micros + SETTLE_MICROS;
        if self.now >= calm + CALM_MICROS {
            return;
        }
        let think = self.chance.between(5_000, 120_000);
        let Some(id) = self.choose_member() else { return self.at(self.now + think, What::Client { client }) };
        let asked = self.ask();
        let operation = self.next_operation;
        self.next_operation += 1;
        let Some(mut host) = self.hosts.remove(&id) else { return };
        let accepted = self.accept(&mut host, operation, client, asked);
        self.hosts.insert(id, host);
        if accepted {
            self.at(self.now + TIMEOUT_MICROS, What::Timeout { operation });
        } else {
            self.at(self.now + think, What::Client { client });
        }
    }

    /// A member that serves; once the faults ended, one that the leader counts as such.
    fn choose_member(&mut self) -> Option<MemberId> {
        let known = if self.faults { None } else { self.leader().map(|leader| leader.id) };
        let known = known.and_then(|leader| self.hosts.get(&leader)?.process.as_ref());
        let belongs = |id| known.is_none_or(|leader| leader.machine.membership().get(id).is_some_and(|m| !m.learner));
        let up = |host: &&Host| host.serves() && host.paused_until <= self.now && belongs(host.id);
        let members: Vec<MemberId> = self.hosts.values().filter(up).map(|host| host.id).collect();
        (!members.is_empty()).then(|| self.chance.pick(&members))
    }

    fn ask(&mut self) -> Asked {
        let write = |request| Asked::Write { request, id: CommandId::default() };
        match self.chance.between(0, 100) {
            0..35 => write(Request::Put(self.put())),
            35..45 => {
                let key = self.key();
                let range_end = if self.chance.percent(20) { self.key() } else { Bytes::new() };
                write(Request::DeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: false }))
            }
            45..65 => write(Request::Txn(self.txn())),
            65..67 => {
                let back = self.chance.between(0, 60) as i64;
                let revision = self.world.model.revision - back + 3;
                write(Request::Compact(pb::CompactionRequest { revision, physical: false }))
            }
            67..85 => Asked::Linearizable(self.range()),
            _ => {
                let mut range = self.range();
                if self.chance.percent(50) {
                    range.revision = (self.world.model.revision - self.chance.between(0, 40) as i64 + 2).max(1);
                }
                Asked::Serializable(pb::RangeRequest { serializable: true, ..range })
            }
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        let key = self.key();
        let mut value = format!("v{}", self.next_operation).into_bytes();
        if self.chance.percent(5) {
            // Over several pages of the log.
            value.resize(self.chance.between(1_000, 9_000) as usize, b'.');
        }
        pb::PutRequest { key, value: value.into(), ..Default::default() }
    }

    fn range(&mut self) -> pb::RangeRequest {
        if self.chance.percent(50) {
            return pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        }
        pb::RangeRequest { key: self.key(), ..Default::default() }
    }

    /// Compare-and-swap on the mod revision or version that a client may have seen, with a read of the key in both branches.
    fn txn(&mut self) -> pb::TxnRequest {
        let put = self.put();
        let key = put.key.clone();
        let op = |request| pb::RequestOp { request: Some(request) };
        let get = op(Op::RequestRange(pb::RangeRequest { key: key.clone(), ..Default::default() }));
        let revision = self.world.model.revision;
        let seen = self.world.model.range(&key, b"", revision).pop();
        let (mut mod_revision, version) = seen.map_or((0, 0), |kv| (kv.mod_revision, kv.version));
        if self.chance.percent(20) {
            mod_revision -= 1;
        }
        let (target, wanted) = if self.chance.percent(70) {
            (CompareTarget::Mod, TargetUnion::ModRevision(mod_revision))
        } else {
            (CompareTarget::Version, TargetUnion::Version(version))
        };
        let compare = pb::Compare { key, target: target.into(), target_union: Some(wanted), ..Default::default() };
        let mut success = vec![get.clone(), op(Op::RequestPut(put.clone()))];
        let other = self.key();
        if other != put.key {
            let delete = pb::DeleteRangeRequest { key: other, ..Default::default() };
            success.push(op(Op::RequestDeleteRange(delete)));
        }
        pb::TxnRequest { compare: vec![compare], success, failure: vec![get] }
    }

    /// Hands a request to a member; false when it refuses because it has not caught up with what it may have answered before.
    fn accept(&mut self, host: &mut Host, operation: u64, client: u64, mut asked: Asked) -> bool {
        let bug = self.options.bug;
        let Some(process) = &mut host.process else { return false };
        if process.machine.applied().index < process.serve_from {
            return false;
        }
        let event = match &mut asked {
            Asked::Write { request, id } => {
                process.next_counter += 1;
                *id = CommandId { member: host.id, boot: process.boot, counter: process.next_counter };
                process.waiting.insert(id.counter, operation);
                let command = Command { id: *id, user: String::new(), auth_revision: 0, request: request.clone() };
                let proposal = Proposal { id: *id, payload: Payload::Command(command::encode(&command)) };
                if bug == Some(Bug::ProposeTwice) && self.chance.percent(10) {
                    process.events.push(Event::Propose(proposal.clone()));
                }
                Some(Event::Propose(proposal))
            }
            Asked::Linearizable(_) if bug != Some(Bug::LocalRead) => {
                process.next_token += 1;
                let token = process.next_token;
                process.unconfirmed.push_back((token, operation));
                Some(Event::Read { token })
            }
            Asked::Linearizable(_) | Asked::Serializable(_) => None,
        };
        let early = match &asked {
            Asked::Write { request, .. } if bug == Some(Bug::AnswerAtPropose) => {
                Some(self.world.model.clone().apply(request))
            }
            _ => None,
        };
        let floor = self.world.floor;
        self.operations.insert(operation, Operation { client, asked, floor, began: self.now });
        match event {
            Some(event) => self.tell(host, event),
            None => self.serve_read(host, operation),
        }
        if let Some(answer) = early {
            self.reply(operation, answer);
        }
        true
    }

    /// Answers a read from the member's state, which is checked against the history at once.
    pub(crate) fn serve_read(&mut self, host: &mut Host, operation: u64) {
        let Some(process) = &host.process else { return };
        let Some(Operation { asked: Asked::Linearizable(range) | Asked::Serializable(range), .. }) =
            self.operations.get(&operation)
        else {
            return;
        };
        let answer = read(process, range);
        self.world.served(host.id, process.machine.applied().index, range, &answer);
        self.reply(operation, answer);
    }

    /// Sends an answer on its way.
    pub(crate) fn reply(&mut self, operation: u64, answer: Answer) {
        let at = self.now + self.chance.between(50, 3_000);
        self.at(at, What::Answer { operation, answer });
    }

    pub(crate) fn take_answer(&mut self, operation: u64, answer: Answer) {
        let Some(Operation { client, asked, floor, .. }) = self.operations.remove(&operation) else { return };
        self.note(0, "operation {} answers revision {}", [operation, answer.revision.unsigned_abs(), 0]);
        match asked {
            Asked::Write { id, .. } => self.world.acknowledged(id, answer, floor),
            Asked::Linearizable(_) => self.world.read(&answer, floor),
            // What a stale member shows was committed, so nothing later may lie before it.
            Asked::Serializable(_) => self.world.floor.revision = self.world.floor.revision.max(answer.revision),
        }
        let at = self.now + self.chance.between(5_000, 120_000);
        self.at(at, What::Client { client });
    }

    pub(crate) fn time_out(&mut self, operation: u64) {
        let Some(Operation { client, began, .. }) = self.operations.remove(&operation) else { return };
        self.note(0, "operation {} times out", [operation, 0, 0]);
        self.world.counts.add("operations timed out");
        if began >= self.options.fault_micros + SETTLE_MICROS {
            self.world.violate(format!("operation {operation} was not answered although the faults ended long ago"));
        }
        self.at(self.now + 1_000, What::Client { client });
    }
}
