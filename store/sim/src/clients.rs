//! Clients: what they ask, whom, and how long they wait. Each has one operation at a time.

use quorate_api::Error as ApiError;
use quorate_api::etcdserverpb as pb;
use quorate_core::command::{self, Command, CommandId, Request};
use quorate_core::log::MemberId;
use quorate_core::mvcc::{self, State};
use quorate_core::node::{Event, Payload, Proposal};

use crate::checkers::history;
use crate::cluster::{CALM_MICROS, Cluster, SETTLE_MICROS, What};
use crate::host::{Host, Process};
use crate::leases::is_question;
use crate::model::Answer;
use crate::options::Bug;
use crate::taint;
use crate::world::Floor;

/// How long a client waits, for a clients' library's usual patience; once the faults have ended everybody has the longest.
const TIMEOUTS_MICROS: [u64; 3] = [300_000, 1_000_000, TIMEOUT_MICROS_MAX];
const TIMEOUT_MICROS_MAX: u64 = 3_000_000;

pub(crate) enum Asked {
    Write {
        request: Request,
        id: CommandId,
    },
    Linearizable(pb::RangeRequest),
    Serializable(pb::RangeRequest),
    /// Of this lease; asked of a leader's memory, as the next.
    KeepAlive(i64),
    TimeToLive(i64),
}

pub(crate) struct Operation {
    client: u64,
    pub asked: Asked,
    floor: Floor,
    pub began: u64,
}

/// Answers a range from a member's state as it is.
///
/// # Errors
/// A row that cannot be read; what a client may cause is an answer.
pub(crate) fn read(process: &Process, request: &pb::RangeRequest) -> Result<Answer, mvcc::Error> {
    let answered = State::load(&process.live).and_then(|state| mvcc::range(&process.live, &state, request));
    match answered {
        Ok(response) => Ok(Answer::of_range(&response)),
        Err(mvcc::Error::Compacted) => Ok(Answer::of_error(ApiError::Compacted)),
        Err(mvcc::Error::FutureRevision) => Ok(Answer::of_error(ApiError::FutureRev)),
        Err(error) => Err(error),
    }
}

impl Cluster {
    pub(crate) fn begin_operation(&mut self, client: u64) {
        let calm = self.options.fault_micros + SETTLE_MICROS;
        if self.now >= calm + CALM_MICROS {
            return;
        }
        let think = self.chance.between(5_000, 120_000);
        let asked = match self.ended.remove(&client) {
            Some(lease) => Asked::TimeToLive(lease),
            None if client < self.options.clients => self.ask(),
            None => self.ask_of_lease(client == self.options.clients),
        };
        let chosen = if is_question(&asked) { self.choose_leader() } else { self.choose_member() };
        let Some(id) = chosen else { return self.at(self.now + think, What::Client { client }) };
        let operation = self.next_operation;
        self.next_operation += 1;
        let Some(mut host) = self.hosts.remove(&id) else { return };
        let accepted = self.accept(&mut host, operation, client, asked);
        self.hosts.insert(id, host);
        if accepted {
            let patience = if self.faults { self.chance.pick(&TIMEOUTS_MICROS) } else { TIMEOUT_MICROS_MAX };
            self.at(self.now + patience, What::Timeout { operation });
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

    /// A member that keeps the times of leases, or believes so; the one of the oldest term, which may long be replaced.
    fn choose_leader(&mut self) -> Option<MemberId> {
        let term = |host: &&Host| host.process.as_ref().and_then(|process| process.lessor.term());
        let up = self.hosts.values().filter(|host| host.paused_until <= self.now && term(host).is_some());
        up.min_by_key(term).map(|host| host.id)
    }

    /// Hands a request to a member; false when it refuses because it has not caught up with what it may have answered before.
    fn accept(&mut self, host: &mut Host, operation: u64, client: u64, mut asked: Asked) -> bool {
        let bug = self.options.bug;
        let Some(process) = &mut host.process else { return false };
        if process.machine.applied().index < process.serve_from {
            return false;
        }
        if self.refuses(host) && !matches!(asked, Asked::Write { request: Request::Alarm(_), .. }) {
            self.world.counts.add("integrity: requests refused by a member with wrong data");
            return false;
        }
        let Some(process) = &mut host.process else { return false };
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
            Asked::KeepAlive(lease) | Asked::TimeToLive(lease) => {
                let lease = *lease;
                self.operations
                    .insert(operation, Operation { client, asked, floor: self.world.floor, began: self.now });
                self.ask_lessor(host, operation, lease);
                self.turn(host);
                return true;
            }
        };
        let early = match &asked {
            Asked::Write { request, .. } if bug == Some(Bug::AnswerAtPropose) => {
                Some(self.world.model.clone().apply(self.world.last() + 1, 0, request))
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
        if self.applied_question(host, operation) {
            return;
        }
        if self.refuses(host) {
            return self.unheard(operation);
        }
        let known = host.is_quarantined();
        let Some(process) = &mut host.process else { return };
        let Some(Operation { asked: Asked::Linearizable(range) | Asked::Serializable(range), .. }) =
            self.operations.get(&operation)
        else {
            return;
        };
        let answer = match read(process, range) {
            Ok(answer) => answer,
            Err(error) => {
                self.unheard(operation);
                return self.cannot_read(host, &format!("cannot read: {error}"));
            }
        };
        if taint::is_wrong(&process.live) && !known {
            return self.unheard(operation);
        }
        self.world.served(host.id, process.machine.applied().index, range, &answer);
        process.answered = process.answered.max(answer.revision);
        self.reply(operation, answer);
    }

    /// The client is told nothing that counts: the member refuses, or its data are wrong and nobody knows yet.
    pub(crate) fn unheard(&mut self, operation: u64) {
        let Some(Operation { client, asked, began, .. }) = self.operations.remove(&operation) else { return };
        if let Asked::Write { id, .. } = &asked {
            // The history knows what became of it, and needs no guess.
            let executed = self.world.executed(*id).map(|executed| (self.now, executed.answer.clone()));
            self.record(&asked, began, executed);
        }
        let think = self.chance.between(5_000, 120_000);
        self.at(self.now + think, What::Client { client });
    }

    /// Sends an answer on its way.
    pub(crate) fn reply(&mut self, operation: u64, answer: Answer) {
        let at = self.now + self.chance.between(50, 3_000);
        self.at(at, What::Answer { operation, answer });
    }

    pub(crate) fn take_answer(&mut self, operation: u64, answer: Answer) {
        let Some(Operation { client, asked, floor, began }) = self.operations.remove(&operation) else { return };
        self.note(0, "operation {} answers revision {}", [operation, answer.revision.unsigned_abs(), 0]);
        self.record(&asked, began, Some((self.now, answer.clone())));
        let mut think = self.chance.between(5_000, 120_000);
        if let Asked::Write { request: Request::LeaseRevoke { id, .. }, .. } = &asked
            && answer.error.is_none()
        {
            // Is it gone for the leader too, which may apply later than the member that answered?
            self.ended.insert(client, *id);
            think = 0;
        }
        match asked {
            Asked::Write { id, .. } => self.world.acknowledged(id, answer, floor),
            Asked::Linearizable(_) => self.world.read(&answer, floor),
            Asked::KeepAlive(lease) | Asked::TimeToLive(lease) => self.world.lease_told(began, lease, &answer),
            // What a stale member shows was committed, so nothing later may lie before it.
            Asked::Serializable(_) => self.world.floor.revision = self.world.floor.revision.max(answer.revision),
        }
        self.at(self.now + think, What::Client { client });
    }

    /// Keeps what the independent check of the clients' history looks at.
    fn record(&mut self, asked: &Asked, began: u64, answered: Option<(u64, Answer)>) {
        let asked = match asked {
            Asked::Write { request, .. } => history::Asked::Write(request.clone()),
            Asked::Linearizable(range) => history::Asked::Read(range.clone()),
            Asked::Serializable(_) | Asked::KeepAlive(_) | Asked::TimeToLive(_) => return,
        };
        self.history.push(history::Call { asked, began, answered });
    }

    /// Whether some order of all requests explains all answers.
    pub(crate) fn check_history(&mut self) {
        let open: Vec<u64> = self.operations.keys().copied().collect();
        for operation in open {
            if let Some(Operation { asked, began, .. }) = self.operations.remove(&operation) {
                self.record(&asked, began, None);
            }
        }
        match history::judge(&self.history) {
            history::Verdict::Explained => self.world.counts.add("histories of clients explained"),
            history::Verdict::TooAmbiguous => self.note(0, "the history of the clients is too ambiguous", [0; 3]),
            history::Verdict::Unexplained { revision } => self
                .world
                .violate(format!("no order of the clients' requests explains what they saw of revision {revision}")),
        }
    }

    pub(crate) fn time_out(&mut self, operation: u64) {
        let Some(Operation { client, asked, began, .. }) = self.operations.remove(&operation) else { return };
        self.record(&asked, began, None);
        self.note(0, "operation {} times out", [operation, 0, 0]);
        self.world.counts.add("operations timed out");
        // A lease that expires under CORRUPT cannot be answered for before the alarm is lowered.
        if began >= self.settled_at() && self.now > self.world.corrupt_at + TIMEOUT_MICROS_MAX {
            self.world.violate(format!("operation {operation} was not answered although the faults ended long ago"));
        }
        self.at(self.now + 1_000, What::Client { client });
    }
}
