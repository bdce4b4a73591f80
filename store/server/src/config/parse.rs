//! From command line and environment to one value per flag, by the rules of Go's `flag` package and of etcd.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Warning;
use super::error::Error;
use super::table::{self, Flag, GATES, LEGACY, Standing};
use super::url::Url;
use super::value::{Kind, Value};

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    Serve(Values),
    Help,
    Version,
    FlagsDoc,
}

#[derive(Debug, Clone, PartialEq)]
struct Set {
    value: Value,
    /// The variable that set it; `None` for the command line.
    variable: Option<String>,
}

/// The values that were set; what was not has its default.
#[derive(Debug)]
pub struct Values {
    set: BTreeMap<&'static str, Set>,
    pub warnings: Vec<Warning>,
}

/// Reads arguments (without the program's name) and environment.
///
/// # Errors
/// The first thing that is wrong; arguments come before the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Asked, Error> {
    let mut values = Values { set: BTreeMap::new(), warnings: Vec::new() };
    match values.read_arguments(arguments)? {
        Some(asked) => return Ok(asked),
        None => values.read_environment(environment)?,
    }
    values.check_standing()?;
    Ok(Asked::Serve(values))
}

impl Values {
    fn read_arguments(&mut self, arguments: impl IntoIterator<Item = String>) -> Result<Option<Asked>, Error> {
        let mut arguments = arguments.into_iter();
        let mut version = false;
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.strip_prefix('-') else { return Err(Error::Positional(argument)) };
            let name = name.strip_prefix('-').unwrap_or(name);
            if name.is_empty() || name.starts_with(['-', '=']) {
                return Err(Error::Syntax(argument));
            }
            let (name, given) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            match name {
                "h" | "help" => return Ok(Some(Asked::Help)),
                "print-flags-doc" => return Ok(Some(Asked::FlagsDoc)),
                "version" => version = given.as_deref() != Some("false"),
                _ if LEGACY.contains(&name) => {
                    self.warnings.push(Warning::Inert { name: name.to_owned(), reason: "etcd ignores it, too" });
                }
                _ => {
                    let flag = table::find(name).ok_or_else(|| unknown(name))?;
                    let text = match given {
                        Some(text) => text,
                        None if flag.kind == Kind::Bool => "true".to_owned(),
                        None => arguments.next().ok_or(Error::NeedsArgument(flag.name))?,
                    };
                    self.set.insert(flag.name, Set { value: read(flag, &text)?, variable: None });
                }
            }
        }
        Ok(version.then_some(Asked::Version))
    }

    fn read_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) -> Result<(), Error> {
        let mut environment: BTreeMap<String, String> = environment
            .into_iter()
            .filter(|(name, _)| name.starts_with("ETCD_") || name.starts_with("QUORATE_"))
            .collect();
        for flag in table::all() {
            for variable in flag.variables() {
                let Some(text) = environment.remove(&variable).filter(|text| !text.is_empty()) else { continue };
                match self.set.get(flag.name) {
                    Some(Set { variable: None, .. }) => return Err(Error::Shadowed { variable }),
                    Some(Set { variable: Some(other), .. }) => {
                        return Err(Error::VariablesConflict(other.clone(), variable));
                    }
                    None => {}
                }
                let value = flag.kind.parse(&text).map_err(|source| Error::InvalidVariable {
                    variable: variable.clone(),
                    text,
                    source,
                })?;
                self.set.insert(flag.name, Set { value, variable: Some(variable) });
            }
        }
        environment.remove("ETCD_UNSUPPORTED_ARCH");
        self.warnings.extend(environment.into_keys().map(|variable| Warning::UnknownVariable { variable }));
        Ok(())
    }

    /// Refuses what is not built and warns of what does nothing.
    fn check_standing(&mut self) -> Result<(), Error> {
        for (name, set) in &self.set {
            let flag = flag(name);
            match flag.standing {
                Standing::Etcd | Standing::Ours => {}
                Standing::Replaced(by) => {
                    self.warnings.push(Warning::Replaced { name: flag.name.to_owned(), by });
                }
                Standing::Inert(reason) if set.value != default(flag) => {
                    self.warnings.push(Warning::Inert { name: flag.name.to_owned(), reason });
                }
                Standing::NotBuilt if flag.kind == Kind::Gates(GATES) => check_gates(&set.value)?,
                Standing::NotBuilt if set.value != default(flag) => {
                    return Err(Error::NotBuilt { name: flag.name, default: flag.default });
                }
                Standing::Inert(_) | Standing::NotBuilt => {}
            }
        }
        Ok(())
    }

    /// Whether command line or environment set the flag.
    pub fn is_set(&self, name: &'static str) -> bool {
        self.set.contains_key(flag(name).name)
    }

    /// The variables that were used, for the log.
    pub fn variables(&self) -> Vec<String> {
        self.set.values().filter_map(|set| set.variable.clone()).collect()
    }

    fn get(&self, name: &'static str) -> Value {
        self.set.get(name).map_or_else(|| default(flag(name)), |set| set.value.clone())
    }

    /// Whether the flag has another value than its default.
    pub fn is_given(&self, name: &'static str) -> bool {
        self.get(name) != default(flag(name))
    }

    pub fn bool(&self, name: &'static str) -> bool {
        let Value::Bool(value) = self.get(name) else { unreachable!("{name} is a Bool in the table") };
        value
    }

    pub fn int(&self, name: &'static str) -> i64 {
        let Value::Int(value) = self.get(name) else { unreachable!("{name} is an Int in the table") };
        value
    }

    pub fn uint(&self, name: &'static str) -> u64 {
        let Value::Uint(value) = self.get(name) else { unreachable!("{name} is a Uint in the table") };
        value
    }

    /// A number that the table limits to 32 bits.
    pub fn uint32(&self, name: &'static str) -> u32 {
        u32::try_from(self.uint(name)).expect("the table limits it to 32 bits")
    }

    pub fn duration(&self, name: &'static str) -> Duration {
        let Value::Duration(value) = self.get(name) else { unreachable!("{name} is a Duration in the table") };
        value
    }

    pub fn text(&self, name: &'static str) -> String {
        let Value::Text(value) = self.get(name) else { unreachable!("{name} is a Text or Choice in the table") };
        value
    }

    /// `None` when empty.
    pub fn path(&self, name: &'static str) -> Option<std::path::PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(Into::into)
    }

    pub fn list(&self, name: &'static str) -> Vec<String> {
        let Value::List(value) = self.get(name) else { unreachable!("{name} is a List in the table") };
        value
    }

    pub fn urls(&self, name: &'static str) -> Vec<Url> {
        let Value::Urls(value) = self.get(name) else { unreachable!("{name} is Urls in the table") };
        value
    }
}

fn flag(name: &str) -> &'static Flag {
    table::find(name).unwrap_or_else(|| unreachable!("--{name} is not in the table"))
}

fn default(flag: &Flag) -> Value {
    flag.kind.parse(flag.default).expect("the table's defaults are of their kinds, a test reads them all")
}

fn read(flag: &'static Flag, text: &str) -> Result<Value, Error> {
    flag.kind.parse(text).map_err(|source| match flag.kind {
        Kind::Bool => Error::InvalidBool { name: flag.name, text: text.to_owned() },
        _ => Error::Invalid { name: flag.name, text: text.to_owned(), source },
    })
}

fn check_gates(value: &Value) -> Result<(), Error> {
    let Value::Gates(gates) = value else { unreachable!("only gates come here") };
    for (name, on) in gates {
        let default = GATES.iter().find(|(gate, _)| gate == name).is_some_and(|(_, default)| *default);
        if *on != default {
            return Err(Error::GateNotBuilt { name: name.clone(), default });
        }
    }
    Ok(())
}

/// Names the flag that was probably meant.
fn unknown(name: &str) -> Error {
    let plain = name.strip_prefix("experimental-").unwrap_or(name);
    let hint = match table::all().map(|flag| (distance(plain, flag.name), flag.name)).min() {
        Some((distance, meant)) if distance <= plain.len() / 4 => format!(" (did you mean --{meant}?)"),
        _ => String::new(),
    };
    Error::Unknown { name: name.to_owned(), hint }
}

/// Levenshtein's distance of two short texts.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
