//! The `quorate` binary: reads flags and environment, runs one member, and says on one line why it cannot.

use std::process::ExitCode;

use quorate::config::{self, Request};
use quorate::{logging, member};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let request = match config::read(std::env::args().skip(1), std::env::vars()) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let config = match request {
        Request::Print(text) => {
            println!("{}", text.trim_end());
            return ExitCode::SUCCESS;
        }
        Request::Serve(config) => *config,
    };
    let log = match logging::install(&config.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log.fatal("cannot start the runtime", &error);
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(member::run(config, log.clone()));
    // Streams of clients that hang must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.fatal("the member ended", &error);
            ExitCode::FAILURE
        }
    }
}
