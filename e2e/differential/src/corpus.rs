//! Sequences as files of text: past findings, replayed before anything new is generated.
//!
//! ```text
//! # What was wrong, and since when it is right.
//! flags: --max-txn-ops=4
//! members: 3
//! KV.Put key: "a" value: "1"
//! ```
//!
//! Lines that begin with `#` are for people; `flags:` (for both servers) and `members:` (of Quorate, 1 or 3) may be missing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::generate::Sequence;
use crate::run::Setting;
use crate::step::Step;

/// Where the findings stand in the sources.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Every sequence of a folder, in the order of their names.
///
/// # Errors
/// A file that cannot be read, or a line that is no step.
pub fn load(folder: &Path) -> Result<Vec<(PathBuf, Sequence)>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths.into_iter().map(|path| Ok((path.clone(), read(&path)?))).collect()
}

/// The sequence in a file.
///
/// # Errors
/// As [`load`].
pub fn read(path: &Path) -> Result<Sequence, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let sequence = parse(&text).map_err(|(line, source)| Error::Corpus { path: path.to_owned(), line, source })?;
    if sequence.steps.is_empty() { Err(Error::Empty { path: path.to_owned() }) } else { Ok(sequence) }
}

fn parse(text: &str) -> Result<Sequence, (usize, crate::step::Error)> {
    let mut sequence = Sequence { setting: Setting::default(), steps: Vec::new() };
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(flags) = line.strip_prefix("flags:") {
            sequence.setting.flags = flags.split_whitespace().map(str::to_owned).collect();
        } else if line == "members: 3" {
            sequence.setting.members = 3;
        } else if line != "members: 1" {
            sequence.steps.push(Step::parse(line).map_err(|error| (number, error))?);
        }
    }
    Ok(sequence)
}

/// A sequence as the text of a file.
pub fn write(sequence: &Sequence, comment: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for line in comment.lines() {
        let _ = writeln!(text, "# {line}");
    }
    if !sequence.setting.flags.is_empty() {
        let _ = writeln!(text, "flags: {}", sequence.setting.flags.join(" "));
    }
    if sequence.setting.members != 1 {
        let _ = writeln!(text, "members: {}", sequence.setting.members);
    }
    for step in &sequence.steps {
        let _ = writeln!(text, "{step}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;

    #[test]
    fn a_generated_sequence_survives_being_written_and_read() {
        for seed in 0..40 {
            let sequence = generate::sequence(seed, 200);
            let again = parse(&write(&sequence, "a comment\nof two lines")).unwrap();
            assert_eq!(again.setting, sequence.setting, "seed {seed}");
            let lines = |sequence: &Sequence| sequence.steps.iter().map(Step::to_string).collect::<Vec<_>>();
            assert_eq!(lines(&again), lines(&sequence), "seed {seed}");
        }
    }

    #[test]
    fn every_finding_is_readable_and_says_what_it_was() {
        for (path, sequence) in load(&folder()).unwrap() {
            assert!(std::fs::read_to_string(&path).unwrap().starts_with("# "), "{}", path.display());
            assert!(sequence.steps.len() < 60, "{} is not small", path.display());
        }
    }
}
