//! Makes a sequence of steps, a function of its seed alone: revisions and ids are words (`now-2`, `lease1`), so that a step means
//! the same when others before it are taken away.
//!
//! Few keys and few values, so that requests meet; every option at a rate at which it is reached within a minute; about one
//! request in ten invalid.

mod kv;
mod lease;
mod maintenance;
mod watch;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::run::Setting;
use crate::step::{CLIENTS, METADATA, Metadata, Step};

/// What kind of sequence a seed makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All requests, few keys.
    Mixed,
    /// Low limits: large requests and transactions are refused, and large watch messages fragmented.
    Limits,
    /// Many keys, for pages and streams of them.
    Many,
    /// Quorate has three members, each client speaks to another one.
    Three,
}

/// Draws for one sequence.
pub struct Draw {
    rng: ChaCha8Rng,
    kind: Kind,
}

/// A sequence: how its servers are started, and what they are asked.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub setting: Setting,
    pub steps: Vec<Step>,
}

/// The sequence of a seed, with about so many steps.
pub fn sequence(seed: u64, steps: usize) -> Sequence {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let kind = match rng.random_range(0..10) {
        0 => Kind::Limits,
        1 | 2 => Kind::Many,
        3 => Kind::Three,
        _ => Kind::Mixed,
    };
    let flags = match kind {
        Kind::Limits => vec!["--max-request-bytes=10000".to_owned(), "--max-txn-ops=4".to_owned()],
        _ => Vec::new(),
    };
    let setting = Setting { flags, members: if kind == Kind::Three { 3 } else { 1 }, ..Setting::default() };
    let mut draw = Draw { rng, kind };
    let mut lines = draw.opening();
    while lines.len() < steps {
        draw.next(&mut lines);
    }
    Sequence { setting, steps: lines.iter().map(|line| parsed(line)).collect() }
}

fn parsed(line: &str) -> Step {
    Step::parse(line).unwrap_or_else(|error| panic!("the generator wrote what is no step: {error}"))
}

impl Draw {
    fn percent(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.random_range(0..limit)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.rng).expect("nobody draws from an empty list").clone()
    }

    /// The first steps: a few keys, and many where the kind wants them.
    fn opening(&mut self) -> Vec<String> {
        let count = if self.kind == Kind::Many { 60 } else { 5 };
        (0..count)
            .map(|n| if n < 5 { self.put() } else { format!("KV.Put key: \"k{n:03}\" value: \"fill:{}\"", n % 4 * 90) })
            .collect()
    }

    /// Adds one step, or a few that belong together.
    fn next(&mut self, lines: &mut Vec<String>) {
        let from = lines.len();
        match self.below(1000) {
            0..230 => lines.push(self.range()),
            230..260 => lines.push(self.range_stream()),
            260..470 => lines.push(self.put()),
            470..560 => lines.push(self.delete()),
            560..710 => lines.push(self.txn()),
            710..735 => lines.push(self.compact()),
            735..865 => self.watch(lines),
            865..935 => self.lease(lines),
            935..985 => self.maintenance(lines),
            985..990 => (0..6).for_each(|_| lines.push(self.not_there())),
            990..995 if self.kind == Kind::Limits => self.fragments(lines),
            995..997 if self.kind != Kind::Three || self.percent(30) => lines.push("restart".to_owned()),
            _ => lines.push("Maintenance.HashKV".to_owned()),
        }
        for line in &mut lines[from..] {
            self.dress(line);
        }
    }

    /// Says which client sends a step, and with which metadata.
    fn dress(&mut self, line: &mut String) {
        let sent = !line.starts_with("gone") && line != "restart" && !line.starts_with("end/");
        if sent && self.percent(2) {
            let (name, metadata) = self.one(&METADATA);
            // A stream is not damaged: it would end, and with it what was to be compared.
            let damages = matches!(metadata, Metadata::Cut | Metadata::UnknownField);
            if !(damages && line.contains("Watch.Watch")) {
                *line = format!("%{name} {line}");
            }
        }
        let client = self.below(CLIENTS as u64);
        if client != 0 {
            *line = format!("@{client} {line}");
        }
    }

    /// A revision that exists, existed or does not exist yet.
    fn revision(&mut self) -> String {
        match self.below(20) {
            0..9 => format!("now-{}", self.below(12)),
            9..12 => "now".to_owned(),
            12 => "now+1".to_owned(),
            13 => "compacted-1".to_owned(),
            14 | 15 => "compacted".to_owned(),
            16 => "compacted+1".to_owned(),
            17 => "1".to_owned(),
            18 => "-1".to_owned(),
            _ => "1000000".to_owned(),
        }
    }

    /// A key as it stands in quotes.
    fn key(&mut self) -> String {
        const KEYS: [&str; 12] = ["a", "aa", "ab", "b", "ba", "c", "d", "\\000", "a\\000", "\\377", "\\377\\377", "e"];
        if self.kind == Kind::Many && self.percent(60) {
            return format!("k{:03}", self.below(60));
        }
        if self.percent(1) { String::new() } else { self.one(&KEYS).to_owned() }
    }

    /// The fields `key` and `range_end`.
    fn interval(&mut self, point_percent: u32) -> String {
        let key = self.key();
        if self.percent(point_percent) {
            return format!("key: \"{key}\"");
        }
        match self.below(10) {
            0..5 => format!("key: \"{key}\" range_end: \"{}\"", self.key()),
            5 => format!("key: \"{key}\" range_end: \"\\000\""),
            6 => "key: \"\\000\" range_end: \"\\000\"".to_owned(),
            7 => "key: \"a\" range_end: \"b\"".to_owned(),
            8 => "key: \"a\" range_end: \"\\377\"".to_owned(),
            _ => format!("key: \"{key}\" range_end: \"{key}\\377\""),
        }
    }

    fn lease_id(&mut self) -> String {
        match self.below(20) {
            0..15 => (101 + self.below(3)).to_string(),
            15 => "lease1".to_owned(),
            16 => "lease2".to_owned(),
            17 => "-3".to_owned(),
            18 => "999".to_owned(),
            _ => "0".to_owned(),
        }
    }
}

/// A seed that nobody chose.
pub fn fresh_seed() -> u64 {
    rand::rng().next_u64() % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_steps_again_and_another_one_others() {
        let lines = |seed| sequence(seed, 300).steps.iter().map(Step::to_string).collect::<Vec<_>>();
        for seed in 0..20 {
            assert_eq!(lines(seed), lines(seed));
            assert_ne!(lines(seed), lines(seed + 1));
            assert!(lines(seed).len() >= 300);
        }
    }
}
