//! Two operators and one lease: only one acts, one that was stopped and goes on does not act on what it believed, and a
//! dead one is followed.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_e2e::kubernetes::workspace_program;
use quorate_e2e::scenario::Outcome;
use serde_json::json;

use crate::common::Error;
use crate::world::World;

/// Long enough for a busy machine to renew in, short enough to wait for twice.
const LEASE_SECONDS: &str = "8";
const LEASE: &str = "e2e-operators";

pub async fn rivals(world: &World) -> Outcome {
    world.run_operators(0).await?;
    let mut first = Operator::start(world, "first")?;
    world.await_until("the first operator leading", async || Ok(holder(world).await? == "first")).await?;
    let mut second = Operator::start(world, "second")?;
    second.await_said(world, "another replica leads").await?;

    // Only one acts.
    world.patch("main", json!({"spec": {"limits": {"maxTxnOps": 100}}})).await?;
    first.await_said(world, "SetLimits").await?;
    world.await_ready("main", 3).await?;
    assert_eq!(second.acts()?, 0, "the second one waits");

    // The first is stopped while all is well, and the second takes over after the lease's life.
    first.signal(Signal::SIGSTOP)?;
    let acts = first.acts()?;
    world.await_until("the second operator leading", async || Ok(holder(world).await? == "second")).await?;
    second.signal(Signal::SIGSTOP)?;
    // Work that nobody does. The first goes on and still believes that it leads; it hears of the work before anything else.
    let replicas = world.statefulset_replicas("main").await?;
    world.scale("main", 1).await?;
    first.signal(Signal::SIGCONT)?;
    let ended = first.wait(world).await?;
    assert_eq!(ended.code(), Some(1), "it ends by itself and says that it failed: {ended}");
    assert_eq!(first.acts()?, acts, "it acted after its lease was over:\n{}", first.log()?);
    assert!(first.log()?.contains("the lease was not renewed in time"), "{}", first.log()?);
    assert_eq!(world.statefulset_replicas("main").await?, replicas);
    assert_eq!(world.status("main").await?.voters, 3);

    // The second dies without a word, and a third goes on.
    second.signal(Signal::SIGKILL)?;
    assert_eq!(second.wait(world).await?.signal(), Some(9));
    let mut third = Operator::start(world, "third")?;
    world.await_ready("main", 1).await?;
    assert_eq!(holder(world).await?, "third");
    // A graceful end gives the lease back at once.
    third.signal(Signal::SIGTERM)?;
    assert_eq!(third.wait(world).await?.code(), Some(0));
    assert_eq!(holder(world).await?, "");
    world.run_operators(1).await?;
    world.scale("main", 3).await?;
    world.await_ready("main", 3).await
}

async fn holder(world: &World) -> Result<String, Error> {
    let leases: Api<Lease> = Api::default_namespaced(world.client.clone());
    let lease = leases.get_opt(LEASE).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default())
}

/// An operator as a process of this machine, in the cluster's network.
struct Operator {
    child: Child,
    log: std::path::PathBuf,
}

impl Operator {
    fn start(world: &World, identity: &str) -> Result<Self, Error> {
        let program = workspace_program("quorate-operator")?;
        let layout = world.cluster.layout();
        let (log, kubeconfig) = (layout.log(&format!("operator-{identity}")), layout.pki("admin.kubeconfig"));
        let file = std::fs::File::create(&log)?;
        let start = || {
            let mut command = Command::new(&program);
            command
                .args(["--identity", identity, "--lease-namespace", "default", "--lease-name", LEASE])
                .args(["--lease-seconds", LEASE_SECONDS, "--metrics-address", "0.0.0.0:0"])
                .env("KUBECONFIG", &kubeconfig)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(file);
            Ok(command.spawn())
        };
        let child = world.cluster.in_lan(start)??;
        Ok(Self { child, log })
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    async fn wait(&mut self, world: &World) -> Result<std::process::ExitStatus, Error> {
        let mut ended = None;
        world
            .await_until("the end of an operator", async || {
                ended = self.child.try_wait()?;
                Ok(ended.is_some())
            })
            .await?;
        ended.ok_or_else(|| "it was seen to end".into())
    }

    fn log(&self) -> Result<String, Error> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    async fn await_said(&self, world: &World, text: &str) -> Result<(), Error> {
        world.await_until(&format!("an operator saying {text:?}"), async || Ok(self.log()?.contains(text))).await
    }

    /// Actions that it performed, by its log.
    fn acts(&self) -> Result<usize, Error> {
        Ok(self.log()?.lines().filter(|line| line.contains(r#""message":"done""#)).count())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Already over when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
