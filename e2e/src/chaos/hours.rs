//! The log of hours: a line for every run, and the totals on the page that says how the store is checked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use jiff::Timestamp;

use super::{Error, Report};

const HEADING: &str = "date\tcommit\tmembers\tseconds\toperations\tfaults\tviolations\n";

/// Between these lines the page holds what this module writes.
const BEGIN: &str = "<!-- chaos hours: written by `quorate-chaos hours` -->";
const END: &str = "<!-- end of chaos hours -->";

/// Where the runs of this machine are logged.
pub fn log_path() -> PathBuf {
    crate::kubernetes::cache_folder().join("logs/chaos-hours.tsv")
}

/// Adds a run to the log, which it makes if need be.
pub fn append(log: &Path, report: &Report) -> Result<(), Error> {
    let io = |doing: &'static str| move |source| crate::crash::Error::Io { doing, path: log.to_owned(), source };
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(io("make the folder of"))?;
    }
    let fresh = !log.exists();
    let line = format!(
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\n",
        date(SystemTime::now()),
        commit(),
        report.plan.members,
        report.struck_for.as_secs(),
        report.operations(),
        report.fault_count(),
        report.violations.len(),
    );
    let text = if fresh { format!("{HEADING}{line}") } else { line };
    // One write, so that runs at the same time do not mix their lines.
    let mut file = fs::File::options().create(true).append(true).open(log).map_err(io("open"))?;
    file.write_all(text.as_bytes()).map_err(io("write"))?;
    Ok(())
}

/// Sums of all runs with so many members at one commit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Total {
    runs: u64,
    seconds: u64,
    operations: u64,
    faults: u64,
    violations: u64,
}

/// The totals of a log as a table, newest commit last.
pub fn table(log: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(log).map_err(crate::crash::Error::io("read", log))?;
    let mut order: Vec<String> = Vec::new();
    let mut totals: BTreeMap<(String, u64), Total> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let bad = |reason: &str| Error::Hours {
            path: log.display().to_string(),
            line: number + 1,
            reason: reason.to_owned(),
        };
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, commit, numbers @ ..] = &fields[..] else { return Err(bad("it has no commit")) };
        let numbers: Result<Vec<u64>, _> = numbers.iter().map(|number| number.parse()).collect();
        let Ok([members, seconds, operations, faults, violations]) = numbers.as_deref() else {
            return Err(bad("five numbers should follow the commit"));
        };
        if !order.iter().any(|known| known == commit) {
            order.push((*commit).to_owned());
        }
        let total = totals.entry(((*commit).to_owned(), *members)).or_default();
        total.runs += 1;
        total.seconds += seconds;
        total.operations += operations;
        total.faults += faults;
        total.violations += violations;
    }
    let mut table = String::from(
        "| commit | members | runs | hours | operations | faults | violations |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for commit in &order {
        for ((_, members), total) in totals.iter().filter(|((known, _), _)| known == commit) {
            let hours = total.seconds as f64 / 3_600.0;
            let Total { runs, operations, faults, violations, .. } = total;
            let _ = writeln!(
                table,
                "| {commit} | {members} | {runs} | {hours:.2} | {operations} | {faults} | {violations} |"
            );
        }
    }
    Ok(table)
}

/// The rows of a table, each with its commit.
fn rows(table: &str) -> impl Iterator<Item = (&str, &str)> {
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.filter_map(|row| Some((row.split('|').nth(1)?.trim(), row)))
}

/// Writes the totals between the marks of a page. Rows of commits that the log does not know, of runs on another machine, stay first.
pub fn write_page(log: &Path, page: &Path) -> Result<(), Error> {
    let table = table(log)?;
    let text = fs::read_to_string(page).map_err(crate::crash::Error::io("read", page))?;
    let missing = |marker| Error::NoMarker { path: page.display().to_string(), marker };
    let begin = text.find(BEGIN).ok_or_else(|| missing(BEGIN))? + BEGIN.len();
    let end = begin + text[begin..].find(END).ok_or_else(|| missing(END))?;
    let known: Vec<&str> = rows(&table).map(|(commit, _)| commit).collect();
    let kept = rows(&text[begin..end]).filter(|(commit, _)| !known.contains(commit)).map(|(_, row)| row);
    let head = table.lines().take(2);
    let lines: Vec<&str> = head.chain(kept).chain(table.lines().skip(2)).collect();
    let text = format!("{}\n\n{}\n\n{}", &text[..begin], lines.join("\n"), &text[end..]);
    fs::write(page, text).map_err(crate::crash::Error::io("write", page))?;
    Ok(())
}

/// The commit that is checked out, "unknown" outside of a clone, with a "+" where the clone has changes. In the fixed copy of
/// `make test` it is handed over in the environment.
fn commit() -> String {
    if let Ok(commit) = std::env::var("QUORATE_COMMIT") {
        return commit;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=9", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    if changed { format!("{commit}+") } else { commit }
}

/// Year, month and day in UTC, as 2026-01-31.
fn date(now: SystemTime) -> String {
    Timestamp::try_from(now).unwrap_or(Timestamp::MAX).strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_709_164_799), "2024-02-28");
        assert_eq!(at(1_767_225_600), "2026-01-01");
    }

    #[test]
    fn totals_are_written_between_the_marks_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let (log, page) = (folder.path().join("hours.tsv"), folder.path().join("page.md"));
        fs::write(&log, format!("{HEADING}2026-01-01\taaa\t3\t1800\t10\t2\t0\n2026-01-02\tbbb\t5\t900\t7\t1\t1\n2026-01-02\taaa\t3\t1800\t5\t1\t0\n")).unwrap();
        let elsewhere = "| ooo | 3 | 1 | 9.00 | 1 | 1 | 0 |";
        let head = "| commit | members |\n| --- | ---: |";
        let of_here = "| aaa | 3 | 1 | 0.50 | 10 | 2 | 0 |";
        fs::write(&page, format!("before\n{BEGIN}\n\n{head}\n{elsewhere}\n{of_here}\n\n{END}\nafter\n")).unwrap();
        write_page(&log, &page).unwrap();
        write_page(&log, &page).unwrap();
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            text.starts_with(&format!("before\n{BEGIN}\n")) && text.ends_with(&format!("{END}\nafter\n")),
            "{text}"
        );
        assert!(!text.contains(of_here) && text.matches("| commit ").count() == 1, "{text}");
        assert_eq!(text.matches(elsewhere).count(), 1, "a row of another machine stays: {text}");
        let (first, second) = ("| aaa | 3 | 2 | 1.00 | 15 | 3 | 0 |", "| bbb | 5 | 1 | 0.25 | 7 | 1 | 1 |");
        assert!(text.find(first).unwrap() < text.find(second).unwrap(), "{text}");

        fs::write(&log, format!("{HEADING}2026-01-01\taaa\tthree\n")).unwrap();
        assert!(table(&log).unwrap_err().to_string().contains("line 2"));
        fs::write(&page, "no marks").unwrap();
        fs::write(&log, HEADING).unwrap();
        assert!(write_page(&log, &page).unwrap_err().to_string().contains("has no line"));
    }
}
