//! An operator that dies right before one of its requests to Kubernetes or right after the answer to it. Requests to members
//! lie between two of those, so that it also dies right before and right after each of them. It is this very program,
//! started again with a budget.

use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use kube::client::{Body, ClientBuilder};
use quorate_operator::controller::{self, Shared};
use quorate_operator::leader::Tenure;
use quorate_operator::metrics::Metrics;
use rand::{RngExt as _, SeedableRng as _};
use tower::{Layer, Service};

use crate::common::Error;
use crate::world::World;

const BUDGET: &str = "QUORATE_E2E_OPERATOR_REQUESTS";
/// Whether the last request is answered before the operator dies.
const ANSWERED: &str = "QUORATE_E2E_OPERATOR_ANSWERED";
/// A round is about 15 requests, and an operator begins with 6 lists: deaths fall into every part of a round, and some operators live for
/// two or three.
const REQUESTS: RangeInclusive<u64> = 8..=60;
/// For operations of few rounds, so that more than one operator dies in them.
pub const FEW_REQUESTS: RangeInclusive<u64> = 7..=32;
/// Between two looks at whether an operator that lives has nothing left to do.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// With at least one act in most lives, far more than any operation needs.
const DEATHS_MAX: u32 = 400;

/// Requests after which this process shall die; `None` when it is the test itself.
pub fn budget() -> Option<u64> {
    std::env::var(BUDGET).ok()?.parse().ok()
}

/// Is an operator until the budget is used up.
pub async fn operate(requests: u64) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mortal = Mortal { left: Arc::new(AtomicU64::new(requests)), answered: std::env::var_os(ANSWERED).is_some() };
    let config = kube::Config::infer().await.expect("KUBECONFIG is set by the test");
    let client = ClientBuilder::try_from(config).expect("the configuration is sound").with_layer(&mortal).build();
    let shared = Shared::new(client, Arc::new(Metrics::default()), "dying", Tenure::unlimited());
    controller::run(shared, &[], std::future::pending()).await;
    ExitCode::FAILURE
}

/// Counts requests and dies at the last one.
#[derive(Clone)]
struct Mortal {
    left: Arc<AtomicU64>,
    answered: bool,
}

#[derive(Clone)]
struct MortalService<S> {
    mortal: Mortal,
    inner: S,
}

impl<S> Layer<S> for Mortal {
    type Service = MortalService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MortalService { mortal: self.clone(), inner }
    }
}

impl<S> Service<Request<Body>> for MortalService<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Watches come at the start and again at will; they change nothing.
        let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
        let dies = !watches && self.mortal.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if dies && !self.mortal.answered {
            die();
        }
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            if dies {
                die();
            }
            answer
        }
        .boxed()
    }
}

/// Nothing is flushed, nothing is released.
fn die() {
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).expect("it is ours");
}

/// Lets operators die one after the other until the cluster is ready at this size; returns how many died.
pub async fn until_ready(world: &World, name: &str, replicas: u32, seed: u64) -> Result<u32, Error> {
    until(world, seed, REQUESTS, async || world.is_ready(name, replicas).await).await
}

/// Lets operators die one after the other until it is so; returns how many died.
pub async fn until(
    world: &World,
    seed: u64,
    requests: RangeInclusive<u64>,
    mut holds: impl AsyncFnMut() -> Result<bool, Error>,
) -> Result<u32, Error> {
    println!("       seed {seed}");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    for deaths in 0..DEATHS_MAX {
        if holds().await? {
            return Ok(deaths);
        }
        let mut operator = Operator::start(world, rng.random_range(requests.clone()), rng.random())?;
        if !operator.dies_before(&mut holds).await? {
            return Ok(deaths);
        }
    }
    Err(format!("not so after {DEATHS_MAX} operators\n{}", world.describe().await?).into())
}

/// A process that is an operator; killed when it is dropped.
struct Operator(tokio::process::Child);

impl Operator {
    fn start(world: &World, requests: u64, answered: bool) -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        let kubeconfig = world.cluster.layout().pki("admin.kubeconfig");
        let runtime = tokio::runtime::Handle::current();
        let start = || {
            // The network's thread is none of the runtime's.
            let _entered = runtime.enter();
            let mut command = Command::new(&program);
            command.env(BUDGET, requests.to_string()).env("KUBECONFIG", &kubeconfig);
            if answered {
                command.env(ANSWERED, "");
            }
            command.stdin(Stdio::null());
            Ok(tokio::process::Command::from(command).kill_on_drop(true).spawn())
        };
        Ok(Self(world.cluster.in_lan(start)??))
    }

    /// Waits until it has died, or until it is so: then there may be nothing left that it would ask for.
    async fn dies_before(&mut self, holds: &mut impl AsyncFnMut() -> Result<bool, Error>) -> Result<bool, Error> {
        loop {
            match tokio::time::timeout(LOOK_AGAIN, self.0.wait()).await {
                Ok(status) => {
                    let status = status?;
                    return match status.signal() {
                        Some(9) => Ok(true),
                        _ => Err(format!("the operator ended by itself: {status}").into()),
                    };
                }
                Err(_) => {
                    if holds().await? {
                        self.0.kill().await?;
                        return Ok(false);
                    }
                }
            }
        }
    }
}
