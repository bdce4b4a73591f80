//! What was reached: every RPC, every field and enum value of the requests, every field of the answers, and every error.
//!
//! What there is to reach comes from the descriptors and from the table of errors, so that something new is missed until it is
//! generated; what cannot be reached is listed here with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value};
use quorate_api::Error as Known;

use crate::compare::Used;
use crate::exceptions::{Rule, is_not_there};
use crate::session::Outcome;
use crate::step::{Act, METADATA, Step};
use crate::wire;

/// RPCs, fields and enum values that nobody reaches here, and why.
pub const NOT_REACHED: [(&str, &str); 12] = [
    ("Health.Watch", "it never ends while the server lives"),
    ("LeaseGrantResponse.error", "no server fills it"),
    ("StatusResponse.isLearner", "no member here is a learner"),
    ("DowngradeInfo.", "Downgrade is not there"),
    ("StatusResponse.storageVersion", "it is left out of the comparison"),
    ("DefragmentResponse.", "etcd sends no header"),
    ("MoveLeaderResponse.", "etcd sends no header"),
    ("MemberPromoteResponse.", "a learner that never starts is never ready"),
    ("AuthenticateResponse.", "users and roles are not there"),
    ("HealthCheckResponse.status=NOT_SERVING", "a server that does not serve answers nothing"),
    ("HealthCheckResponse.status=SERVICE_UNKNOWN", "that is for Watch alone"),
    ("AuthStatusResponse.enabled", "users and roles are not there"),
];

/// Errors of the table that are reached here; the others need users, a lost leader, a full disk or a member that is away, and
/// have tests of their own.
pub const ERRORS: [Known; 25] = [
    Known::EmptyKey,
    Known::KeyNotFound,
    Known::ValueProvided,
    Known::LeaseProvided,
    Known::TooManyOps,
    Known::DuplicateKey,
    Known::InvalidClientAPIVersion,
    Known::InvalidSortOption,
    Known::Compacted,
    Known::FutureRev,
    Known::NoSpace,
    Known::LeaseNotFound,
    Known::LeaseExist,
    Known::LeaseTTLTooLarge,
    Known::MemberNotEnoughStarted,
    Known::PeerURLExist,
    Known::MemberBadURLs,
    Known::MemberNotFound,
    Known::MemberNotLearner,
    Known::LearnerNotReady,
    Known::TooManyLearners,
    Known::RequestTooLarge,
    Known::Corrupt,
    Known::BadLeaderTransferee,
    Known::AuthNotEnabled,
];

type Counts = BTreeMap<String, u64>;

#[derive(Debug, Default, Clone)]
pub struct Coverage {
    pub calls: Counts,
    pub options: Counts,
    pub answers: Counts,
    pub errors: Counts,
    pub rules: Used,
}

impl Coverage {
    /// Counts a step that was sent.
    pub fn sent(&mut self, step: &Step) {
        add(&mut self.calls, step.name());
        if let Some((name, _)) = METADATA.iter().find(|(_, known)| Some(*known) == step.metadata) {
            add(&mut self.options, &format!("metadata.{name}"));
        }
        match &step.act {
            Act::Call { request, .. } | Act::Watch { request, .. } => fields(request, &mut self.options),
            Act::End { .. } | Act::Gone { .. } | Act::Restart => {}
        }
    }

    /// Counts an answer on which both servers agree.
    pub fn answered(&mut self, outcome: &Outcome) {
        outcome.messages.iter().for_each(|message| fields(message, &mut self.answers));
        if let Some(error) = &outcome.error {
            add(&mut self.errors, &format!("{:?}: {}", error.code, error.text));
        }
    }

    pub fn message(&mut self, message: &DynamicMessage) {
        fields(message, &mut self.answers);
    }

    pub fn merge(&mut self, other: &Coverage) {
        let Coverage { calls, options, answers, errors, rules } = other;
        for (into, from) in [
            (&mut self.calls, calls),
            (&mut self.options, options),
            (&mut self.answers, answers),
            (&mut self.errors, errors),
        ] {
            from.iter().for_each(|(name, count)| *into.entry(name.clone()).or_default() += count);
        }
        rules.iter().for_each(|(rule, count)| *self.rules.entry(*rule).or_default() += count);
    }

    /// What there is to reach and was not.
    pub fn missing(&self) -> Vec<String> {
        let listed = |name: &String| NOT_REACHED.iter().any(|(known, _)| name.starts_with(known));
        let (mut calls, mut options, mut answers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for method in wire::methods() {
            calls.insert(method.name.clone());
            if !is_not_there(&method.name) {
                universe(&method.request, &mut options);
                universe(&method.response, &mut answers);
            }
        }
        options.extend(METADATA.iter().map(|(name, _)| format!("metadata.{name}")));
        let absent = |wanted: BTreeSet<String>, counts: &Counts| -> Vec<String> {
            wanted.into_iter().filter(|name| !listed(name) && !counts.contains_key(name)).collect()
        };
        let mut missing = absent(calls, &self.calls);
        missing.extend(absent(options, &self.options));
        missing.extend(absent(answers, &self.answers));
        for known in &ERRORS {
            if !self.errors.keys().any(|error| error.ends_with(known.message())) {
                missing.push(format!("the error {known:?} ({known})"));
            }
        }
        missing
    }

    /// The table: what was reached, how often.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let sections = [
            ("RPCs", &self.calls),
            ("Options", &self.options),
            ("Fields of answers", &self.answers),
            ("Errors", &self.errors),
        ];
        for (title, counts) in sections {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{title}");
            counts.iter().for_each(|(name, count)| {
                let _ = writeln!(text, "  {name:<88} {count:>9}");
            });
        }
        let _ = writeln!(text, "Left out of the comparison (docs/compatibility.md)");
        for rule in Rule::ALL {
            let count = self.rules.get(&rule).copied().unwrap_or(0);
            let _ = writeln!(text, "  {:<88} {count:>9}", rule.text().0);
        }
        text
    }
}

fn add(counts: &mut Counts, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

/// Counts the fields that are set, with the names of enum values.
fn fields(message: &DynamicMessage, counts: &mut Counts) {
    let owner = message.descriptor();
    for (field, value) in message.fields() {
        let name = format!("{}.{}", owner.name(), field.name());
        let values = value.as_list().unwrap_or(std::slice::from_ref(value));
        for value in values {
            match (value, field.kind()) {
                (Value::Message(inner), _) => {
                    add(counts, &name);
                    fields(inner, counts);
                }
                (Value::EnumNumber(number), Kind::Enum(kind)) => {
                    let value = kind.get_value(*number);
                    add(counts, &format!("{name}={}", value.as_ref().map_or("unknown", |value| value.name())));
                }
                _ => add(counts, &name),
            }
        }
    }
}

/// All that [`fields`] can count of a kind of message.
fn universe(message: &MessageDescriptor, names: &mut BTreeSet<String>) {
    for field in message.fields() {
        let name = format!("{}.{}", message.name(), field.name());
        match field.kind() {
            Kind::Enum(kind) => {
                // A field that is not repeated and has its default is not on the wire.
                let values = kind.values().filter(|value| field.is_list() || value.number() != 0);
                names.extend(values.map(|value| format!("{name}={}", value.name())));
            }
            Kind::Message(inner) => {
                if names.insert(name) && !field.is_map() {
                    universe(&inner, names);
                }
            }
            _ => {
                names.insert(name);
            }
        }
    }
}
