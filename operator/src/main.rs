//! The operator's program: flags, leadership, and an end that loses nothing.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use quorate_operator::controller::{self, Shared};
use quorate_operator::leader;
use quorate_operator::metrics::Metrics;
use quorate_operator::{http, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// Runs Quorate clusters on Kubernetes: acts on QuorateCluster objects.
#[derive(Parser, Debug)]
#[command(name = "quorate-operator", version)]
struct Flags {
    /// Namespaces to watch, separated by commas; all when empty.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', default_value = "")]
    namespaces: Vec<String>,
    /// Namespace of the lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "quorate-system")]
    lease_namespace: String,
    /// Name of the lease that the replicas of the operator compete for.
    #[arg(long, env = "LEASE_NAME", default_value = "quorate-operator")]
    lease_name: String,
    /// Seconds that the lease lasts without renewal: another replica takes over so long after the leader has died.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    lease_seconds: u64,
    /// Name of this replica in the lease; random when empty.
    #[arg(long, env = "POD_NAME", default_value = "")]
    identity: String,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    metrics_address: SocketAddr,
    /// Level, or a list of target=level.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// Format of the log.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "json")]
    log_format: telemetry::Format,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Err(error) = telemetry::start(&flags.log_level, flags.log_format) {
        eprintln!("--log-level {:?}: {error}", flags.log_level);
        return ExitCode::FAILURE;
    }
    match run(flags).await {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<ExitCode> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another provider of cryptography is installed already");
    }
    let metrics = Arc::new(Metrics::default());
    let mut server = tokio::spawn(http::serve(flags.metrics_address, metrics.clone()));
    let client = kube::Client::try_default().await?;
    let identity =
        if flags.identity.is_empty() { format!("operator-{:016x}", rand::random::<u64>()) } else { flags.identity };
    let settings = leader::Settings {
        namespace: flags.lease_namespace,
        lease: flags.lease_name,
        identity: identity.clone(),
        duration: std::time::Duration::from_secs(flags.lease_seconds),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut held = tokio::select! {
        held = leader::acquire(client.clone(), &settings) => held,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        ended = &mut server => { ended??; anyhow::bail!("the metrics server ended") }
    };
    tracing::info!(lease = settings.lease, identity, "leading");
    metrics.set_leader(true);
    let shared = Shared::new(client, metrics.clone(), &settings.identity, held.tenure());
    let namespaces: Vec<String> = flags.namespaces.into_iter().filter(|one| !one.is_empty()).collect();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopping = async move {
        // The sender lives until it fires; an error means the process is ending anyway.
        let _ = stopped.await;
    };
    let controller = controller::run(shared, &namespaces, stopping);
    tokio::pin!(controller);
    let code = tokio::select! {
        () = &mut controller => { tracing::error!("the controller ended by itself"); return Ok(ExitCode::FAILURE) }
        () = held.lost() => { tracing::error!("not leading any more; the operator ends and starts anew"); return Ok(ExitCode::FAILURE) }
        ended = &mut server => { ended??; anyhow::bail!("the metrics server ended") }
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
    };
    // A round that is under way ends first; then the next replica may lead at once.
    let _ = stop.send(());
    controller.await;
    metrics.set_leader(false);
    held.release().await;
    Ok(code)
}
