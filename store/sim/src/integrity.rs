//! What a member does about wrong data, its own and others': it rereads its rows, says what it found, compares the members when it leads,
//! and is rebuilt; as the server's `scrub`, `integrity`, `store/recovery` and `driver/rebuild`. The decisions are `quorate_core::integrity`.

use std::collections::BTreeMap;

use quorate_api::etcdserverpb::alarm_request::AlarmAction;
use quorate_core::command::Request;
use quorate_core::integrity::{Confession, Leader, NOBODY, Rebuild, Report, Step, corrupt, judge};
use quorate_core::log::MemberId;
use quorate_core::membership::successor;
use quorate_core::memory::DAMAGE;
use quorate_core::mvcc::{Revision, ScrubLimits, scrub};
use quorate_core::node::Event;
use quorate_core::replica::Role;

use crate::cluster::Cluster;
use crate::host::{Host, Process};
use crate::leases::propose;
use crate::network::Packet;
use crate::options::Bug;
use crate::taint;

/// The hash is kept at every multiple of so many revisions: histories are short.
pub const HASHED_EVERY: i64 = 16;
/// A step of the scrub; one a tick.
pub const SCRUB: ScrubLimits = ScrubLimits { versions: 12, bytes: usize::MAX };
/// The leader asks all members for their hashes, waits so long for answers, and asks again so long after that it asked before.
const ANSWERS_MS: u64 = 400;
const ROUND_MS: u64 = 1_000;
/// In so many ticks of a member whose data are known to be wrong somebody has it rebuilt, who looks after the cluster.
const REBUILD_PERCENT: u64 = 20;
/// Of members that a client's read shows to be damaged, so many are given up instead: their process is not started again.
const GIVEN_UP_PERCENT: u64 = 20;

/// See the module; of one process.
#[derive(Debug, Default)]
pub struct Integrity {
    /// It met damage, which is not repaired yet.
    pub damaged: bool,
    pub rebuild: Rebuild,
    /// Where the scrub goes on.
    pub scrub_from: Revision,
    /// Ticks in a row at which the scrub had not found what it can find.
    pub missed_ticks: usize,
    confession: Confession,
    round: Option<Round>,
}

/// A comparison that its leader began.
#[derive(Debug)]
struct Round {
    asked_ms: u64,
    /// Until they are compared.
    answers: Option<BTreeMap<MemberId, Report>>,
}

impl Host {
    /// Whether this member's data are known to be wrong.
    pub fn is_known_wrong(&self) -> bool {
        let wrong = |process: &Process| process.integrity.damaged || process.machine.alarms().is_corrupt(self.id);
        self.process.as_deref().is_some_and(wrong)
    }

    /// Whether it serves no data.
    pub fn is_quarantined(&self) -> bool {
        let nobody = |process: &Process| process.machine.alarms().is_corrupt(NOBODY);
        self.is_known_wrong() || self.process.as_deref().is_some_and(nobody)
    }
}

impl Cluster {
    /// Whether this member refuses what is made of its data.
    pub(crate) fn refuses(&self, host: &Host) -> bool {
        host.is_quarantined() && self.options.bug != Some(Bug::ServeWrong)
    }

    /// At every tick.
    pub(crate) fn look_after(&mut self, host: &mut Host) {
        self.see_truth(host);
        self.check_scrub(host);
        if self.refuses(host) {
            self.end_streams(host);
        }
        self.confess(host);
        self.rebuild_step(host);
        self.compare_members(host);
        self.scrub_step(host);
    }

    /// A read of the member's rows failed.
    pub(crate) fn cannot_read(&mut self, host: &mut Host, why: &str) {
        if !why.contains(DAMAGE) || host.chance.percent(GIVEN_UP_PERCENT) {
            return self.fail(host, why);
        }
        self.world.counts.add("damaged rows met");
        self.report_damage(host, why);
    }

    /// What was read is not what was written: nothing of it is served any more.
    pub(crate) fn report_damage(&mut self, host: &mut Host, why: &str) {
        let id = host.id;
        let Some(process) = &mut host.process else { return };
        if !taint::is_wrong(&process.live) && !process.live.is_damaged() {
            return self.world.violate(format!("member {id} reports damage, and its data are right: {why}"));
        }
        if !std::mem::replace(&mut process.integrity.damaged, true) {
            self.world.counts.add("integrity: damage found by its member");
            self.mark(id, "finds that its data are damaged", [0, 0, 0]);
        }
        if self.refuses(host) {
            self.end_streams(host);
        }
    }

    fn confess(&mut self, host: &mut Host) {
        let id = host.id;
        let Some(process) = &mut host.process else { return };
        let now_ms = process.lessor.now_ms(self.now);
        let raised = process.machine.alarms().is_corrupt(id);
        let integrity = &mut process.integrity;
        if integrity.confession.is_due(now_ms, integrity.damaged, raised) {
            propose(process, id, Request::Alarm(corrupt(id, true)));
            self.world.accused(id);
        }
    }

    /// As the server's driver; and somebody asks for the rebuild of who is known to be wrong.
    fn rebuild_step(&mut self, host: &mut Host) {
        let (id, wrong) = (host.id, host.is_known_wrong());
        let Some(process) = &mut host.process else { return };
        let now_ms = process.lessor.now_ms(self.now);
        let alarms = process.machine.alarms();
        let (leader, raised) = (Leader::of(&process.node.status(), alarms), alarms.is_corrupt(id));
        let integrity = &mut process.integrity;
        if wrong && integrity.rebuild.is_idle() && host.chance.percent(REBUILD_PERCENT) {
            integrity.rebuild.ask();
        }
        match integrity.rebuild.step(now_ms, leader, integrity.damaged, raised) {
            Some(Step::AskForSnapshot) => process.events.push(Event::RequestSnapshot),
            Some(Step::HandOver) => {
                let (machine, progress) = (&process.machine, process.node.progress());
                let is_corrupt = |id| machine.alarms().is_corrupt(id);
                let to = successor(&progress, machine.membership(), id, is_corrupt).filter(|id| !is_corrupt(*id));
                if let Some(to) = to {
                    self.world.counts.add("integrity: leaders with wrong data that handed over");
                    process.events.push(Event::Transfer { to });
                }
            }
            Some(Step::TakeAlarmBack) => propose(process, id, Request::Alarm(corrupt(id, false))),
            None => {}
        }
    }

    /// A leader asks all members for their hashes, and compares what came a while later.
    fn compare_members(&mut self, host: &mut Host) {
        let id = host.id;
        let Some(process) = &mut host.process else { return };
        if process.node.status().role != Role::Leader || self.options.bug == Some(Bug::SkipCompare) {
            process.integrity.round = None;
            return;
        }
        let now_ms = process.lessor.now_ms(self.now);
        let mut begins = true;
        if let Some(round) = &mut process.integrity.round {
            begins = now_ms >= round.asked_ms + ROUND_MS;
            if now_ms >= round.asked_ms + ANSWERS_MS
                && let Some(mut reports) = round.answers.take()
            {
                reports.insert(id, process.machine.integrity().report());
                self.judge_reports(host, reports);
            }
        }
        if begins {
            self.ask_for_hashes(host, now_ms);
        }
    }

    fn ask_for_hashes(&mut self, host: &mut Host, asked_ms: u64) {
        let Some(process) = &mut host.process else { return };
        process.integrity.round = Some(Round { asked_ms, answers: Some(BTreeMap::new()) });
        let members: Vec<MemberId> = process.machine.membership().members().map(|member| member.id).collect();
        let (id, boot) = (host.id, host.boot);
        for to in members.into_iter().filter(|to| *to != id) {
            self.post(host, to, Packet::AskHashes { boot, asked_ms });
        }
    }

    fn judge_reports(&mut self, host: &mut Host, reports: BTreeMap<MemberId, Report>) {
        let Some(process) = &mut host.process else { return };
        self.world.counts.add("integrity: members compared");
        let (_, proposed) = judge(reports, process.machine.alarms(), process.machine.membership());
        for alarm in proposed {
            if alarm.action() == AlarmAction::Activate {
                self.world.accused(alarm.member_id);
                self.mark(host.id, "finds that the data of {} differ (0: of somebody)", [alarm.member_id, 0, 0]);
            }
            let Some(process) = &mut host.process else { return };
            propose(process, host.id, Request::Alarm(alarm));
        }
    }

    /// A member is asked for its hashes.
    pub(crate) fn tell_hashes(&mut self, host: &mut Host, to: MemberId, boot: u64, asked_ms: u64) {
        self.see_truth(host);
        let Some(process) = &host.process else { return };
        let report = process.machine.integrity().report();
        self.post(host, to, Packet::Hashes { boot, asked_ms, report });
    }

    /// One of the answers.
    pub(crate) fn take_hashes(&mut self, host: &mut Host, from: MemberId, asked_ms: u64, report: Report) {
        let round = host.process.as_mut().and_then(|process| process.integrity.round.as_mut());
        let round = round.filter(|round| round.asked_ms == asked_ms);
        if let Some(answers) = round.and_then(|round| round.answers.as_mut()) {
            answers.insert(from, report);
        }
    }

    /// Rereads some of the rows. In half of the clusters nobody does: there the comparison alone has to find what differs.
    fn scrub_step(&mut self, host: &mut Host) {
        let quarantined = host.is_quarantined();
        let Some(process) = &mut host.process else { return };
        if quarantined || process.halted || !self.scrubs || self.options.bug == Some(Bug::SkipScrub) {
            return;
        }
        match scrub(&process.live, process.integrity.scrub_from, SCRUB) {
            Ok(step) => {
                process.integrity.scrub_from = step.next.unwrap_or_default();
                if step.next.is_none() && step.versions > 0 {
                    self.world.counts.add("integrity: rows reread to their end");
                }
            }
            Err(error) if error.is_damage(|reason| reason.contains(DAMAGE)) => {
                self.world.counts.add("integrity: damage found by the scrub");
                self.report_damage(host, &error.to_string());
            }
            Err(error) => self.world.violate(format!("member {} cannot scrub: {error}", host.id)),
        }
    }
}
