//! An operator that dies right before one of its requests, that is, right after the request before it, be that one to
//! Kubernetes or to a member. It is this very program, started again with a budget.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::client::ClientBuilder;
use quorate_operator::controller::{self, Shared};
use quorate_operator::leader::Tenure;
use quorate_operator::metrics::Metrics;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::Error;
use crate::world::World;

const BUDGET: &str = "QUORATE_E2E_OPERATOR_REQUESTS";
/// A round is about 15 requests: deaths fall into every part of one, and some operators live for two.
const REQUESTS_MIN: u64 = 8;
const REQUESTS_MAX: u64 = 60;
/// With at least one act in most lives, far more than a change of size needs.
const DEATHS_MAX: u32 = 400;

/// Requests after which this process shall die; `None` when it is the test itself.
pub fn budget() -> Option<u64> {
    std::env::var(BUDGET).ok()?.parse().ok()
}

/// Is an operator until the budget is used up.
pub async fn operate(requests: u64) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let left = Arc::new(AtomicU64::new(requests));
    let count = tower::util::MapRequestLayer::new(move |request: http::Request<kube::client::Body>| {
        // Watches come at the start and again at will; they change nothing.
        let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
        if !watches && left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing is flushed, nothing is released.
            nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).expect("it is ours");
        }
        request
    });
    let config = kube::Config::infer().await.expect("KUBECONFIG is set by the test");
    let client = ClientBuilder::try_from(config).expect("the configuration is sound").with_layer(&count).build();
    let shared = Shared::new(client, Arc::new(Metrics::default()), "dying", Tenure::unlimited());
    controller::run(shared, &[], std::future::pending()).await;
    ExitCode::FAILURE
}

/// Lets operators die one after the other until the cluster is ready at this size; returns how many died.
pub async fn until_ready(world: &World, name: &str, replicas: u32, seed: u32) -> Result<u32, Error> {
    println!("       seed {seed}");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(u64::from(seed));
    for deaths in 0..DEATHS_MAX {
        if world.is_ready(name, replicas).await? {
            return Ok(deaths);
        }
        live_and_die(world, rng.random_range(REQUESTS_MIN..=REQUESTS_MAX)).await?;
    }
    Err(format!("not ready after {DEATHS_MAX} operators").into())
}

async fn live_and_die(world: &World, requests: u64) -> Result<(), Error> {
    let program = std::env::current_exe()?;
    let kubeconfig = world.cluster.layout().pki("admin.kubeconfig");
    let start = || {
        let mut command = Command::new(&program);
        command.env(BUDGET, requests.to_string()).env("KUBECONFIG", &kubeconfig);
        Ok(command.stdin(Stdio::null()).spawn())
    };
    let mut child = world.cluster.in_lan(start)??;
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    match status.signal() {
        Some(9) => Ok(()),
        _ => Err(format!("the operator ended by itself: {status}").into()),
    }
}
