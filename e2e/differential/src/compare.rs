//! Makes the answers of two servers comparable, by the rules of `exceptions` and no others.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use crate::exceptions::Rule;
use crate::names::Word;
use crate::session::{Names, Outcome};
use crate::wire;

/// How often each rule changed an answer or kept a request back.
pub type Used = BTreeMap<Rule, u64>;

/// Rounds of seconds and of the way between two questions, in the time that a lease has left.
const SLACK_SECONDS: i64 = 2;

/// What of a sequence so far matters for the answers of one side.
pub struct View<'a> {
    pub names: &'a Names,
    /// One of the sides has three members.
    pub cluster: bool,
    /// Since the servers started.
    pub elapsed: Duration,
    /// A key was put with a lease whose id a server chose.
    pub hash_has_chosen: bool,
    /// The TTL of each lease that was granted, in seconds.
    pub ttls: &'a BTreeMap<i64, i64>,
}

impl View<'_> {
    /// Normalises all messages of an answer.
    pub fn outcome(&self, outcome: &mut Outcome, used: &mut Used) {
        outcome.messages.iter_mut().for_each(|message| self.message(message, used));
    }

    pub fn message(&self, message: &mut DynamicMessage, used: &mut Used) {
        let inner: Vec<_> = message.fields_mut().map(|(_, value)| value).collect();
        for value in inner {
            self.value(value, used);
        }
        match message.descriptor().name() {
            "ResponseHeader" if self.cluster => self.header(message, used),
            "AlarmResponse" => alarms(message, used),
            "StatusResponse" => self.status(message, used),
            "LeaseLeasesResponse" => self.leases(message, used),
            "LeaseTimeToLiveResponse" => self.time_to_live(message, used),
            "HashKVResponse" => self.hash(message, used),
            _ => {}
        }
    }

    fn value(&self, value: &mut Value, used: &mut Used) {
        match value {
            Value::List(values) => values.iter_mut().for_each(|value| self.value(value, used)),
            Value::Message(message) => self.message(message, used),
            Value::I64(number) => {
                if let Some(n) = self.names.leases.iter().position(|lease| lease == number) {
                    *number = Word::Lease(n + 1).number();
                    *used.entry(Rule::ChosenIds).or_default() += 1;
                }
            }
            Value::U64(number) => {
                if let Some(n) = self.names.members.iter().position(|member| member == number) {
                    *number = Word::Member(n + 1).number().cast_unsigned();
                    *used.entry(Rule::ChosenIds).or_default() += 1;
                }
            }
            Value::String(text) => {
                if let Some(n) = self.names.client_urls.iter().position(|url| url == text) {
                    *text = format!("(client URL {n})");
                    *used.entry(Rule::ClientUrls).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn header(&self, header: &mut DynamicMessage, used: &mut Used) {
        let known = self.names.founders.contains(&wire::number(header, &["member_id"]).cast_unsigned());
        if known && wire::number(header, &["cluster_id"]).cast_unsigned() == self.names.cluster {
            for field in ["member_id", "cluster_id", "raft_term"] {
                header.clear_field_by_name(field);
            }
            *used.entry(Rule::WhoAnswers).or_default() += 1;
        }
    }

    fn status(&self, status: &mut DynamicMessage, used: &mut Used) {
        for field in ["dbSize", "dbSizeInUse"] {
            if wire::number(status, &[field]) > 0 {
                status.set_field_by_name(field, Value::I64(1));
            }
        }
        for field in ["raftIndex", "raftAppliedIndex"] {
            if wire::number(status, &[field]) > 0 {
                status.set_field_by_name(field, Value::U64(1));
            }
        }
        *used.entry(Rule::StatusNumbers).or_default() += 1;
        if status.has_field_by_name("storageVersion") {
            status.clear_field_by_name("storageVersion");
            *used.entry(Rule::StorageVersion).or_default() += 1;
        }
        if let Some(Value::List(errors)) = status.get_field_by_name_mut("errors") {
            for error in errors.iter_mut() {
                let Value::String(text) = error else { continue };
                *text = text.replace("  ", " ");
                *used.entry(Rule::SpacesInText).or_default() += 1;
            }
            let text = |error: &Value| error.as_str().map(str::to_owned);
            if !errors.is_sorted_by_key(text) {
                errors.sort_by_key(text);
                *used.entry(Rule::AlarmsOrder).or_default() += 1;
            }
        }
    }

    fn time_to_live(&self, life: &mut DynamicMessage, used: &mut Used) {
        let (left, granted) = (wire::number(life, &["TTL"]), wire::number(life, &["grantedTTL"]));
        let passed_max = i64::try_from(self.elapsed.as_secs()).unwrap_or(i64::MAX).saturating_add(SLACK_SECONDS);
        if left > 0 && left < granted && granted - left <= passed_max {
            life.set_field_by_name("TTL", Value::I64(granted));
            *used.entry(Rule::TimeLeft).or_default() += 1;
        }
        if let Some(Value::List(keys)) = life.get_field_by_name_mut("keys")
            && keys.len() > 1
        {
            keys.sort_by(|a, b| a.as_bytes().cmp(&b.as_bytes()));
            *used.entry(Rule::LeaseKeysOrder).or_default() += 1;
        }
    }

    /// Invariant: only leases of one TTL change places; a list that does not rise in TTLs is left as it is.
    fn leases(&self, leases: &mut DynamicMessage, used: &mut Used) {
        let Some(Value::List(leases)) = leases.get_field_by_name_mut("leases") else { return };
        let id = |lease: &Value| lease.as_message().map_or(0, |lease| wire::number(lease, &["ID"]));
        let ttl = |lease: &Value| self.ttls.get(&id(lease)).copied();
        if leases.is_sorted_by_key(ttl) && !leases.is_sorted_by_key(|lease| (ttl(lease), id(lease))) {
            leases.sort_by_key(|lease| (ttl(lease), id(lease)));
            *used.entry(Rule::LeasesOrder).or_default() += 1;
        }
    }

    fn hash(&self, hash: &mut DynamicMessage, used: &mut Used) {
        if self.hash_has_chosen && hash.has_field_by_name("hash") {
            hash.clear_field_by_name("hash");
            *used.entry(Rule::HashOfChosenLease).or_default() += 1;
        }
    }
}

fn alarms(response: &mut DynamicMessage, used: &mut Used) {
    let Some(Value::List(alarms)) = response.get_field_by_name_mut("alarms") else { return };
    let number = |alarm: &Value, field| alarm.as_message().map_or(0, |alarm| wire::number(alarm, &[field]));
    let key = |alarm: &Value| (number(alarm, "alarm"), number(alarm, "memberID"));
    if !alarms.is_sorted_by_key(key) {
        alarms.sort_by_key(key);
        *used.entry(Rule::AlarmsOrder).or_default() += 1;
    }
}

/// What came over a watch stream, watcher by watcher: watchers of a stream are not ordered among each other.
pub type ByWatcher = BTreeMap<i64, Vec<DynamicMessage>>;

/// Orders normalised messages by watcher.
pub fn by_watcher(messages: &[DynamicMessage]) -> ByWatcher {
    let mut watchers = ByWatcher::new();
    for message in messages {
        watchers.entry(wire::number(message, &["watch_id"])).or_default().push(message.clone());
    }
    watchers
}

/// Bytes of wanted events after which a message of ours ends at the next revision: `CHUNK_BYTES_MAX` of the store's watch sessions. The
/// events of all watchers of a stream that are behind count together.
const LONG_BYTES_MIN: usize = 1 << 20;

/// The last message of a watcher: its place among the joined ones, and how many bytes of the whole stream came until it ended, and
/// until the one before it did.
struct Last {
    at: usize,
    end: usize,
    end_before: usize,
}

/// Joins a message of ours that ended for its size with the one that goes on behind it, as etcd would have sent them.
pub fn join_long(messages: Vec<DynamicMessage>, used: &mut Used) -> Vec<DynamicMessage> {
    let mut joined: Vec<DynamicMessage> = Vec::new();
    let mut lasts: BTreeMap<i64, Last> = BTreeMap::new();
    let mut sent = 0;
    for message in messages {
        let watcher = wire::number(&message, &["watch_id"]);
        let last = lasts.get(&watcher);
        let end = sent + message.encoded_len();
        let long = last.filter(|last| sent - last.end_before >= LONG_BYTES_MIN && goes_on(&joined[last.at], &message));
        let at = match long {
            Some(last) => {
                let all = [events(&joined[last.at]), events(&message)].concat();
                joined[last.at].set_field_by_name("events", Value::List(all));
                *used.entry(Rule::LongMessages).or_default() += 1;
                last.at
            }
            None => {
                joined.push(message);
                joined.len() - 1
            }
        };
        let end_before = last.map_or(0, |last| last.end);
        lasts.insert(watcher, Last { at, end, end_before });
        sent = end;
    }
    joined
}

fn events(message: &DynamicMessage) -> Vec<Value> {
    match message.get_field_by_name("events").as_deref() {
        Some(Value::List(events)) => events.clone(),
        _ => Vec::new(),
    }
}

/// Whether two messages with events differ in nothing but these.
fn goes_on(before: &DynamicMessage, message: &DynamicMessage) -> bool {
    let without_events = |message: &DynamicMessage| {
        let mut rest = message.clone();
        rest.clear_field_by_name("events");
        rest
    };
    !events(before).is_empty() && !events(message).is_empty() && without_events(before) == without_events(message)
}

/// As [`by_watcher`], for watchers that were behind when something was written: where one message ends and the next one begins
/// depends on when each was sent, and so do the headers. Events, their order and everything else remain.
pub fn by_watcher_behind(messages: &[DynamicMessage]) -> ByWatcher {
    let mut watchers = ByWatcher::new();
    for message in messages {
        let list = watchers.entry(wire::number(message, &["watch_id"])).or_default();
        match message.get_field_by_name("events").as_deref() {
            Some(Value::List(events)) if !events.is_empty() => {
                list.extend(events.iter().filter_map(|event| event.as_message().cloned()));
            }
            _ => {
                let mut message = message.clone();
                message.clear_field_by_name("header");
                list.push(message);
            }
        }
    }
    watchers
}

/// What must hold of every message with events, whoever sent it: revisions rise, none is split over messages without a
/// fragment, and the header is not behind the events.
///
/// # Errors
/// Which message breaks which rule.
pub fn check_watch_messages(messages: &[DynamicMessage]) -> Result<(), String> {
    let mut last: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
    for message in messages {
        let watcher = wire::number(message, &["watch_id"]);
        let fragment = wire::number(message, &["fragment"]) != 0;
        let Some(Value::List(events)) = message.get_field_by_name("events").map(std::borrow::Cow::into_owned) else {
            continue;
        };
        let revisions: Vec<i64> = events
            .iter()
            .filter_map(|event| event.as_message().map(|event| wire::number(event, &["kv", "mod_revision"])))
            .collect();
        let (Some(first), Some(end)) = (revisions.first(), revisions.last()) else { continue };
        let (before, open) = last.get(&watcher).copied().unwrap_or((0, false));
        if !revisions.is_sorted() || *first < before || (*first == before && !open) {
            return Err(format!("watcher {watcher} gets revisions {revisions:?} after {before}"));
        }
        if wire::number(message, &["header", "revision"]) < *end {
            return Err(format!("watcher {watcher} gets revision {end} below a header of an older one"));
        }
        last.insert(watcher, (*end, fragment));
    }
    Ok(())
}
