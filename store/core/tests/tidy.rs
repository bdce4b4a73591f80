//! Style rules of the whole repository that no linter knows, run as tests. A failure lists every place with its line.
//! They read the sources as text: a rule that needs more than that belongs to clippy (clippy.toml).
#![allow(clippy::unwrap_used)] // clippy's allow-unwrap-in-tests does not reach files in tests/

use std::fs;
use std::path::{Path, PathBuf};

/// Above this a file holds more than one concept; most have 100 to 300 lines.
const FILE_LINES_MAX: usize = 600;

/// A file of the repository, with its path relative to the top.
struct Source {
    path: String,
    text: String,
    test_only: bool,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of the file is test code: below `tests/` or `benches/`, or a module that exists only under `cfg(test)`.
    fn is_test(&self) -> bool {
        self.test_only || ["/tests/", "/benches/"].iter().any(|folder| self.path.contains(folder))
    }

    /// Where the modules stand that this file declares under `cfg(test)`: each as a file and as a folder.
    fn modules_for_tests(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let home = match file.strip_suffix(".rs") {
            Some("mod" | "lib" | "main") | None => folder.to_owned(),
            Some(stem) => format!("{folder}/{stem}"),
        };
        let lines: Vec<&str> = self.text.lines().collect();
        let declared = lines.windows(2).filter(|window| window[0].trim() == "#[cfg(test)]").filter_map(|window| {
            let words = window[1].trim().strip_suffix(';')?;
            words.rsplit_once("mod ").map(|(_, name)| name)
        });
        declared.flat_map(|name| [format!("{home}/{name}.rs"), format!("{home}/{name}/")]).collect()
    }

    /// The lines, numbered from 1, up to the module of unit tests at the foot.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() { 0 } else { self.unit_tests_start() };
        self.numbered().take_while(move |(number, _)| *number < end)
    }

    /// What is compiled into programs, without the lines that are comments.
    fn code(&self) -> String {
        let lines = self.production().filter(|(_, line)| !line.trim_start().starts_with("//"));
        lines.flat_map(|(_, line)| [line, "\n"]).collect()
    }

    /// The lines, numbered from 1, of the tests in this file.
    fn tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let start = if self.is_test() { 1 } else { self.unit_tests_start() };
        self.numbered().skip_while(move |(number, _)| *number < start)
    }

    /// The line of the first `#[cfg(test)]` that stands before a module with its body; one past the end without any.
    fn unit_tests_start(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let found = lines.windows(3).position(|window| {
            window[0].starts_with("#[cfg(test)]")
                && window[1..].iter().any(|line| line.starts_with("mod ") && line.ends_with('{'))
        });
        found.map_or(lines.len() + 1, |position| position + 1)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every text file that people write; what is generated or fetched is left out.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let top = top();
    walk(&top, &top, &mut found);
    let test_modules: Vec<String> =
        found.iter().filter(|source| source.is_rust()).flat_map(Source::modules_for_tests).collect();
    for source in &mut found {
        source.test_only = test_modules.iter().any(|module| source.path.starts_with(module));
    }
    assert!(found.len() > 20, "only {} files found below {}: the walk is broken", found.len(), top.display());
    found
}

fn walk(top: &Path, folder: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), ".git" | "target" | ".cache" | "__pycache__") {
                walk(top, &path, found);
            }
        } else if wanted(&name) {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
            found.push(Source { path, text, test_only: false });
        }
    }
}

fn wanted(name: &str) -> bool {
    let by_extension = ["rs", "proto", "sh", "toml", "yaml", "md", "py", "go"];
    matches!(name, "Makefile" | "Dockerfile" | "run" | "cargo" | "in-copy")
        || Path::new(name).extension().is_some_and(|extension| by_extension.iter().any(|known| extension == *known))
}

/// Fails with all offences at once, one a line.
fn check(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}\n", offences.join("\n  "));
}

/// `path:line: text` of each line that one of the words stands in.
fn places<'a>(source: &'a Source, lines: impl Iterator<Item = (usize, &'a str)>, words: &[&str]) -> Vec<String> {
    lines
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
        .collect()
}

#[test]
fn every_rust_file_opens_by_saying_what_it_is_for() {
    let sources = sources();
    let silent = sources.into_iter().filter(|source| source.is_rust() && !source.text.starts_with("//! "));
    check("a file's first line is `//!` and says what the file is for", silent.map(|source| source.path).collect());
}

#[test]
fn no_rust_file_is_longer_than_its_limit() {
    let long = sources().into_iter().filter(Source::is_rust).filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    });
    check(&format!("a file has at most {FILE_LINES_MAX} lines: split it by concept"), long.collect());
}

#[test]
fn nothing_is_left_for_later() {
    // Written in halves, so that this file does not find itself.
    let notes = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
    ];
    let left = sources().iter().flat_map(|source| places(source, source.numbered(), &notes)).collect();
    check("finish it or leave it out; a plan belongs in the tracker", left);
}

#[test]
fn production_code_does_not_unwrap() {
    let words = [concat!(".unwrap", "()"), concat!("clippy::unwrap", "_used")];
    let sources = sources();
    let rust = sources.iter().filter(|source| source.is_rust());
    let unwraps = rust.flat_map(|source| places(source, source.production(), &words)).collect();
    check("return an error, or `expect` with the reason why it cannot fail", unwraps);
}

#[test]
fn tests_do_not_sleep_and_are_not_ignored() {
    let words = [concat!("thread::", "sleep"), concat!("#[ig", "nore")];
    let sources = sources();
    let rust = sources.iter().filter(|source| source.is_rust());
    // A test that another one starts as a process of its own is not skipped; it only does not start by itself.
    let started = "= \"started by ";
    let offences = rust.flat_map(|source| places(source, source.tests(), &words));
    let offences = offences.filter(|place| !place.contains(started)).collect();
    check(
        "await the event, advance the clock or step the state machine; long tests have a count in the environment",
        offences,
    );
}

#[test]
fn tests_are_named_as_behaviour() {
    let word = [concat!("fn te", "st_")];
    let sources = sources();
    let rust = sources.iter().filter(|source| source.is_rust());
    let offences = rust.flat_map(|source| places(source, source.tests(), &word)).collect();
    check("a test's name says what holds, without the prefix", offences);
}

/// What core may depend on: none of these does I/O, tells the time, draws or waits by itself. (raft draws; core/replica
/// overwrites what it drew.)
const CORE_DEPENDENCIES: [&str; 8] = ["bytes", "crc32c", "prost", "quorate-api", "raft", "sha1", "slog", "thiserror"];

/// What core may use of the standard library. Files, sockets, threads, processes, the environment, clocks and maps in hash
/// order are left out; who adds a line says with it that what it names gives the same values on every member.
const CORE_STD: [&str; 14] = [
    "cell",
    "cmp",
    "collections::BTreeMap",
    "collections::BTreeSet",
    "collections::VecDeque",
    "fmt",
    // The form in which raft wants a storage's errors; its kinds and texts, not what makes them.
    "io::Error",
    "mem",
    "ops",
    "str",
    "sync::Arc",
    "sync::OnceLock",
    "time::Duration",
    "vec",
];

#[test]
fn core_depends_on_nothing_that_does_io_or_draws_or_waits() {
    let manifest = fs::read_to_string(top().join("store/core/Cargo.toml")).unwrap();
    let named: Vec<String> = section(&manifest, "[dependencies]").iter().map(|line| dependency_name(line)).collect();
    assert!(named.iter().any(|name| name == "raft"), "the manifest of core was not understood: {named:?}");
    let impure = named.into_iter().filter(|name| !CORE_DEPENDENCIES.contains(&name.as_str())).collect();
    check("core's manifest shows that it is pure", impure);
}

#[test]
fn core_uses_no_clock_chance_thread_file_or_socket() {
    let sources = sources();
    let core: Vec<&Source> =
        sources.iter().filter(|source| source.path.starts_with("store/core/src/") && source.is_rust()).collect();
    assert!(
        core.iter().any(|source| !std_paths(&source.code()).is_empty()),
        "no use of std was found: the test is blind"
    );
    let impure = core.iter().flat_map(|source| {
        let offences = impurities(&source.code());
        offences.into_iter().map(|offence| format!("{}: {offence}", source.path)).collect::<Vec<_>>()
    });
    check("core takes values and gives values: time, chance and I/O are its callers'", impure.collect());
}

#[test]
fn every_way_to_a_clock_chance_thread_file_or_socket_is_seen() {
    for (code, expected) in [
        ("let now = std::time::Instant::now();", "std::time::Instant::now"),
        ("use std::time::{Duration, SystemTime};", "std::time::SystemTime"),
        ("use std::time::*;", "std::time::*"),
        ("use std::{\n    cmp::Ordering,\n    thread,\n};", "std::thread"),
        ("::std::thread::spawn(work)", "std::thread::spawn"),
        ("use std::{collections::{BTreeMap, HashMap}, fmt};", "std::collections::HashMap"),
        ("use std::fs;", "std::fs"),
        ("use std::net::TcpStream as Wire;", "std::net::TcpStream"),
        ("std::io::stdin()", "std::io::stdin"),
        ("use std::sync::{Arc, mpsc};", "std::sync::mpsc"),
        ("use std as own;", "use std as own"),
        ("use std::{self as own};", "std::self"),
        ("extern crate std as own;", "extern crate std as own"),
        ("let roll: u8 = rand::random();", "rand::"),
        ("tokio::spawn(work)", "tokio::"),
    ] {
        assert_eq!(impurities(code), [expected], "{code}");
    }
    let pure = "use std::{cmp::Ordering, sync::Arc, time::Duration};\nlet operand::Kind(x) = std::mem::take(&mut y);";
    assert_eq!(impurities(pure), Vec::<String>::new());
}

/// What of a text core must not name: paths below `std` that [`CORE_STD`] does not list, `std` under another name, and
/// crates that features, which are unified over the workspace, could bring into reach.
fn impurities(code: &str) -> Vec<String> {
    let allowed = |path: &String| {
        CORE_STD
            .iter()
            .any(|known| path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
    };
    let paths = std_paths(code).into_iter().filter(|path| !allowed(path)).map(|path| format!("std::{path}"));
    let renamed = code
        .lines()
        .map(|line| line.trim().trim_end_matches(';'))
        .filter(|line| ["use std as ", "use ::std as ", "extern crate "].iter().any(|start| line.starts_with(start)));
    let crates = ["tokio::", "tonic::", "rand::", "rand_chacha::", "getrandom::", "futures::", "nix::", "libc::"];
    let crates = crates.into_iter().filter(|name| words(code, name).next().is_some());
    paths.chain(renamed.map(str::to_owned)).chain(crates.map(str::to_owned)).collect()
}

/// Where a word stands that does not go on to the left, such as `rand::` in `operand::`.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).map(|(start, _)| start).filter(move |start| !code[..*start].ends_with(inside))
}

/// The paths below `std` in a text, those in braces one by one: `std::{a::B, c}` is `a::B` and `c`.
fn std_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for start in words(code, "std::") {
        expand("", &code[start + "std::".len()..], &mut paths);
    }
    paths
}

/// Reads one path, or those in one pair of braces, and returns the text behind.
fn expand<'a>(before: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            match rest.chars().next() {
                None => return rest,
                Some('}') => return &rest[1..],
                Some(_) => rest = expand(before, rest, paths),
            }
        }
    }
    let end = text.find(|character: char| !(character.is_alphanumeric() || "_*".contains(character)));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let path = if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") };
    match rest.strip_prefix("::") {
        // `::<T>` names nothing more.
        Some(below) if below.starts_with(|first: char| first.is_alphabetic() || "_*{".contains(first)) => {
            expand(&path, below, paths)
        }
        _ => {
            paths.push(path);
            // ` as NAME`, up to the next one in these braces.
            let end = rest.find([',', '}', ';']).unwrap_or(rest.len());
            &rest[end.max(usize::from(name.is_empty())).min(rest.len())..]
        }
    }
}

#[test]
fn members_take_versions_from_the_workspace() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| source.path.ends_with("/Cargo.toml")) {
        if section(&source.text, "[lints]") != ["workspace = true"] {
            offences.push(format!("{}: [lints] workspace = true is missing", source.path));
        }
        for title in ["[dependencies]", "[dev-dependencies]", "[build-dependencies]"] {
            let own = section(&source.text, title).into_iter().filter(|line| !line.contains("workspace = true"));
            offences.extend(own.map(|line| format!("{}: {line}", source.path)));
        }
    }
    check("versions have one place, so that every selection of packages builds a dependency in the same way", offences);
}

#[test]
fn only_raft_brings_protobuf_2_and_the_old_rand() {
    let lock = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let packages = packages(&lock);
    assert!(
        packages.iter().any(|package| package.is("protobuf 2")),
        "raft no longer brings protobuf 2: drop this test and its lines in deny.toml"
    );
    let exceptions = [
        ("protobuf 2", &["raft", "raft-proto", "protobuf-build", "protobuf-codegen"][..]),
        ("rand 0.8", &["raft", "fail"][..]),
    ];
    for (banned, allowed) in exceptions {
        let users = packages.iter().filter(|package| package.uses(banned, &packages)).map(|user| user.name.clone());
        check(
            &format!("{banned} has an exception in deny.toml for these crates only: {allowed:?}"),
            users.filter(|user| !allowed.contains(&user.as_str())).collect(),
        );
    }
}

/// A `[[package]]` of Cargo.lock.
struct Package {
    name: String,
    version: String,
    /// As written there: the name, followed by the version where there are several.
    dependencies: Vec<String>,
}

impl Package {
    /// Whether this is the crate of `name version-prefix`.
    fn is(&self, wanted: &str) -> bool {
        let (name, version) = wanted.split_once(' ').unwrap();
        self.name == name && self.version.starts_with(&format!("{version}."))
    }

    fn uses(&self, wanted: &str, all: &[Package]) -> bool {
        all.iter().filter(|package| package.is(wanted)).any(|package| {
            let exact = format!("{} {}", package.name, package.version);
            self.dependencies.iter().any(|dependency| *dependency == package.name || *dependency == exact)
        })
    }
}

fn packages(lock: &str) -> Vec<Package> {
    let field = |block: &str, name: &str| {
        let prefix = format!("{name} = \"");
        block.lines().find_map(|line| line.strip_prefix(&prefix)).map(|rest| rest.trim_end_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .skip(1)
        .map(|block| Package {
            name: field(block, "name").unwrap(),
            version: field(block, "version").unwrap(),
            dependencies: block
                .lines()
                .filter_map(|line| line.strip_prefix(" \"").map(|rest| rest.trim_end_matches("\",").to_owned()))
                .collect(),
        })
        .collect()
}

/// The lines of one table of a manifest that say something.
fn section(manifest: &str, title: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| *line != title)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn dependency_name(line: &str) -> String {
    line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned()
}
