//! Plays one sequence to a fresh Quorate and a fresh etcd, step by step, and compares each answer before the next step.

use std::time::{Duration, Instant};

use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, Value};
use quorate_api::Error as Known;
use quorate_api::etcdserverpb::{self as pb, alarm_request::AlarmAction};

use crate::Error;
use crate::compare::Used;
use crate::coverage::Coverage;
use crate::exceptions::{Rule, is_not_there};
use crate::facts::Facts;
use crate::names::Word;
use crate::requests::{Ops, STABLE_KEYS_MAX, add_sorted, is_chosen, sorted_in};
use crate::server::Programs;
use crate::session::{Outcome, Session};
use crate::step::{Act, CLIENTS, Metadata, Step, show};
use crate::watching::Watching;
use crate::wire::{self, Method};

/// Below the size that etcd refuses to receive, under the lowest limit of any sequence.
const LARGE_BYTES: usize = 500_000;
/// How long nothing more may come over watch streams at the end.
const QUIET: Duration = Duration::from_millis(50);

/// How the servers are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Flags for both.
    pub flags: Vec<String>,
    /// Flags for Quorate alone: only to show that a difference is found.
    pub quorate_flags: Vec<String>,
    /// Members of Quorate, 1 or 3; etcd always has one.
    pub members: usize,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting { flags: Vec::new(), quorate_flags: Vec::new(), members: 1 }
    }
}

/// Where the servers differ.
#[derive(Debug, Clone)]
pub struct Divergence {
    /// The index of the step.
    pub step: usize,
    pub line: String,
    pub what: String,
    pub quorate: String,
    pub etcd: String,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Divergence { step, line, what, quorate, etcd } = self;
        write!(f, "step {}: {line}\n  {what}\n  quorate: {quorate}\n  etcd:    {etcd}", step + 1)
    }
}

/// What a sequence showed.
#[derive(Debug)]
pub struct Played {
    pub coverage: Coverage,
    /// Requests sent to each side.
    pub requests: u64,
    pub divergence: Option<Divergence>,
}

/// Plays the steps up to the first difference.
///
/// # Errors
/// Those of the judge itself; that a server ends is a difference.
pub async fn play(programs: &Programs, setting: &Setting, steps: &[Step]) -> Result<Played, Error> {
    let ours_flags = [&setting.flags[..], &setting.quorate_flags[..]].concat();
    let (ours, theirs) = tokio::join!(
        Session::start(&programs.quorate, setting.members, &ours_flags),
        Session::start(&programs.etcd, 1, &setting.flags)
    );
    let mut pair = Pair {
        ours: ours?,
        theirs: theirs?,
        facts: Facts::new(setting.members > 1),
        watching: Watching::default(),
        coverage: Coverage::default(),
        requests: 0,
    };
    let mut divergence = None;
    for (index, step) in steps.iter().enumerate() {
        let mut difference = pair.step(step).await?;
        if difference.is_none() && index + 1 == steps.len() {
            difference = pair.finish().await?;
        }
        if let Some(Difference { what, quorate, etcd }) = difference {
            let (quorate, etcd) = (with_end(quorate, &mut pair.ours), with_end(etcd, &mut pair.theirs));
            divergence = Some(Divergence { step: index, line: step.to_string(), what, quorate, etcd });
            break;
        }
    }
    Ok(Played { coverage: pair.coverage, requests: pair.requests, divergence })
}

fn with_end(text: String, session: &mut Session) -> String {
    match session.ended() {
        Some(log) => format!("{text}\nthe process has ended; its log says\n{log}"),
        None => text,
    }
}

/// Two answers that are not the same.
pub struct Difference {
    pub what: String,
    pub quorate: String,
    pub etcd: String,
}

struct Pair {
    ours: Session,
    theirs: Session,
    facts: Facts,
    watching: Watching,
    coverage: Coverage,
    requests: u64,
}

impl Pair {
    async fn step(&mut self, step: &Step) -> Result<Option<Difference>, Error> {
        let before = match &step.act {
            Act::Call { method, .. } => method.name == "KV.Compact",
            Act::Watch { stream, .. } | Act::End { stream } => self.watching.is_racing(*stream),
            Act::Gone { .. } | Act::Restart => true,
        };
        if (before || self.watching.raced_enough())
            && let Some(difference) = self.settle().await?
        {
            return Ok(Some(difference));
        }
        let kept_back = match self.kept_back(step) {
            None if self.sorts_many(step).await => Some(Rule::UnstableSort),
            rule => rule,
        };
        if let Some(rule) = kept_back {
            *self.coverage.rules.entry(rule).or_default() += 1;
            return Ok(None);
        }
        self.coverage.sent(step);
        self.requests += 1;
        let difference = match &step.act {
            Act::Call { method, request } => self.call(step.client, method, request, step.metadata).await?,
            Act::Watch { stream, request, racing } => self.watch(*stream, request, *racing, step.metadata).await?,
            Act::End { stream } => {
                self.watching.end(*stream);
                self.ours.streams.remove(stream);
                self.theirs.streams.remove(stream);
                None
            }
            Act::Gone { request } => self.gone(request).await?,
            Act::Restart => {
                self.theirs.compacted(self.facts.compactions_begun).await?;
                self.watching = Watching::default();
                self.facts.compactions_begun = 0;
                let (ours, theirs) = tokio::join!(self.ours.restart(), self.theirs.restart());
                ours?;
                theirs?;
                None
            }
        };
        if difference.is_some() {
            return Ok(difference);
        }
        self.drain().await
    }

    /// Waits until nobody is behind any more on either side, and compares what came.
    async fn settle(&mut self) -> Result<Option<Difference>, Error> {
        let (ours, theirs) = tokio::join!(self.ours.settle(), self.theirs.settle());
        ours?;
        theirs?;
        self.watching.settled();
        let difference = self.drain().await?;
        self.watching.agreed();
        Ok(difference)
    }

    async fn drain(&mut self) -> Result<Option<Difference>, Error> {
        Ok(self.watching.drain(&mut self.ours, &mut self.theirs, &self.facts, &mut self.coverage).await)
    }

    /// The last look: nothing more may come, and the hash and all keys must be the same.
    async fn finish(&mut self) -> Result<Option<Difference>, Error> {
        if let Some(difference) = self.settle().await? {
            return Ok(Some(difference));
        }
        for line in ["KV.Range key: \"\\000\" range_end: \"\\000\"", "Maintenance.HashKV"] {
            let step = Step::parse(line).expect("the lines above are steps");
            if let Act::Call { method, request } = &step.act
                && self.kept_back(&step).is_none()
                && let Some(difference) = self.call(0, method, request, None).await?
            {
                return Ok(Some(difference));
            }
        }
        // What is sent too often comes now.
        tokio::time::sleep(QUIET).await;
        self.drain().await
    }

    /// The rule by which a step is not sent.
    fn kept_back(&self, step: &Step) -> Option<Rule> {
        if step.act == Act::Restart {
            return match self.facts.refused_change {
                true => Some(Rule::RefusedChange),
                false => self.facts.only_compacted_at_zero().then_some(Rule::CompactedAtZero),
            };
        }
        let request = step.request()?;
        if step.metadata == Some(Metadata::BadVersion)
            && self.theirs.resolve(request, self.facts.now, self.facts.compacted).encoded_len() > LARGE_BYTES
        {
            return Some(Rule::LargeOfBadVersion);
        }
        match step.name() {
            "KV.Compact" => {
                let request = self.theirs.resolve(request, self.facts.now, self.facts.compacted);
                let kept = self.facts.kept.contains(&wire::number(&request, &["revision"]));
                kept.then_some(Rule::PutBehindDeleteFromKey)
            }
            "Maintenance.HashKV" => {
                let request = self.theirs.resolve(request, self.facts.now, self.facts.compacted);
                let asked = wire::number(&request, &["revision"]);
                let at = if asked == 0 { self.facts.now } else { asked };
                if self.facts.kept.contains(&at) {
                    return Some(Rule::PutBehindDeleteFromKey);
                }
                self.facts.compactions.contains(&asked).then_some(Rule::HashAtCompaction)
            }
            "KV.Txn" => {
                let ops = Ops::of(&request.transcode_to().ok()?);
                match ops.orders_chosen {
                    true => Some(Rule::OrderOfChosenLeases),
                    false => (ops.delete && ops.ignore).then_some(Rule::IgnoreBehindDelete),
                }
            }
            "Maintenance.Alarm" => {
                let request: pb::AlarmRequest = request.transcode_to().ok()?;
                let its_own = Word::of(request.member_id.cast_signed()) == Some(Word::Member(0));
                let raises = request.action() == AlarmAction::Activate && request.alarm() == pb::AlarmType::Corrupt;
                ((its_own || request.member_id == 0) && raises).then_some(Rule::OwnCorruption)
            }
            "Cluster.MemberUpdate" => {
                let request: pb::MemberUpdateRequest = request.transcode_to().ok()?;
                let parse = |url: &String| url.starts_with("http://127.0.0.1:");
                (!request.peer_ur_ls.iter().all(parse)).then_some(Rule::UrlsThatDoNotParse)
            }
            "Watch.Watch" => {
                let Act::Watch { stream, .. } = step.act else { return None };
                self.watching.was_compacted(stream).then_some(Rule::AfterCompactionCanceled)
            }
            _ => None,
        }
    }

    /// Whether a range of the step sorts so many keys that the order of equal ones is left open.
    async fn sorts_many(&self, step: &Step) -> bool {
        let Some(request) = step.request() else { return false };
        let mut intervals = Vec::new();
        let puts = match step.name() {
            "KV.Range" => {
                if let Ok(range) = request.transcode_to() {
                    add_sorted(&range, &mut intervals);
                }
                0
            }
            "KV.Txn" => request.transcode_to().map_or(0, |txn| sorted_in(&txn, &mut intervals)),
            _ => 0,
        };
        let method = wire::method("KV.Range").expect("every etcd has it");
        for interval in intervals {
            let mut count = DynamicMessage::new(method.request.clone());
            // Cannot fail: both are the same message of the same .proto file.
            let _ = count.transcode_from(&interval);
            let count = self.theirs.resolve(&count, self.facts.now, self.facts.compacted);
            let outcome = self.theirs.call(0, method, &count, None).await;
            let keys = outcome.messages.first().map_or(0, |answer| wire::number(answer, &["count"]));
            if keys + puts > STABLE_KEYS_MAX {
                return true;
            }
        }
        false
    }

    async fn call(
        &mut self,
        client: usize,
        method: &'static Method,
        request: &DynamicMessage,
        metadata: Option<Metadata>,
    ) -> Result<Option<Difference>, Error> {
        if method.name == "Maintenance.HashKV" {
            self.theirs.compacted(self.facts.compactions_begun).await?;
        }
        let resolved = |side: &Session| side.resolve(request, self.facts.now, self.facts.compacted);
        let (to_ours, to_theirs) = (resolved(&self.ours), resolved(&self.theirs));
        if is_not_there(&method.name) {
            return Ok(not_there(&self.ours.call(client, method, &to_ours, None).await));
        }
        if self.facts.cluster {
            self.catch_up(client).await;
        }
        let (mut ours, mut theirs) = tokio::join!(
            self.ours.call(client, method, &to_ours, metadata),
            self.theirs.call(client, method, &to_theirs, metadata)
        );
        self.learn(method, request, &to_theirs, &ours, &theirs);
        let mut used = Used::new();
        self.facts.view(&self.theirs).outcome(&mut theirs, &mut used);
        self.facts.view(&self.ours).outcome(&mut ours, &mut Used::new());
        used.iter().for_each(|(rule, count)| *self.coverage.rules.entry(*rule).or_default() += count);
        if metadata == Some(Metadata::Cut) {
            for error in [&mut ours, &mut theirs].into_iter().filter_map(|outcome| outcome.error.as_mut()) {
                error.text.clear();
            }
            *self.coverage.rules.entry(Rule::TextOfUndecodable).or_default() += 1;
        }
        if ours != theirs {
            let what = "the answers differ".to_owned();
            return Ok(Some(Difference { what, quorate: show_outcome(&ours), etcd: show_outcome(&theirs) }));
        }
        self.coverage.answered(&ours);
        Ok(None)
    }

    /// What is local to a member may be behind what another one acknowledged: a linearizable read ends that.
    async fn catch_up(&self, client: usize) {
        let step = Step::parse("KV.Range key: \"a\" count_only: true").expect("the line is a step");
        if let Act::Call { method, request } = &step.act {
            self.ours.call(client, method, request, None).await;
        }
    }

    /// Keeps what later steps need of an answer.
    fn learn(
        &mut self,
        method: &Method,
        request: &DynamicMessage,
        sent: &DynamicMessage,
        ours: &Outcome,
        theirs: &Outcome,
    ) {
        let facts = &mut self.facts;
        if let Some(last) = theirs.messages.last() {
            let nested = wire::number(last, &["range_response", "header", "revision"]);
            facts.now = facts.now.max(wire::number(last, &["header", "revision"])).max(nested);
        }
        if let Some(error) = &theirs.error {
            facts.refused_change |=
                [Known::PeerURLExist, Known::TooManyLearners].contains(&Known::from_message(&error.text));
        }
        let (Some(our_answer), Some(answer), None) = (ours.messages.first(), theirs.messages.first(), &theirs.error)
        else {
            return;
        };
        match method.name.as_str() {
            "KV.Compact" => {
                facts.compacted = wire::number(sent, &["revision"]);
                facts.compactions.insert(facts.compacted);
                facts.compactions_begun += 1;
            }
            "KV.Txn" => {
                let Ok(typed) = request.transcode_to::<pb::TxnRequest>() else { return };
                let ops = Ops::of(&typed);
                if ops.put && ops.delete_from_key {
                    facts.kept.insert(wire::number(answer, &["header", "revision"]));
                }
                facts.hash_has_chosen |= ops.chosen_lease;
            }
            "KV.Put" => facts.hash_has_chosen |= is_chosen(wire::number(request, &["lease"])),
            "Lease.LeaseGrant" => {
                let mut id = wire::number(request, &["ID"]);
                if id == 0 {
                    self.theirs.names.leases.push(wire::number(answer, &["ID"]));
                    self.ours.names.leases.push(wire::number(our_answer, &["ID"]));
                    id = Word::Lease(self.ours.names.leases.len()).number();
                }
                facts.ttls.insert(id, wire::number(answer, &["TTL"]));
            }
            "Cluster.MemberAdd" => {
                self.theirs.names.members.push(wire::number(answer, &["member", "ID"]).cast_unsigned());
                self.ours.names.members.push(wire::number(our_answer, &["member", "ID"]).cast_unsigned());
            }
            _ => {}
        }
    }

    async fn watch(
        &mut self,
        stream: usize,
        request: &DynamicMessage,
        racing: bool,
        metadata: Option<Metadata>,
    ) -> Result<Option<Difference>, Error> {
        let sent = self.theirs.resolve(request, self.facts.now, self.facts.compacted);
        if sent.has_field_by_name("progress_request")
            && let Some(difference) = self.settle().await?
        {
            return Ok(Some(difference));
        }
        if self.facts.cluster {
            self.catch_up(stream % CLIENTS).await;
        }
        self.watching.send(stream, &sent, metadata, &mut self.ours, &mut self.theirs, &self.facts).await;
        if self.watching.is_behind(stream) {
            if racing {
                self.watching.race(stream);
            } else {
                return self.settle().await;
            }
        }
        Ok(None)
    }

    /// Asks both until the lease has expired.
    async fn gone(&mut self, request: &DynamicMessage) -> Result<Option<Difference>, Error> {
        let method = wire::method("Lease.LeaseTimeToLive").expect("every etcd has it");
        let started = Instant::now();
        for side in [&self.ours, &self.theirs] {
            let request = side.resolve(request, self.facts.now, self.facts.compacted);
            while started.elapsed() < crate::session::ANSWER_TIMEOUT {
                let outcome = side.call(0, method, &request, None).await;
                if outcome.messages.first().is_none_or(|life| wire::number(life, &["TTL"]) < 0) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.call(0, method, request, None).await
    }
}

fn not_there(outcome: &Outcome) -> Option<Difference> {
    let unimplemented = outcome.error.as_ref().is_some_and(|error| error.code == tonic::Code::Unimplemented);
    (!unimplemented).then(|| Difference {
        what: "this RPC is listed as not there (exceptions.rs)".to_owned(),
        quorate: show_outcome(outcome),
        etcd: "(not asked)".to_owned(),
    })
}

/// The most characters of an answer that a report shows.
const SHOWN_MAX: usize = 4_000;

fn show_outcome(outcome: &Outcome) -> String {
    let mut parts: Vec<String> = outcome.messages.iter().map(|message| shortened(show(message))).collect();
    if let Some(error) = &outcome.error {
        parts.push(format!("{:?}: {}", error.code, error.text));
    }
    parts.join(" | ")
}

/// A text cut to what a report shows.
pub fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// The boolean `name` of a message's sub-message.
pub fn flag(message: &DynamicMessage, name: &str) -> bool {
    matches!(message.get_field_by_name(name).as_deref(), Some(Value::Bool(true)))
}
