//! Runs scenarios that share one thing which is costly to set up, one after the other, and reports them as cargo's own
//! test harness does. Test targets that use it say `harness = false`.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The tally of one test target.
#[derive(Debug)]
pub struct Runner {
    filter: Option<String>,
    start: Instant,
    passed: usize,
    failed: Vec<&'static str>,
    filtered: usize,
}

impl Runner {
    /// Reads the command line as cargo passes it: flags are ignored, the first other word selects scenarios by name.
    pub fn from_arguments() -> Self {
        let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        println!();
        Self { filter, start: Instant::now(), passed: 0, failed: Vec::new(), filtered: 0 }
    }

    /// Whether a scenario of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| name.contains(filter))
    }

    /// Runs one scenario; a panic in it is its failure, and the next one runs all the same.
    pub async fn run(&mut self, name: &'static str, scenario: LocalBoxFuture<'_, Outcome>) {
        if !self.wants(name) {
            self.filtered += 1;
            return;
        }
        self.always(name, scenario).await;
    }

    /// Runs a scenario whichever are wanted: the others stand on it, or it ends what they used.
    pub async fn always(&mut self, name: &'static str, scenario: LocalBoxFuture<'_, Outcome>) {
        let start = Instant::now();
        let failure = match AssertUnwindSafe(scenario).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error}")),
            // The panic's hook has printed it.
            Err(_) => Some("panicked".to_owned()),
        };
        let seconds = start.elapsed().as_secs_f32();
        match failure {
            None => {
                self.passed += 1;
                println!("test {name} ... ok ({seconds:.1} s)");
            }
            Some(failure) => {
                self.failed.push(name);
                println!("test {name} ... FAILED ({seconds:.1} s)\n{failure}");
            }
        }
    }

    /// Prints the tally; the exit code says whether all passed.
    pub fn finish(self) -> ExitCode {
        let result = if self.failed.is_empty() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {result}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            self.passed,
            self.failed.len(),
            self.filtered,
            self.start.elapsed().as_secs_f32()
        );
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
