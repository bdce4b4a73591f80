//! The `quorate` binary: reads flags and environment, runs one member, and says on one line why it cannot.

use std::process::ExitCode;

use quorate::config::{self, Request};
use quorate::{logging, member, slices};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Everything that this process writes is its own: RocksDB makes its files by the umask, not by a mode of ours.
    nix::sys::stat::umask(nix::sys::stat::Mode::S_IRWXG | nix::sys::stat::Mode::S_IRWXO);
    // The kernel zeroes a huge page when it is first touched, and the thread that serves everybody waits: 7 ms in a virtual machine whose
    // memory its host has yet to find (`store/README.md`, "Memory"). The allocator asks for such pages.
    let small_pages = nix::sys::prctl::set_thp_disable(true);
    // Before there are threads, which inherit it.
    let short_slices = slices::shorten();
    // Points named in the variable FAILPOINTS make this process fail, in a build that has them (never in a released one).
    #[cfg(feature = "failpoints")]
    let _points = fail::FailScenario::setup();
    let request = match config::read(std::env::args().skip(1), std::env::vars()) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("{error}");
            if error.shows_usage() {
                eprint!("\n{}", config::USAGE);
            }
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
    for variable in &config.variables {
        tracing::info!(variable, "recognized and used environment variable");
    }
    if let Err(error) = small_pages {
        tracing::warn!(%error, "cannot keep the kernel from using huge pages; the first use of one may hold up requests");
    }
    if let Err(error) = short_slices {
        tracing::warn!(%error, "cannot ask the kernel for short turns of threads; flushes and compactions may hold up requests");
    }
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
    let code = match ended {
        Ok(()) => 0,
        Err(error) => {
            log.fatal("the member ended", &error);
            1
        }
    };
    // Everything is durable. The runtime is not waited for, because streams of clients that hang must not keep the process; and
    // C++ destructors at exit would run under threads that still use RocksDB.
    std::mem::forget(runtime);
    // SAFETY: ends the process at once; no Rust value is needed any more.
    unsafe { nix::libc::_exit(code) }
}
