//! Values of flags, read as Go's `flag` package reads them.

use std::time::Duration;

use super::url::{self, Url};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    /// Inclusive upper limit.
    Uint(u64),
    /// `300ms`, `1h30m`; never negative for us.
    Duration,
    Text,
    /// Texts separated by commas.
    List,
    Urls,
    /// One of these.
    Choice(&'static [&'static str]),
    /// `Gate=true,Gate2=false`, of these.
    Gates(&'static [(&'static str, bool)]),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Duration(Duration),
    Text(String),
    List(Vec<String>),
    Urls(Vec<Url>),
    /// Gates in the order given.
    Gates(Vec<(String, bool)>),
}

/// Why a value is refused; the texts of the first two are Go's and etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("parse error")]
    Parse,
    #[error("value out of range")]
    Range,
    #[error("invalid value, use one of {}", .0.join(", "))]
    Choice(&'static [&'static str]),
    #[error("unrecognized feature gate: {0}")]
    UnknownGate(String),
    #[error("{0}")]
    Url(#[from] url::Error),
}

impl Kind {
    /// Reads a value of this kind.
    ///
    /// # Errors
    /// What is wrong with it, without naming the flag.
    pub fn parse(self, text: &str) -> Result<Value, Error> {
        Ok(match self {
            Kind::Bool => Value::Bool(parse_bool(text).ok_or(Error::Parse)?),
            Kind::Int => Value::Int(text.parse().map_err(|_| Error::Parse)?),
            Kind::Uint(max) => {
                let value: u64 = text.parse().map_err(|_| Error::Parse)?;
                if value > max {
                    return Err(Error::Range);
                }
                Value::Uint(value)
            }
            Kind::Duration => Value::Duration(parse_duration(text).ok_or(Error::Parse)?),
            Kind::Text => Value::Text(text.to_owned()),
            Kind::List => Value::List(split(text)),
            Kind::Urls => Value::Urls(url::parse_list(text)?),
            Kind::Choice(choices) => match choices.contains(&text) {
                true => Value::Text(text.to_owned()),
                false => return Err(Error::Choice(choices)),
            },
            Kind::Gates(known) => Value::Gates(parse_gates(text, known)?),
        })
    }

    /// How the value is written in help texts; empty for booleans, which stand bare.
    pub fn placeholder(self) -> &'static str {
        match self {
            Kind::Bool => "",
            Kind::Int | Kind::Uint(_) => "N",
            Kind::Duration => "DURATION",
            Kind::Text => "TEXT",
            Kind::List => "LIST",
            Kind::Urls => "URLS",
            Kind::Choice(_) => "CHOICE",
            Kind::Gates(_) => "GATES",
        }
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn parse_gates(text: &str, known: &[(&str, bool)]) -> Result<Vec<(String, bool)>, Error> {
    let mut gates = Vec::new();
    for part in split(text) {
        let (name, value) = part.split_once('=').ok_or(Error::Parse)?;
        if !known.iter().any(|(known, _)| *known == name) {
            return Err(Error::UnknownGate(name.to_owned()));
        }
        gates.push((name.to_owned(), parse_bool(value).ok_or(Error::Parse)?));
    }
    Ok(gates)
}

/// Go's `time.ParseDuration` without a sign: a sequence of decimal numbers with units, or a bare `0`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        nanos += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(())?;
    Duration::try_from_secs_f64(nanos / 1e9).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", Some(0)),
            ("300ms", Some(300)),
            ("1h2m3s", Some(3_723_000)),
            ("1.5s", Some(1500)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1d", None),
        ] {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn an_unknown_gate_is_refused_by_name() {
        let kind = Kind::Gates(&[("A", true)]);
        assert_eq!(kind.parse("A=false"), Ok(Value::Gates(vec![("A".to_owned(), false)])));
        assert_eq!(kind.parse("B=true"), Err(Error::UnknownGate("B".to_owned())));
        assert_eq!(kind.parse("A"), Err(Error::Parse));
    }
}
