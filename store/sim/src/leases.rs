//! The leases of a member: `quorate_core::lease` with confirmations of leadership, in the order in which the server's `lessor` works.
//! Clients ask whoever believes to lead, also one that was replaced long ago.

use std::collections::BTreeMap;

use quorate_api::Error as ApiError;
use quorate_core::apply::{LeaseChange, Machine, NoSpace};
use quorate_core::command::{Command, CommandId, Expiry, Request, encode};
use quorate_core::lease::{Due, Duty, Found, Leases, Listed, Remaining};
use quorate_core::node::{Event, Payload, Proposal, Status};

use crate::chance::Chance;
use crate::checkers::leases::DRIFT_PERCENT;
use crate::clients::Asked;
use crate::cluster::Cluster;
use crate::host::{Host, Process};
use crate::model::Answer;
use crate::options::Bug;

/// An election timeout, by which a new leader extends all leases.
const EXTENSION_MS: u64 = 1_000;
/// Expiries looked for at once.
const DUE_MAX: usize = 64;
/// An expiry whose outcome is unknown is proposed again after this long.
const AGAIN_MICROS: u64 = 500_000;
/// One whose outcome is known may come again within this time.
const STRAY_MICROS_MAX: u64 = 3_000_000;

/// Where a client's question stands.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    lease: i64,
    arrived_ms: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Confirming,
    /// Confirmed, in this term if this member leads it; until everything is applied here that was committed by then.
    Applying(Option<u64>),
    /// Until the proposed expiry has an outcome.
    AwaitingOutcome,
}

/// See the module.
pub struct Lessor {
    leases: Leases,
    seen: Option<Status>,
    /// The member's clock: where it stood at its start, when that was, and how far it is off, in percent of 100.
    base_ms: u64,
    started: u64,
    rate_percent: u64,
    /// By operation.
    waiting: BTreeMap<u64, Waiting>,
    /// A confirmation that was asked for to let these expire.
    round: Option<(u64, Vec<Due>)>,
    /// Proposed in the term, with the time to try again.
    proposed: Vec<(u64, Due, u64)>,
    pub no_space: NoSpace,
    chance: Chance,
}

impl Lessor {
    pub fn new(machine: &Machine, seed: u64, now: u64) -> Lessor {
        let mut chance = Chance::new(seed ^ 0x6c65_6173);
        let mut lessor = Lessor {
            leases: Leases::default(),
            seen: None,
            base_ms: chance.between(0, 1_000_000),
            started: now,
            rate_percent: chance.between(100 - DRIFT_PERCENT + 1, 100 + DRIFT_PERCENT),
            waiting: BTreeMap::new(),
            round: None,
            proposed: Vec::new(),
            no_space: NoSpace::default(),
            chance,
        };
        lessor.reset(machine, now);
        lessor
    }

    /// Takes over all leases of a state, as at a start or after a snapshot.
    pub fn reset(&mut self, machine: &Machine, now: u64) {
        let now_ms = self.now_ms(now);
        assert_eq!(self.leases.term(), None, "a leader installs no snapshot");
        self.leases = Leases::default();
        for (id, lease) in machine.leases() {
            self.leases.grant(now_ms, *id, lease.ttl_seconds, lease.grant_index);
        }
    }

    /// By this member's clock.
    pub fn now_ms(&self, now: u64) -> u64 {
        self.base_ms + (now - self.started) * self.rate_percent / 100_000
    }

    /// The term in which this member keeps the times, or believes so.
    pub fn term(&self) -> Option<u64> {
        self.leases.term()
    }

    fn resume(&mut self, lease: i64) -> bool {
        let mut any = false;
        for waiting in self.waiting.values_mut() {
            if waiting.lease == lease && waiting.stage == Stage::AwaitingOutcome {
                waiting.stage = Stage::Confirming;
                any = true;
            }
        }
        any
    }
}

fn lease_of(asked: &Asked) -> Option<i64> {
    match asked {
        Asked::KeepAlive(id) | Asked::TimeToLive(id) => Some(*id),
        _ => None,
    }
}

/// Asks for a confirmation of leadership; its token.
fn confirm(process: &mut Process) -> u64 {
    process.next_token += 1;
    process.events.push(Event::Read { token: process.next_token });
    process.next_token
}

impl Cluster {
    /// After a turn of the node: this member began or ceased to lead.
    pub(crate) fn tell_lessor(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let status = process.node.status();
        let lessor = &mut process.lessor;
        let duty = Duty::after(lessor.seen.as_ref(), &status);
        lessor.seen = Some(status);
        let dropped = match duty {
            Duty::Promote { term } => {
                let known = process.machine.leases();
                assert_eq!(lessor.leases.len(), known.len(), "the lessor knows every lease that is applied");
                lessor.leases.promote(lessor.now_ms(self.now), term, EXTENSION_MS);
                self.world.leases.promoted(self.now, term);
                lessor.drop_awaiting()
            }
            Duty::Demote => {
                lessor.leases.demote();
                lessor.drop_awaiting()
            }
            Duty::Unchanged => return,
        };
        (lessor.round, lessor.proposed) = (None, Vec::new());
        for operation in dropped {
            self.reply(operation, Answer::of_error(ApiError::NotLeader));
        }
    }

    /// Grants and revocations were applied; before whoever waits for them is answered.
    pub(crate) fn follow_leases(&mut self, host: &mut Host, changes: &[LeaseChange]) {
        let Some(process) = &mut host.process else { return };
        let now_ms = process.lessor.now_ms(self.now);
        let mut resumed = false;
        for change in changes {
            match *change {
                LeaseChange::Granted { id, ttl_seconds, grant_index } => {
                    process.lessor.leases.grant(now_ms, id, ttl_seconds, grant_index);
                }
                LeaseChange::Revoked { id } => {
                    process.lessor.leases.revoke(id);
                    resumed |= process.lessor.resume(id);
                }
            }
        }
        if resumed {
            self.confirm_questions(host);
        }
    }

    /// Every question that is to be confirmed gets a round that begins now.
    fn confirm_questions(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let asked = process.lessor.waiting.iter().filter(|(_, waiting)| waiting.stage == Stage::Confirming);
        let asked: Vec<u64> = asked.map(|(operation, _)| *operation).collect();
        for operation in asked {
            if !process.unconfirmed.iter().any(|(_, waiting)| *waiting == operation) {
                let token = confirm(process);
                process.unconfirmed.push_back((token, operation));
            }
        }
    }

    /// A question about a lease arrives; false when this member does not believe to lead.
    pub(crate) fn ask_lessor(&mut self, host: &mut Host, operation: u64, lease: i64) -> bool {
        let bug = self.options.bug;
        let Some(process) = &mut host.process else { return false };
        let Some(term) = process.lessor.leases.term() else { return false };
        let arrived_ms = process.lessor.now_ms(self.now);
        let waiting = Waiting { lease, arrived_ms, stage: Stage::Confirming };
        process.lessor.waiting.insert(operation, waiting);
        if bug == Some(Bug::StaleKeepAlive) {
            self.answer_question(host, operation, Some(term));
        } else {
            self.confirm_questions(host);
        }
        true
    }

    /// A read of this operation was confirmed at `index`: in `term`, if this member leads it. Returns whether it was about a lease.
    pub(crate) fn confirmed_question(
        &mut self,
        host: &mut Host,
        operation: u64,
        index: u64,
        term: Option<u64>,
    ) -> bool {
        let early = self.options.bug == Some(Bug::LeaseBeforeApply);
        let Some(process) = &mut host.process else { return false };
        let Some(waiting) = process.lessor.waiting.get_mut(&operation) else { return false };
        if waiting.stage == Stage::Confirming {
            waiting.stage = Stage::Applying(term);
            if early || index <= process.machine.applied().index {
                self.applied_question(host, operation);
            } else {
                process.unapplied.push((index, operation));
            }
        }
        true
    }

    /// Everything is applied that was committed when this question was confirmed. Returns whether it is one.
    pub(crate) fn applied_question(&mut self, host: &mut Host, operation: u64) -> bool {
        let Some(process) = &mut host.process else { return false };
        let Some(waiting) = process.lessor.waiting.get(&operation) else { return false };
        if let Stage::Applying(term) = waiting.stage {
            self.answer_question(host, operation, term);
        }
        true
    }

    fn answer_question(&mut self, host: &mut Host, operation: u64, term: Option<u64>) {
        let now = self.now;
        let refuses = self.refuses(host);
        let Some(process) = &mut host.process else { return };
        let Some(Waiting { lease, arrived_ms, .. }) = process.lessor.waiting.remove(&operation) else {
            return;
        };
        if refuses {
            return self.unheard(operation);
        }
        let Some((asked, began)) = self.operations.get(&operation).map(|asked| (&asked.asked, asked.began)) else {
            // Its client has given up.
            return;
        };
        let now_ms = process.lessor.now_ms(now);
        let known = &mut process.lessor.leases;
        let granted = process.machine.leases().get(&lease).map_or(0, |lease| lease.grant_index);
        let Some(term) = term else { return self.reply(operation, Answer::of_error(ApiError::NotLeader)) };
        let found = match asked {
            Asked::KeepAlive(_) => known
                .keep_alive(now_ms, arrived_ms, term, lease)
                .map(|found| map(found, |ttl_s| (ttl_s * 1_000, ttl_s))),
            _ => known.time_to_live(now_ms, term, lease).map(|found| {
                map(found, |Remaining { granted_s, remaining_ms }| (remaining_ms.cast_signed(), granted_s))
            }),
        };
        let Ok(found) = found else { return self.reply(operation, Answer::of_error(ApiError::NotLeader)) };
        let answer = match found {
            Found::Known(answer) => Some(answer),
            Found::Missing => None,
            Found::Expiring => {
                let stage = Stage::AwaitingOutcome;
                process.lessor.waiting.insert(operation, Waiting { lease, arrived_ms, stage });
                return;
            }
        };
        if matches!(asked, Asked::KeepAlive(_)) && answer.is_some() {
            self.world.leases.renewed(now, lease, granted);
        }
        self.world.lease_answered(began, term);
        let numbers = answer.map_or(vec![-1, 0, 0], |(left_ms, ttl_s)| vec![left_ms, ttl_s, granted.cast_signed()]);
        self.reply(operation, Answer { numbers, ..Answer::default() });
    }

    /// The leader looks for leases whose time is over, as the server's expiry task does.
    pub(crate) fn look_for_expired(&mut self, host: &mut Host) {
        let now = self.now;
        let early = self.options.bug == Some(Bug::ExpireEarly);
        let Some(process) = &mut host.process else { return };
        let lessor = &mut process.lessor;
        if lessor.term().is_none() {
            return;
        }
        let again: Vec<(u64, Due)> = lessor.take_again(now);
        if lessor.round.is_none() {
            let now_ms = lessor.now_ms(now);
            let due = if early { lessor.soon(now_ms) } else { lessor.leases.due(now_ms, DUE_MAX) };
            if !due.is_empty() {
                let token = confirm(process);
                process.lessor.round = Some((token, due));
            }
        }
        for (term, due) in again {
            self.world.counts.add("leases: expiries proposed again");
            self.propose_expiry(host, term, due);
        }
    }

    /// A confirmation up to `token`: expiries that wait for it are proposed.
    pub(crate) fn confirmed_expiries(&mut self, host: &mut Host, token: u64, term: Option<u64>) {
        let early = self.options.bug == Some(Bug::ExpireEarly);
        let Some(process) = &mut host.process else { return };
        let lessor = &mut process.lessor;
        if lessor.round.as_ref().is_none_or(|(waiting, _)| *waiting > token) {
            return;
        }
        let (Some((_, due)), Some(term)) = (lessor.round.take(), term) else { return };
        let now_ms = lessor.now_ms(self.now);
        let begun = if early { due } else { lessor.leases.begin_expiry(now_ms, term, due) };
        for due in begun {
            self.propose_expiry(host, term, due);
        }
    }

    fn propose_expiry(&mut self, host: &mut Host, term: u64, due: Due) {
        let Some(process) = &mut host.process else { return };
        let lessor = &mut process.lessor;
        lessor.proposed.push((term, due, self.now + AGAIN_MICROS));
        if lessor.chance.percent(30) {
            // The answer was lost, and the proposal comes again when the id may belong to another grant.
            lessor.proposed.push((term, due, self.now + lessor.chance.between(50_000, STRAY_MICROS_MAX)));
        }
        let expiry = Some(Expiry { grant_index: due.grant_index, term });
        propose(process, host.id, Request::LeaseRevoke { id: due.id, expiry });
    }

    /// A write went over this member's quota.
    pub(crate) fn propose_no_space(&mut self, host: &mut Host) {
        let Some(process) = &mut host.process else { return };
        let now_ms = process.lessor.now_ms(self.now);
        if let Some(alarm) = process.lessor.no_space.alarm(now_ms, host.id, process.machine.alarms()) {
            self.world.alarms.proposed(self.now, host.id, process.boot);
            propose(process, host.id, Request::Alarm(alarm));
        }
    }
}

impl Lessor {
    /// Questions that wait for an outcome which this member will not see.
    fn drop_awaiting(&mut self) -> Vec<u64> {
        let awaiting = self.waiting.iter().filter(|(_, waiting)| waiting.stage == Stage::AwaitingOutcome);
        let dropped: Vec<u64> = awaiting.map(|(operation, _)| *operation).collect();
        dropped.iter().for_each(|operation| {
            self.waiting.remove(operation);
        });
        dropped
    }

    /// The planted bug: leases that have more than a second left.
    fn soon(&self, now_ms: u64) -> Vec<Due> {
        let over = |lease: &Listed| lease.expires_ms <= now_ms + 1_500;
        let due = |lease: Listed| Due { id: lease.id, grant_index: lease.grant_index };
        self.leases.list().into_iter().filter(over).map(due).collect()
    }

    /// Expiries without an outcome whose time to be proposed again has come; and now and then one that had its outcome, because
    /// the answer to a proposal may be lost.
    fn take_again(&mut self, now: u64) -> Vec<(u64, Due)> {
        let (ready, waiting): (Vec<_>, Vec<_>) = self.proposed.drain(..).partition(|(_, _, at)| *at <= now);
        self.proposed = waiting;
        let (leases, chance) = (&self.leases, &mut self.chance);
        let again = ready.into_iter().filter(|(term, due, _)| leases.awaits_outcome(*term, *due) || chance.percent(30));
        again.map(|(term, due, _)| (term, due)).collect()
    }
}

/// Proposes a command of the member itself; nobody waits for its outcome.
pub(crate) fn propose(process: &mut Process, member: u64, request: Request) {
    process.next_counter += 1;
    let id = CommandId { member, boot: process.boot, counter: process.next_counter };
    let command = Command { id, user: String::new(), auth_revision: 0, request };
    process.events.push(Event::Propose(Proposal { id, payload: Payload::Command(encode(&command)) }));
}

fn map<T, U>(found: Found<T>, change: impl FnOnce(T) -> U) -> Found<U> {
    match found {
        Found::Known(known) => Found::Known(change(known)),
        Found::Missing => Found::Missing,
        Found::Expiring => Found::Expiring,
    }
}

/// Whether a client asks this of a leader's memory.
pub(crate) fn is_question(asked: &Asked) -> bool {
    lease_of(asked).is_some()
}
