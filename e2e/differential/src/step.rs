//! One step of a sequence, as a line of text and as a value:
//!
//! ```text
//! KV.Put key: "a" value: "fill:6000"           a call; "fill:N" stands for N bytes
//! @1 %hasleader KV.Range key: "a" revision: now-2   from client 1, with metadata
//! Watch.Watch/3 create_request { key: "a" }    a message on watch stream 3, which it opens
//! ~ Watch.Watch/3 create_request { … }         the same, not waiting until the watcher has caught up
//! end/3                                        watch stream 3 is dropped
//! gone ID: 5                                   waits until the lease has expired
//! restart                                      both servers are stopped and started again
//! ```

use std::fmt;

use bytes::Bytes;
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DynamicMessage, Value};

use crate::names;
use crate::wire::{self, Method};

/// Clients of a server; each has a connection of its own.
pub const CLIENTS: usize = 3;
/// What a value or key starts with that stands for so many bytes.
const FILL: &[u8] = b"fill:";
/// The most bytes that a fill makes.
const FILL_MAX: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub client: usize,
    pub metadata: Option<Metadata>,
    pub act: Act,
}

/// What is unusual about how a request is sent: metadata that servers look at, or bytes behind the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// `hasleader: true`
    HasLeader,
    /// `client-api-version: 3.7`
    Version,
    /// A `client-api-version` that is not UTF-8.
    BadVersion,
    /// A `token` that nobody issued.
    Token,
    /// The message and a field that nobody knows.
    UnknownField,
    /// The message and the beginning of a field, so that it cannot be decoded.
    Cut,
}

pub const METADATA: [(&str, Metadata); 6] = [
    ("hasleader", Metadata::HasLeader),
    ("version", Metadata::Version),
    ("badversion", Metadata::BadVersion),
    ("token", Metadata::Token),
    ("unknownfield", Metadata::UnknownField),
    ("cut", Metadata::Cut),
];

#[derive(Debug, Clone)]
pub enum Act {
    /// Any RPC but Watch; a stream of requests gets this one.
    Call {
        method: &'static Method,
        request: DynamicMessage,
    },
    /// A message on a watch stream. `racing`: the next step does not wait until a watcher from the past has caught up.
    Watch {
        stream: usize,
        request: DynamicMessage,
        racing: bool,
    },
    End {
        stream: usize,
    },
    /// Waits until the lease of a LeaseTimeToLiveRequest is gone.
    Gone {
        request: DynamicMessage,
    },
    Restart,
}

impl PartialEq for Act {
    fn eq(&self, other: &Act) -> bool {
        match (self, other) {
            (Act::Call { method: a, request: x }, Act::Call { method: b, request: y }) => a.name == b.name && x == y,
            (Act::Watch { stream: a, request: x, racing: p }, Act::Watch { stream: b, request: y, racing: q }) => {
                a == b && x == y && p == q
            }
            (Act::End { stream: a }, Act::End { stream: b }) => a == b,
            (Act::Gone { request: x }, Act::Gone { request: y }) => x == y,
            (Act::Restart, Act::Restart) => true,
            _ => false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{word:?} is no step: write an RPC as KV.Range, Watch.Watch/N, end/N, gone or restart (in: {line})")]
    Unknown { word: String, line: String },
    #[error("{what} in {line:?} is not a number below {limit}")]
    Number { what: &'static str, limit: usize, line: String },
    #[error("{reason} (in: {line})")]
    Message { reason: String, line: String },
}

/// Watch streams of a sequence.
pub const STREAMS: usize = 6;

impl Step {
    /// Reads a line.
    ///
    /// # Errors
    /// What of it is not a step.
    pub fn parse(line: &str) -> Result<Step, Error> {
        let (mut client, mut metadata, mut racing) = (0, None, false);
        let mut rest = line.trim();
        loop {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if let Some(number) = word.strip_prefix('@') {
                client = index(number, "the client", CLIENTS, line)?;
            } else if let Some(name) = word.strip_prefix('%') {
                let found = METADATA.iter().find(|(known, _)| *known == name);
                let unknown = || Error::Unknown { word: word.to_owned(), line: line.to_owned() };
                metadata = Some(found.ok_or_else(unknown)?.1);
            } else if word == "~" {
                racing = true;
            } else {
                let act = parse_act(word, after, racing, line)?;
                return Ok(Step { client, metadata, act });
            }
            rest = after.trim_start();
        }
    }

    /// The request's message, where the step has one.
    pub fn request(&self) -> Option<&DynamicMessage> {
        match &self.act {
            Act::Call { request, .. } | Act::Watch { request, .. } | Act::Gone { request } => Some(request),
            Act::End { .. } | Act::Restart => None,
        }
    }

    pub fn request_mut(&mut self) -> Option<&mut DynamicMessage> {
        match &mut self.act {
            Act::Call { request, .. } | Act::Watch { request, .. } | Act::Gone { request } => Some(request),
            Act::End { .. } | Act::Restart => None,
        }
    }

    /// The RPC that the step is about, or what else it does.
    pub fn name(&self) -> &str {
        match &self.act {
            Act::Call { method, .. } => &method.name,
            Act::Watch { .. } => "Watch.Watch",
            Act::End { .. } => "end",
            Act::Gone { .. } => "gone",
            Act::Restart => "restart",
        }
    }
}

fn index(text: &str, what: &'static str, limit: usize, line: &str) -> Result<usize, Error> {
    let number = text.parse().ok().filter(|number| *number < limit);
    number.ok_or_else(|| Error::Number { what, limit, line: line.to_owned() })
}

fn parse_act(word: &str, body: &str, racing: bool, line: &str) -> Result<Act, Error> {
    let message = |descriptor| {
        DynamicMessage::parse_text_format(descriptor, &names::to_numbers(body))
            .map_err(|error| Error::Message { reason: error.to_string(), line: line.to_owned() })
    };
    let unknown = || Error::Unknown { word: word.to_owned(), line: line.to_owned() };
    let known = |name| wire::method(name).ok_or_else(unknown);
    if let Some(stream) = word.strip_prefix("Watch.Watch/") {
        let stream = index(stream, "the stream", STREAMS, line)?;
        return Ok(Act::Watch { stream, request: message(known("Watch.Watch")?.request.clone())?, racing });
    }
    if let Some(stream) = word.strip_prefix("end/") {
        return Ok(Act::End { stream: index(stream, "the stream", STREAMS, line)? });
    }
    match word {
        "gone" => Ok(Act::Gone { request: message(known("Lease.LeaseTimeToLive")?.request.clone())? }),
        "restart" => Ok(Act::Restart),
        "Watch.Watch" => Err(unknown()),
        name => {
            let method = known(name)?;
            Ok(Act::Call { method, request: message(method.request.clone())? })
        }
    }
}

/// A message as text on one line, with words for the numbers that they stand for.
pub fn show(message: &DynamicMessage) -> String {
    names::to_words(&message.to_text_format_with_options(&FormatOptions::new().skip_unknown_fields(false)))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.client != 0 {
            write!(f, "@{} ", self.client)?;
        }
        if let Some((name, _)) = METADATA.iter().find(|(_, known)| Some(*known) == self.metadata) {
            write!(f, "%{name} ")?;
        }
        match &self.act {
            Act::Watch { stream, racing, .. } => write!(f, "{}Watch.Watch/{stream}", if *racing { "~ " } else { "" })?,
            Act::End { stream } => write!(f, "end/{stream}")?,
            _ => f.write_str(self.name())?,
        }
        match self.request().map(show) {
            Some(text) if !text.is_empty() => write!(f, " {text}"),
            _ => Ok(()),
        }
    }
}

/// Puts bytes in the place of every `fill:N`.
pub fn fill(message: &mut DynamicMessage) {
    wire::visit(message, &mut |_, value| {
        if let Value::Bytes(bytes) = value
            && let Some(count) = bytes.strip_prefix(FILL)
            && let Some(count) = std::str::from_utf8(count).ok().and_then(|count| count.parse::<usize>().ok())
        {
            *bytes = Bytes::from(vec![b'x'; count.min(FILL_MAX)]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_what_it_writes() {
        for line in [
            "KV.Put key:\"a\" value:\"fill:6000\"",
            "@1 %hasleader KV.Range key:\"\\000\" revision:now-2 sort_order:DESCEND sort_target:VALUE",
            "Watch.Watch/3 create_request{key:\"a\" filters:[NOPUT,NODELETE] start_revision:compacted+1}",
            "@2 ~ Watch.Watch/0 create_request{key:\"a\" start_revision:1}",
            "KV.Txn compare{target:VALUE key:\"a\" value:\"1\"} success{request_txn{failure{}}}",
            "end/2",
            "gone ID:5",
            "restart",
            "Lease.LeaseLeases",
        ] {
            let step = Step::parse(line).unwrap();
            assert_eq!(Step::parse(&step.to_string()).unwrap(), step, "{step}");
        }
    }

    #[test]
    fn what_is_no_step_is_refused_with_its_line() {
        for line in ["", "KV.Rang key:\"a\"", "KV.Range kez:\"a\"", "@9 KV.Range", "%nothing KV.Range", "end/77"] {
            assert!(Step::parse(line).is_err(), "{line}");
        }
    }
}
