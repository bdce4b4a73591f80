//! Command-line flags as etcdctl takes them (pflag's rules): anywhere among the arguments, `--name value`,
//! `--name=value`, `-n value`, `-nvalue`, booleans without a value, and `--` that ends them. The same parser reads the
//! command line, the lines of a transaction and those of an interactive watch.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::go::{duration, number};

/// What a flag takes and what it is without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool(bool),
    Int,
    Text(&'static str),
    /// Comma-separated texts.
    List(&'static str),
    /// Whole seconds.
    Duration(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    pub help: &'static str,
}

/// A flag without a short form.
pub const fn flag(name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, short: None, kind, help }
}

/// Why an argument is no flag, in pflag's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unknown flag: --{0}")]
    Unknown(String),
    #[error("unknown shorthand flag: '{flag}' in -{cluster}")]
    UnknownShort { flag: char, cluster: String },
    #[error("flag needs an argument: {0}")]
    NoValue(String),
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("invalid argument {} for \"{flag}\" flag: {reason}", crate::go::quote::quote(.value.as_bytes()))]
    Value { value: String, flag: String, reason: String },
}

/// What the arguments of a command say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    values: BTreeMap<&'static str, String>,
    /// Arguments that are no flags.
    pub args: Vec<Bytes>,
    /// How many of `args` stand before `--`, if there is one.
    pub before_dashes: Option<usize>,
    /// `-h` or `--help` was given.
    pub help: bool,
}

/// Reads `args` with the flags that `known` lists; values are checked here, so that the getters cannot fail.
pub fn parse(known: &[&[Flag]], args: &[Bytes]) -> Result<Parsed, Error> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_ref() {
            b"--" => {
                parsed.before_dashes = Some(parsed.args.len());
                parsed.args.extend(rest.by_ref().cloned());
            }
            [b'-', b'-', name @ ..] => long(known, &text(name), &mut rest, &mut parsed)?,
            [b'-', cluster @ ..] if !cluster.is_empty() => short(known, &text(cluster), &mut rest, &mut parsed)?,
            _ => parsed.args.push(arg.clone()),
        }
    }
    Ok(parsed)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

type Rest<'a> = std::slice::Iter<'a, Bytes>;

fn long(known: &[&[Flag]], arg: &str, rest: &mut Rest<'_>, parsed: &mut Parsed) -> Result<(), Error> {
    let (name, value) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (arg, None),
    };
    if name.is_empty() || name.starts_with('-') {
        return Err(Error::Syntax(format!("--{arg}")));
    }
    let Some(flag) = all(known).find(|flag| flag.name == name) else {
        return if name == "help" { help(parsed) } else { Err(Error::Unknown(name.to_owned())) };
    };
    let value = match (value, flag.kind) {
        (Some(value), _) => value,
        (None, Kind::Bool(_)) => "true".to_owned(),
        (None, _) => match rest.next() {
            Some(value) => text(value),
            None => return Err(Error::NoValue(format!("--{name}"))),
        },
    };
    parsed.set(flag, value)
}

fn short(known: &[&[Flag]], cluster: &str, rest: &mut Rest<'_>, parsed: &mut Parsed) -> Result<(), Error> {
    for (position, letter) in cluster.char_indices() {
        let Some(flag) = all(known).find(|flag| flag.short == Some(letter)) else {
            return if letter == 'h' {
                help(parsed)
            } else {
                Err(Error::UnknownShort { flag: letter, cluster: cluster.to_owned() })
            };
        };
        let after = &cluster[position + letter.len_utf8()..];
        match (after.strip_prefix('='), flag.kind) {
            (Some(value), _) => return parsed.set(flag, value.to_owned()),
            (None, Kind::Bool(_)) => parsed.set(flag, "true".to_owned())?,
            (None, _) if !after.is_empty() => return parsed.set(flag, after.to_owned()),
            (None, _) => match rest.next() {
                Some(value) => return parsed.set(flag, text(value)),
                None => return Err(Error::NoValue(format!("'{letter}' in -{cluster}"))),
            },
        }
    }
    Ok(())
}

fn help(parsed: &mut Parsed) -> Result<(), Error> {
    parsed.help = true;
    Ok(())
}

fn all<'a>(known: &'a [&[Flag]]) -> impl Iterator<Item = &'a Flag> {
    known.iter().flat_map(|flags| flags.iter())
}

impl Parsed {
    /// Sets a flag from outside the command line, such as the environment.
    pub fn set(&mut self, flag: &Flag, value: String) -> Result<(), Error> {
        let reason = match flag.kind {
            Kind::Bool(_) => number::parse_bool(&value).err().map(|error| error.to_string()),
            Kind::Int => number::parse_int(&value, 0).err().map(|error| error.to_string()),
            Kind::Duration(_) => duration::parse(&value).err().map(|error| error.to_string()),
            Kind::Text(_) | Kind::List(_) => None,
        };
        if let Some(reason) = reason {
            let flag = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.name),
                None => format!("--{}", flag.name),
            };
            return Err(Error::Value { value, flag, reason });
        }
        self.values.insert(flag.name, value);
        Ok(())
    }

    /// Whether the flag was given.
    pub fn given(&self, flag: &Flag) -> bool {
        self.values.contains_key(flag.name)
    }

    pub fn bool(&self, flag: &Flag) -> bool {
        let default = matches!(flag.kind, Kind::Bool(true));
        self.values.get(flag.name).map_or(default, |value| number::parse_bool(value).unwrap_or(default))
    }

    /// The flag's number; 0 without one.
    pub fn int(&self, flag: &Flag) -> i64 {
        self.values.get(flag.name).and_then(|value| number::parse_int(value, 0).ok()).unwrap_or_default()
    }

    pub fn duration(&self, flag: &Flag) -> Duration {
        let default = match flag.kind {
            Kind::Duration(seconds) => Duration::from_secs(seconds),
            _ => Duration::ZERO,
        };
        self.values.get(flag.name).and_then(|value| duration::parse(value).ok()).unwrap_or(default)
    }

    pub fn text<'a>(&'a self, flag: &Flag) -> &'a str {
        let default = match flag.kind {
            Kind::Text(default) | Kind::List(default) => default,
            _ => "",
        };
        self.values.get(flag.name).map_or(default, String::as_str)
    }
}

/// The lines of a help text for `flags`, sorted by name, with `-h` among them when `help_of` names the command.
pub fn usage(flags: &[Flag], help_of: Option<&str>) -> String {
    let mut rows: Vec<(String, String, String)> = flags.iter().map(row).collect();
    if let Some(command) = help_of {
        rows.push(("help".into(), "  -h, --help".into(), format!("help for {command}")));
    }
    rows.sort();
    let width = rows.iter().map(|(_, left, _)| left.len()).max().unwrap_or_default();
    rows.into_iter().map(|(_, left, help)| format!("{left:width$}   {help}\n")).collect()
}

fn row(flag: &Flag) -> (String, String, String) {
    let (kind, default) = match flag.kind {
        Kind::Bool(default) => ("", default.then(|| "true".to_owned())),
        Kind::Int => (" int", None),
        Kind::Text(default) => (" string", (!default.is_empty()).then(|| format!("\"{default}\""))),
        Kind::List(default) => (" strings", Some(format!("[{default}]"))),
        Kind::Duration(seconds) => (" duration", Some(format!("{seconds}s"))),
    };
    let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    let default = default.map_or(String::new(), |default| format!(" (default {default})"));
    (flag.name.to_owned(), format!("  {short}--{}{kind}", flag.name), format!("{}{default}", flag.help))
}

#[cfg(test)]
mod tests;
