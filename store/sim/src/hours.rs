//! The log of simulated hours: one line for each run of a suite, and the totals of it for `docs/correctness.md`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::suite::{Suite, Summary};

const BEGIN: &str = "<!-- simulated hours: written by `quorate-sim hours` -->";
const END: &str = "<!-- end of simulated hours -->";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{operation} of {} failed: {source}", .path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("line {line} of {} is not one of the log of hours: {text:?}; remove it", .path.display())]
    Line { path: PathBuf, line: usize, text: String },
    #[error("{} has no line {BEGIN:?} with {END:?} below it: add both where the hours shall stand", .path.display())]
    NoBlock { path: PathBuf },
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation, path: path.to_owned(), source }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Day of the run in UTC, as 2026-01-31.
    pub day: String,
    pub commit: String,
    pub first_seed: u64,
    pub seeds: u64,
    pub members: u64,
    pub fault_seconds: u64,
    pub simulated_hours: f64,
    pub violations: u64,
}

impl Line {
    pub fn of(suite: &Suite, summary: &Summary, commit: &str) -> Line {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Line {
            day: day(since_epoch.as_secs() / 86_400),
            commit: commit.to_owned(),
            first_seed: suite.first_seed,
            seeds: summary.seeds,
            members: suite.options.members,
            fault_seconds: suite.options.fault_micros / 1_000_000,
            simulated_hours: summary.simulated_micros as f64 / 3.6e9,
            violations: summary.failures.len() as u64,
        }
    }

    fn encode(&self) -> String {
        let Line { day, commit, first_seed, seeds, members, fault_seconds, simulated_hours, violations } = self;
        format!(
            "{day}\t{commit}\t{first_seed}\t{seeds}\t{members}\t{fault_seconds}\t{simulated_hours:.4}\t{violations}\n"
        )
    }

    fn decode(text: &str) -> Option<Line> {
        let fields: Vec<&str> = text.split('\t').collect();
        let [day, commit, first_seed, seeds, members, fault_seconds, hours, violations] = fields.try_into().ok()?;
        Some(Line {
            day: day.to_owned(),
            commit: commit.to_owned(),
            first_seed: first_seed.parse().ok()?,
            seeds: seeds.parse().ok()?,
            members: members.parse().ok()?,
            fault_seconds: fault_seconds.parse().ok()?,
            simulated_hours: hours.parse().ok()?,
            violations: violations.parse().ok()?,
        })
    }
}

/// The date of a day counted from 1970-01-01, as 2026-01-31.
fn day(days: u64) -> String {
    let at = i64::try_from(days.saturating_mul(86_400)).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%d").to_string()
}

/// Adds a line, creating the log when there is none.
///
/// # Errors
/// The file cannot be written.
pub fn append(path: &Path, line: &Line) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io_error("creation", parent))?;
    }
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.and_then(|mut file| file.write_all(line.encode().as_bytes())).map_err(io_error("writing", path))
}

/// All lines, oldest first.
///
/// # Errors
/// The file cannot be read, or a line is not one of the log.
pub fn read(path: &Path) -> Result<Vec<Line>, Error> {
    let text = std::fs::read_to_string(path).map_err(io_error("reading", path))?;
    let decode = |(number, text): (usize, &str)| {
        let bad = || Error::Line { path: path.to_owned(), line: number + 1, text: text.to_owned() };
        Line::decode(text).ok_or_else(bad)
    };
    text.lines().enumerate().map(decode).collect()
}

/// All runs at one commit.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    commit: String,
    day: String,
    seeds: u64,
    hours: f64,
    violations: u64,
}

impl Row {
    /// A row as `table` writes it; `None` for any other line, the one of all commits included.
    fn read(line: &str) -> Option<Row> {
        let cells: Vec<&str> = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [commit, day, seeds, hours, violations] = cells.try_into().ok()?;
        Some(Row {
            commit: Some(commit).filter(|commit| !commit.starts_with("all "))?.to_owned(),
            day: day.to_owned(),
            seeds: seeds.parse().ok()?,
            hours: hours.parse().ok()?,
            violations: violations.parse().ok()?,
        })
    }
}

/// The sums of a log, the newest commit first.
fn rows(lines: &[Line]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for Line { day, commit, seeds, simulated_hours, violations, .. } in lines.iter().rev() {
        let at = rows.iter().position(|row| row.commit == *commit).unwrap_or_else(|| {
            rows.push(Row { commit: commit.clone(), day: day.clone(), seeds: 0, hours: 0.0, violations: 0 });
            rows.len() - 1
        });
        rows[at].seeds += seeds;
        rows[at].hours += simulated_hours;
        rows[at].violations += violations;
    }
    rows
}

/// The totals as a table in Markdown: all commits together, then each, the newest first.
fn table(rows: &[Row]) -> String {
    let mut table =
        "| Commit | Last run | Seeds | Simulated hours | Failed seeds |\n|---|---|---|---|---|\n".to_owned();
    let seeds: u64 = rows.iter().map(|row| row.seeds).sum();
    let hours: f64 = rows.iter().map(|row| row.hours).sum();
    let violations: u64 = rows.iter().map(|row| row.violations).sum();
    // Writing to a string does not fail.
    let _ = writeln!(table, "| all {} | | {seeds} | {hours:.1} | {violations} |", rows.len());
    for Row { commit, day, seeds, hours, violations } in rows {
        let _ = writeln!(table, "| {commit} | {day} | {seeds} | {hours:.1} | {violations} |");
    }
    table
}

/// The totals of a log, for a person.
pub fn totals(lines: &[Line]) -> String {
    table(&rows(lines))
}

/// Writes the totals into the marked block of a page. Rows of commits that the log does not know, of runs on another machine, stay last.
///
/// # Errors
/// The page has no such block, or cannot be read or written.
pub fn write_page(page: &Path, lines: &[Line]) -> Result<(), Error> {
    let text = std::fs::read_to_string(page).map_err(io_error("reading", page))?;
    let block = text.find(BEGIN).zip(text.find(END)).filter(|(begin, end)| begin < end);
    let (begin, end) = block.ok_or_else(|| Error::NoBlock { path: page.to_owned() })?;
    let mut rows = rows(lines);
    let elsewhere = text[begin..end].lines().filter_map(Row::read);
    let kept: Vec<Row> = elsewhere.filter(|row| rows.iter().all(|known| known.commit != row.commit)).collect();
    rows.extend(kept);
    let table = table(&rows);
    let text = format!("{}\n\n{table}\n{}", &text[..begin + BEGIN.len()], &text[end..]);
    std::fs::write(page, text).map_err(io_error("writing", page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(commit: &str, seeds: u64) -> Line {
        let (day, commit) = ("2026-02-28".to_owned(), commit.to_owned());
        let violations = u64::from(seeds == 2);
        Line { day, commit, first_seed: 1, seeds, members: 3, fault_seconds: 30, simulated_hours: 1.5, violations }
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!((day(0), day(59), day(789)), ("1970-01-01".into(), "1970-03-01".into(), "1972-02-29".into()));
        assert_eq!((day(20_453), day(20_818)), ("2025-12-31".into(), "2026-12-31".into()));
    }

    #[test]
    fn totals_are_written_into_the_block_of_a_page_and_replace_older_ones() {
        let folder = std::env::temp_dir().join(format!("quorate-sim-hours-{}", std::process::id()));
        let (log, page) = (folder.join("hours.tsv"), folder.join("page.md"));
        for (commit, seeds) in [("a", 1), ("b", 2), ("a", 3)] {
            append(&log, &line(commit, seeds)).unwrap();
        }
        let lines = read(&log).unwrap();
        assert_eq!(lines, [line("a", 1), line("b", 2), line("a", 3)]);
        std::fs::write(&page, format!("before\n{BEGIN}\nold\n| all 2 | | 9 | 9.0 | 0 |\n| b | 2026-01-01 | 1 | 1.0 | 0 |\n| c | 2026-01-01 | 8 | 2.0 | 1 |\n{END}\nafter\n")).unwrap();
        write_page(&page, &lines).unwrap();
        write_page(&page, &lines).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        for part in [
            "before\n",
            "| all 3 | | 14 | 6.5 | 2 |\n| a | 2026-02-28 | 4 | 3.0 | 0 |\n| b | 2026-02-28 | 2 | 1.5 | 1 |\n| c | 2026-01-01 | 8 | 2.0 | 1 |\n",
            "\nafter\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("old") && text.matches(BEGIN).count() == 1);
        std::fs::write(&page, "nothing").unwrap();
        assert!(matches!(write_page(&page, &[]), Err(Error::NoBlock { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
