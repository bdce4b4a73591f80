//! A Kubernetes with the operator in it, and what the scenarios do with clusters and members.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::conditions::{is_crd_established, is_deployment_completed};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use nix::sys::signal::Signal;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_api::etcdserverpb::{MoveLeaderRequest, PutRequest, RangeRequest};
use quorate_e2e::kubernetes::{Cgroup, Cluster, Deadline, Relay, cache_folder, run};
use quorate_operator::crd::{QuorateCluster, QuorateClusterStatus};
use quorate_operator::observe::LATCH_KEY;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::common::{Error, cluster};

/// Founding takes seconds; builds beside the tests take the processors away for longer.
const LIMIT: Duration = Duration::from_secs(120);
/// Longer than an election.
const REQUEST_LIMIT: Duration = Duration::from_secs(7);

pub struct World {
    pub cluster: Cluster,
    pub client: Client,
}

/// A connection to one member as a client with the issued certificate.
pub struct Session {
    channel: Channel,
    _relay: Relay,
}

impl World {
    /// Images, Kubernetes, definitions, operator.
    pub async fn start() -> Result<Self, Error> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let images = images(&sources)?;
        let cluster = cluster("operator-lifecycle").nodes(3).start().await?;
        for image in ["quorate", "quorate-operator"] {
            cluster.import_image(&images.join(format!("{image}.tar")))?;
        }
        let read = |file: &str| std::fs::read_to_string(sources.join(file));
        let client = cluster.client();
        cluster.apply(&read("crds/quorate.io_quorateclusters.yaml")?).await?;
        let established = await_condition(Api::all(client.clone()), "quorateclusters.quorate.io", is_crd_established());
        tokio::time::timeout(LIMIT, established).await??;
        cluster.apply(&read("config/operator.yaml")?).await?;
        let world = Self { cluster, client };
        // Members keep to the strictest of Kubernetes' pod security standards.
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        namespaces.patch("default", &PatchParams::default(), &Patch::Merge(restricted)).await?;
        let operator = await_condition(world.operators(), "quorate-operator", is_deployment_completed());
        tokio::time::timeout(LIMIT, operator).await??;
        Ok(world)
    }

    fn operators(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), "quorate-system")
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub fn clusters(&self) -> Api<QuorateCluster> {
        Api::default_namespaced(self.client.clone())
    }

    /// The same without a type, for objects that the API server shall refuse.
    pub fn dynamic(&self) -> Api<DynamicObject> {
        Api::default_namespaced_with(self.client.clone(), &ApiResource::erase::<QuorateCluster>(&()))
    }

    /// Names of all nodes.
    pub async fn node_names(&self) -> Result<Vec<String>, Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        Ok(nodes.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
    }

    /// Name of the node that the operator runs on.
    pub async fn operator_node(&self) -> Result<String, Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "quorate-system");
        let pods = pods.list(&ListParams::default()).await?;
        let node = pods.iter().find_map(|pod| pod.spec.as_ref()?.node_name.clone());
        node.ok_or_else(|| "no operator runs on a node".into())
    }

    /// Runs so many operators and waits until it is so.
    pub async fn run_operators(&self, replicas: u32) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.operators().patch("quorate-operator", &PatchParams::default(), &patch).await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "quorate-system");
        self.await_until("the operator's pods", async || {
            Ok(pods.list(&ListParams::default()).await?.items.len() == replicas as usize)
        })
        .await
    }

    /// Creates a cluster of so many members, changed by a patch.
    pub async fn create(&self, name: &str, replicas: u32, patch: Value) -> Result<(), Error> {
        let mut object = json!({
            "apiVersion": "quorate.io/v1alpha1", "kind": "QuorateCluster", "metadata": {"name": name},
            "spec": {"replicas": replicas, "version": env!("CARGO_PKG_VERSION"), "storage": {"size": "512Mi"}},
        });
        merge(&mut object, patch);
        let object: QuorateCluster = serde_json::from_value(object)?;
        self.clusters().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    pub async fn patch(&self, name: &str, patch: Value) -> Result<(), Error> {
        self.clusters().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub async fn scale(&self, name: &str, replicas: u32) -> Result<(), Error> {
        self.patch(name, json!({"spec": {"replicas": replicas}})).await
    }

    /// Deletes a cluster and waits until it and its pods are gone.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.clusters().delete(name, &DeleteParams::default()).await?;
        let selector = ListParams::default().labels(&format!("quorate.io/cluster={name}"));
        self.await_until("a deleted cluster", async || {
            Ok(self.clusters().get_opt(name).await?.is_none() && self.pods().list(&selector).await?.items.is_empty())
        })
        .await
    }

    /// Waits until nothing is left that carries the cluster's label.
    pub async fn await_no_trace(&self, name: &str) -> Result<(), Error> {
        let selector = ListParams::default().labels(&format!("quorate.io/cluster={name}"));
        self.await_until("no trace of the cluster", async || {
            Ok(self.left::<ConfigMap>(&selector).await?
                + self.left::<Secret>(&selector).await?
                + self.left::<PersistentVolumeClaim>(&selector).await?
                + self.left::<Pod>(&selector).await?
                + self.left::<StatefulSet>(&selector).await?
                + self.left::<Service>(&selector).await?
                + self.left::<PodDisruptionBudget>(&selector).await?
                == 0)
        })
        .await
    }

    async fn left<K>(&self, selector: &ListParams) -> Result<usize, Error>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        Ok(Api::<K>::default_namespaced(self.client.clone()).list(selector).await?.items.len())
    }

    pub async fn status(&self, name: &str) -> Result<QuorateClusterStatus, Error> {
        Ok(self.clusters().get(name).await?.status.unwrap_or_default())
    }

    pub async fn condition(&self, name: &str, kind: &str) -> Result<Option<Condition>, Error> {
        Ok(self.status(name).await?.conditions.into_iter().find(|one| one.type_ == kind))
    }

    pub async fn await_condition(&self, name: &str, kind: &str, reason: &str) -> Result<(), Error> {
        self.await_until(&format!("{kind} with reason {reason}"), async || {
            Ok(self.condition(name, kind).await?.is_some_and(|one| one.status == "True" && one.reason == reason))
        })
        .await
    }

    /// Ready for the present spec, with so many voters.
    pub async fn is_ready(&self, name: &str, voters: u32) -> Result<bool, Error> {
        let object = self.clusters().get(name).await?;
        let Some(status) = &object.status else { return Ok(false) };
        let ready = status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        let idle = status.conditions.iter().any(|one| one.type_ == "Reconciling" && one.status == "False");
        Ok(ready
            && idle
            && status.operation.is_none()
            && status.observed_generation == object.metadata.generation
            && status.voters == i32::try_from(voters)?)
    }

    pub async fn await_ready(&self, name: &str, voters: u32) -> Result<(), Error> {
        self.await_until(&format!("{name} ready with {voters} members"), async || self.is_ready(name, voters).await)
            .await
    }

    /// The pod of this moment is gone and the cluster is ready again.
    pub async fn await_gone_and_ready(&self, name: &str, pod: &str, voters: u32) -> Result<(), Error> {
        self.await_until("the deleted pod gone", async || {
            let found = self.pods().get_opt(pod).await?;
            Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_none() && is_ready(&found)))
        })
        .await?;
        self.await_ready(name, voters).await
    }

    /// Ids of the members by ordinal.
    pub async fn member_ids(&self, name: &str) -> Result<Vec<Option<String>>, Error> {
        Ok(self.status(name).await?.members.into_iter().map(|member| member.member_id).collect())
    }

    async fn pods_of(&self, name: &str) -> Result<Vec<Pod>, Error> {
        Ok(self.pods().list(&ListParams::default().labels(&format!("quorate.io/cluster={name}"))).await?.items)
    }

    pub async fn ready_pods(&self, name: &str) -> Result<Vec<Pod>, Error> {
        Ok(self.pods_of(name).await?.into_iter().filter(is_ready).collect())
    }

    pub async fn pod_uids(&self, name: &str) -> Result<Vec<Option<String>>, Error> {
        Ok(self.pods_of(name).await?.iter().map(|pod| pod.uid()).collect())
    }

    pub async fn restarts(&self, pod: &str) -> Result<i32, Error> {
        let pod = self.pods().get(pod).await?;
        let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        Ok(containers.iter().map(|container| container.restart_count).sum())
    }

    /// Restarts of all members' containers.
    pub async fn all_restarts(&self, name: &str) -> Result<Vec<i32>, Error> {
        let mut restarts = Vec::new();
        for pod in self.pods_of(name).await? {
            restarts.push(self.restarts(&pod.name_any()).await?);
        }
        Ok(restarts)
    }

    pub async fn pod_address(&self, pod: &str) -> Result<IpAddr, Error> {
        let address = self.pods().get(pod).await?.status.and_then(|status| status.pod_ip);
        Ok(address.ok_or_else(|| format!("{pod} has no address"))?.parse()?)
    }

    /// Pods that the StatefulSet shall have.
    pub async fn statefulset_replicas(&self, name: &str) -> Result<Option<i32>, Error> {
        let sets: Api<StatefulSet> = Api::default_namespaced(self.client.clone());
        Ok(sets.get(name).await?.spec.and_then(|spec| spec.replicas))
    }

    /// Process of a pod's server, found by its name among this Kubernetes' own processes.
    pub fn server(&self, pod: &str) -> Result<i32, Error> {
        let flag = format!("--name={pod}");
        let found = Cgroup::named(self.cluster.layout().id()).processes().into_iter().find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == flag.as_bytes())
        });
        found.ok_or_else(|| format!("no process with {flag}").into())
    }

    /// Sends a signal to a pod's server.
    pub fn signal_server(&self, pod: &str, signal: Signal) -> Result<(), Error> {
        Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.server(pod)?), signal)?)
    }

    /// Connects to a member as a user would: with the Secret `NAME-client-tls`, or plainly where there is none.
    pub async fn session(&self, name: &str, ordinal: u32) -> Result<Session, Error> {
        let address = self.pod_address(&format!("{name}-{ordinal}")).await?;
        self.connect(name, address).await
    }

    /// Connects to a member over TLS without a certificate of its own.
    pub async fn anonymous_session(&self, name: &str, ordinal: u32) -> Result<Session, Error> {
        let address = self.pod_address(&format!("{name}-{ordinal}")).await?;
        let relay = self.cluster.forward(SocketAddr::new(address, 2379), 0).await?;
        let secrets: Api<Secret> = Api::default_namespaced(self.client.clone());
        let data = secrets.get(&format!("{name}-client-tls")).await?.data.unwrap_or_default();
        let authority = data.get("ca.crt").map(|bytes| bytes.0.clone()).unwrap_or_default();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority))
            .domain_name(format!("{name}.default.svc"))
            .timeout(REQUEST_LIMIT);
        let endpoint = Endpoint::from_shared(format!("https://{}", relay.local()))?.tls_config(tls)?;
        let channel = endpoint.timeout(REQUEST_LIMIT).connect().await?;
        Ok(Session { channel, _relay: relay })
    }

    /// Connects to whatever member the client Service leads to.
    pub async fn service_session(&self, name: &str) -> Result<Session, Error> {
        let services: Api<Service> = Api::default_namespaced(self.client.clone());
        let address = services.get(name).await?.spec.and_then(|spec| spec.cluster_ip);
        self.connect(name, address.ok_or("the Service has no address")?.parse()?).await
    }

    async fn connect(&self, name: &str, address: IpAddr) -> Result<Session, Error> {
        let relay = self.cluster.forward(SocketAddr::new(address, 2379), 0).await?;
        let secrets: Api<Secret> = Api::default_namespaced(self.client.clone());
        let Some(secret) = secrets.get_opt(&format!("{name}-client-tls")).await? else {
            let endpoint = Endpoint::from_shared(format!("http://{}", relay.local()))?;
            let channel = endpoint.timeout(REQUEST_LIMIT).connect().await?;
            return Ok(Session { channel, _relay: relay });
        };
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| data.get(key).map(|bytes| bytes.0.clone()).unwrap_or_default();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(text("ca.crt")))
            .identity(Identity::from_pem(text("tls.crt"), text("tls.key")))
            .domain_name(format!("{name}.default.svc"))
            .timeout(REQUEST_LIMIT);
        let endpoint = Endpoint::from_shared(format!("https://{}", relay.local()))?.tls_config(tls)?;
        let channel = endpoint.timeout(REQUEST_LIMIT).connect().await?;
        Ok(Session { channel, _relay: relay })
    }

    /// Lets this member lead.
    pub async fn lead(&self, name: &str, pod: &str) -> Result<(), Error> {
        let status = self.status(name).await?;
        let target =
            status.members.iter().find(|member| member.name == pod).and_then(|member| member.member_id.clone());
        let target_id = u64::from_str_radix(&target.ok_or("no such member")?, 16)?;
        // Status may be older than the last change of the leader, so all are asked until one is it.
        self.await_until("a leader that hands over", async || self.hand_over(name, target_id).await).await?;
        self.await_until("the new leader in status", async || {
            Ok(self.status(name).await?.leader.as_deref() == Some(pod))
        })
        .await
    }

    /// Asks every member to hand over; only the leader can. Returns whether one did.
    async fn hand_over(&self, name: &str, target_id: u64) -> Result<bool, Error> {
        for pod in self.ready_pods(name).await? {
            let ordinal = pod.name_any().rsplit('-').next().unwrap_or_default().parse()?;
            let session = self.session(name, ordinal).await?;
            match MaintenanceClient::new(session.channel.clone()).move_leader(MoveLeaderRequest { target_id }).await {
                Ok(_) => return Ok(true),
                Err(status) if status.message() == "etcdserver: not leader" => {}
                Err(status) => return Err(status.into()),
            }
        }
        Ok(false)
    }

    /// What a person would ask for when it does not get on: status, record, pods, claims and events, one a line.
    pub async fn describe(&self) -> Result<String, Error> {
        let all = ListParams::default();
        let mut lines = Vec::new();
        for one in self.clusters().list(&all).await? {
            lines.push(format!("{}: {}", one.name_any(), serde_json::to_string(&one.status)?));
        }
        for one in Api::<ConfigMap>::default_namespaced(self.client.clone()).list(&all).await? {
            let record = one.data.as_ref().and_then(|data| data.get(LATCH_KEY));
            lines.extend(record.map(|record| format!("{}: {record}", one.name_any())));
        }
        for one in self.pods().list(&all).await? {
            let (deleted, status) = (one.metadata.deletion_timestamp.is_some(), serde_json::to_string(&one.status)?);
            lines.push(format!("{} (deleted: {deleted}): {status}", one.name_any()));
            let last = LogParams { tail_lines: Some(20), ..LogParams::default() };
            lines.extend(self.pods().logs(&one.name_any(), &last).await.ok());
        }
        for one in Api::<PersistentVolumeClaim>::default_namespaced(self.client.clone()).list(&all).await? {
            lines.push(format!(
                "{}: {} {}",
                one.name_any(),
                serde_json::to_string(&one.metadata)?,
                serde_json::to_string(&one.status)?
            ));
        }
        for one in Api::<Event>::default_namespaced(self.client.clone()).list(&all).await? {
            let (subject, said) = (one.involved_object.name, one.message);
            let at = one.last_timestamp.map(|at| at.0.to_string()).unwrap_or_default();
            lines.push(format!("{at} {}: {}", subject.unwrap_or_default(), said.unwrap_or_default()));
        }
        Ok(lines.join("\n"))
    }

    /// Looks again and again until it is so.
    pub async fn await_until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let deadline = Deadline::after(LIMIT, what, self.cluster.layout());
        while !holds().await? {
            deadline.pause_async().await?;
        }
        Ok(())
    }
}

impl Session {
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Id of the member that answers.
    pub async fn served_by(&self) -> Result<u64, Error> {
        let answer =
            KvClient::new(self.channel()).range(RangeRequest { key: "a".into(), ..Default::default() }).await?;
        Ok(answer.into_inner().header.map(|header| header.member_id).unwrap_or_default())
    }

    /// Puts, and returns the term that the answer names.
    pub async fn put(&mut self, key: &str, value: &str) -> Result<u64, Error> {
        let request = PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
        let answer = KvClient::new(self.channel.clone()).put(request).await?.into_inner();
        Ok(answer.header.map(|header| header.raft_term).unwrap_or_default())
    }

    /// A linearizable get.
    pub async fn get(&mut self, key: &str) -> Result<Option<String>, Error> {
        let request = RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let answer = KvClient::new(self.channel.clone()).range(request).await?.into_inner();
        answer.kvs.first().map(|kv| Ok(String::from_utf8(kv.value.to_vec())?)).transpose()
    }
}

/// Folder with the images of this source, built unless `QUORATE_E2E_IMAGES` names one that holds them.
fn images(sources: &Path) -> Result<PathBuf, Error> {
    if let Some(folder) = std::env::var_os("QUORATE_E2E_IMAGES") {
        return Ok(folder.into());
    }
    run(Command::new(sources.join("scripts/image.sh")).args(["--profile", "dev"]))?;
    Ok(cache_folder().join("images"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn merge(object: &mut Value, patch: Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            patch.into_iter().for_each(|(key, value)| merge(object.entry(key).or_insert(Value::Null), value));
        }
        (object, patch) => *object = patch,
    }
}
