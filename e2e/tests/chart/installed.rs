//! A release in a real Kubernetes: the operator that it brings up runs a cluster, which outlives the release and is taken
//! over by the next one.

use std::fs;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use quorate_e2e::kubernetes::{Cluster, run};
use quorate_e2e::scenario::Outcome;
use quorate_operator::crd::QuorateCluster;

use crate::common::{Error, cluster, images};
use crate::helm::{Helm, sources};

/// The operator starts in seconds and founds a member in a few more; builds beside it slow both down.
const LIMIT: Duration = Duration::from_secs(120);
const DEFINITION: &str = "quorateclusters.quorate.io";

pub async fn from_install_to_uninstall(helm: &Helm) -> Outcome {
    let images = images()?;
    let cluster = cluster("chart").start().await?;
    for image in ["quorate", "quorate-operator"] {
        cluster.import_image(&images.join(format!("{image}.tar")))?;
    }
    let (client, release) = (cluster.client(), Release { helm, cluster: &cluster });
    let clusters = Api::<QuorateCluster>::default_namespaced(client.clone());

    release.install()?;
    let main = clusters.create(&PostParams::default(), &sample()?).await?;
    await_ready(&clusters, &main).await?;

    release.uninstall()?;
    let operators = Api::<Deployment>::namespaced(client.clone(), "quorate-system");
    assert_eq!(operators.get_opt("quorate-operator").await?, None, "the operator is gone");
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    assert!(definitions.get(DEFINITION).await?.metadata.deletion_timestamp.is_none(), "the definition stays");
    let left = clusters.get(&main.name_any()).await?;
    assert_eq!((left.uid(), left.metadata.deletion_timestamp), (main.uid(), None), "the cluster stays");
    let member = Api::<Pod>::default_namespaced(client.clone()).get("main-0").await?;
    assert!(member.metadata.deletion_timestamp.is_none(), "and so do its members");

    // The next release finds the definition and the cluster, and works for it: only an operator lets a cluster go.
    release.install()?;
    await_ready(&clusters, &main).await?;
    end(&client, &clusters, &main).await?;
    release.uninstall()?;
    Ok(cluster.stop().await?)
}

/// The release `quorate-operator` in the namespace `quorate-system`.
struct Release<'a> {
    helm: &'a Helm,
    cluster: &'a Cluster,
}

impl Release<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.helm.command(arguments);
        command.args(["--namespace", "quorate-system", "--wait", "--timeout", "120s"]);
        command.env("KUBECONFIG", self.cluster.layout().kubeconfig());
        command
    }

    /// Returns once the operator is up.
    fn install(&self) -> Result<(), Error> {
        let arguments = ["install", "quorate-operator", "CHART", "--create-namespace", "--set=image.tag=dev"];
        let shown = run(&mut self.command(&arguments))?;
        assert!(shown.contains("STATUS: deployed"), "{shown}");
        Ok(())
    }

    fn uninstall(&self) -> Result<(), Error> {
        let shown = run(&mut self.command(&["uninstall", "quorate-operator"]))?;
        assert!(shown.contains("uninstalled"), "{shown}");
        Ok(())
    }
}

/// The sample, with one member for the one node.
fn sample() -> Result<QuorateCluster, Error> {
    let mut sample: QuorateCluster =
        serde_yaml::from_str(&fs::read_to_string(sources().join("config/samples/quoratecluster.yaml"))?)?;
    sample.spec.replicas = 1;
    Ok(sample)
}

async fn await_ready(clusters: &Api<QuorateCluster>, wanted: &QuorateCluster) -> Result<(), Error> {
    let name = wanted.name_any();
    let ready = await_condition(clusters.clone(), &name, |found: Option<&QuorateCluster>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    });
    tokio::time::timeout(LIMIT, ready).await.map_err(|_| "the cluster did not become ready")??;
    Ok(())
}

/// Deletes a cluster and waits until it and its member are gone.
async fn end(client: &Client, clusters: &Api<QuorateCluster>, main: &QuorateCluster) -> Result<(), Error> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let member = pods.get("main-0").await?.uid().unwrap_or_default();
    clusters.delete(&main.name_any(), &DeleteParams::default()).await?;
    let uid = main.uid().unwrap_or_default();
    let gone = await_condition(clusters.clone(), "main", is_deleted(&uid));
    tokio::time::timeout(LIMIT, gone).await.map_err(|_| "the cluster was not let go")??;
    tokio::time::timeout(LIMIT, await_condition(pods, "main-0", is_deleted(&member))).await??;
    Ok(())
}
