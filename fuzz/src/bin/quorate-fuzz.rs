//! Runs the fuzz targets under libFuzzer, one after the other, each for a time, and says what they found.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Parser;
use quorate_fuzz::{TARGETS, Target};

/// A target may not take more memory than this: an input that makes it allocate by a length that it claims is a finding.
const MEMORY_MIB_MAX: u32 = 1024;
/// Nor longer than this for one input.
const INPUT_SECONDS_MAX: u32 = 10;
/// Longest input that is tried.
const INPUT_BYTES_MAX: u32 = 8192;

#[derive(Parser)]
#[command(name = "quorate-fuzz", about = "Fuzzes every decoder and ends with a table of runs and findings")]
struct Arguments {
    /// The fuzzer itself, built with the feature `libfuzzer`
    #[arg(long)]
    fuzzer: PathBuf,
    /// Where corpora and findings are kept between runs
    #[arg(long)]
    work: PathBuf,
    /// Seconds for each target
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only this target (repeatable); all without it
    #[arg(long, value_parser = known)]
    target: Vec<String>,
}

fn known(name: &str) -> Result<String, String> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    quorate_fuzz::target(name).map(|_| name.to_owned()).ok_or_else(|| format!("no such target; there are {}", names()))
}

/// What one target came to.
struct Outcome {
    runs: u64,
    corpus: usize,
    coverage: u64,
    findings: Vec<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| arguments.target.is_empty() || arguments.target.iter().any(|name| name == target.name))
        .collect();
    let mut findings = 0;
    println!(
        "{:<10} {:<28} {:>12} {:>9} {:>7} {:>7} {:>8}",
        "target", "reads", "runs", "runs/s", "edges", "corpus", "findings"
    );
    for target in chosen {
        let outcome = fuzz(target, &arguments)?;
        findings += outcome.findings.len();
        println!(
            "{:<10} {:<28} {:>12} {:>9} {:>7} {:>7} {:>8}",
            target.name,
            target.reads,
            outcome.runs,
            outcome.runs / arguments.seconds,
            outcome.coverage,
            outcome.corpus,
            outcome.findings.len(),
        );
        for path in &outcome.findings {
            println!(
                "  {}: copy it to fuzz/findings/{}/ under a name that says what it broke",
                path.display(),
                target.name
            );
        }
    }
    println!("{findings} findings");
    Ok(if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fuzz(target: &Target, arguments: &Arguments) -> Result<Outcome> {
    let corpus = arguments.work.join("corpus").join(target.name);
    let found = arguments.work.join("findings").join(target.name);
    for folder in [&corpus, &found] {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    for (number, seed) in (target.seeds)().iter().enumerate() {
        let path = corpus.join(format!("seed-{number:02}"));
        std::fs::write(&path, seed).with_context(|| format!("writing {}", path.display()))?;
    }
    let before = files(&found)?;
    let mut child = Command::new(&arguments.fuzzer)
        .env("QUORATE_FUZZ_TARGET", target.name)
        .arg(&corpus)
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", arguments.fuzzer.display()))?;
    let log_path = arguments.work.join(format!("{}.log", target.name));
    let mut log = std::fs::File::create(&log_path).with_context(|| format!("creating {}", log_path.display()))?;
    let (mut runs, mut coverage) = (0, 0);
    for line in BufReader::new(child.stderr.take().context("the fuzzer's output is piped")?).lines() {
        let line = line.context("reading the fuzzer's output")?;
        std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes()).context("writing its log")?;
        runs = line.strip_prefix("stat::number_of_executed_units:").and_then(|n| n.trim().parse().ok()).unwrap_or(runs);
        coverage = number_after(&line, "cov: ").unwrap_or(coverage);
    }
    let status = child.wait().context("waiting for the fuzzer")?;
    let findings: Vec<PathBuf> = files(&found)?.into_iter().filter(|path| !before.contains(path)).collect();
    anyhow::ensure!(
        status.success() || !findings.is_empty(),
        "the fuzzer of {} ended with {status} and found nothing; see {}",
        target.name,
        log_path.display()
    );
    Ok(Outcome { runs, corpus: files(&corpus)?.len(), coverage, findings })
}

fn number_after(line: &str, word: &str) -> Option<u64> {
    let (_, rest) = line.split_once(word)?;
    rest.split_whitespace().next()?.parse().ok()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    entries.map(|entry| Ok(entry.context("listing")?.path())).collect()
}
