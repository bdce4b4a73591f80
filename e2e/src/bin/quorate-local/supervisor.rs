//! The process that runs a cluster in the background: it starts it, keeps relay and provisioner alive, and ends it on
//! SIGTERM. Its standard output is a file that `up` shows as it grows.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use quorate_e2e::kubernetes::{Cluster, Deadline, Error, Layout, Phase, State, Tools};
use tokio::signal::unix::{SignalKind, signal};

use super::{Up, control};

/// Longer than every wait of a start together; a start that hangs ends by its own, shorter limits.
const START_LIMIT: std::time::Duration = std::time::Duration::from_secs(600);

/// Starts the supervisor and returns once the cluster is ready, having shown each step.
pub fn start(up: &Up, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot.into());
    }
    // Before the daemon starts, so that what is missing is said at once.
    Tools::find()?;
    let layout = Layout::prepare(folder)?;
    let output = layout.progress();
    let file = File::create(&output)?;
    let mut supervisor = Command::new(std::env::current_exe()?)
        .args(["supervise", "--nodes", &up.nodes.to_string(), "--port", &up.port.to_string()])
        .args(["--store", if matches!(up.store, super::StoreName::Quorate) { "quorate" } else { "etcd" }])
        .arg("--state-dir")
        .arg(layout.root())
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let mut shown = File::open(&output)?;
    let deadline = Deadline::after(START_LIMIT, "a ready cluster", &layout);
    loop {
        let ended = supervisor.try_wait()?;
        let state = State::read(&layout).filter(|state| state.harness.pid == supervisor.id());
        let mut text = String::new();
        shown.read_to_string(&mut text)?;
        print!("{text}");
        std::io::stdout().flush()?;
        if let Some(status) = ended {
            return Err(format!("the cluster did not start ({status}); logs are in {}", layout.logs().display()).into());
        }
        if state.is_some_and(|state| state.phase == Phase::Ready) {
            return Ok(());
        }
        deadline.pause()?;
    }
}

/// Runs the cluster until SIGTERM or SIGINT.
pub fn run(up: &Up, folder: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Away from the terminal of `up`, whose end is not ours. In the foreground of a shell we lead a session already.
    let _ = nix::unistd::setsid();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let run: Result<bool, Box<dyn std::error::Error>> = runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let builder = Cluster::builder(folder).nodes(up.nodes).store(up.store.into()).port(up.port);
        let progress =
            Arc::new(|since: std::time::Duration, what: &str| println!("{:6.1} s  {what}", since.as_secs_f32()));
        let cluster = tokio::select! {
            cluster = builder.progress(progress).start() => cluster?,
            _ = terminate.recv() => return Ok(false),
            _ = interrupt.recv() => return Ok(false),
        };
        let control = cluster.layout().control();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            // The cluster is of use without it too.
            Err(error) = control::serve(&cluster, &control) => {
                eprintln!("no faults on demand: {error}");
                tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            }
        }
        cluster.stop().await?;
        Ok(true)
    });
    // Waits for what still boots, so that nothing starts after the cleaning.
    drop(runtime);
    if run? {
        return Ok(ExitCode::SUCCESS);
    }
    quorate_e2e::kubernetes::down(folder)?;
    println!("stopped before it was ready");
    Ok(ExitCode::FAILURE)
}
